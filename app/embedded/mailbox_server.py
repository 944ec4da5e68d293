"""`python -m app.embedded.mailbox_server PORT FOLDER`: a mail server on this machine that keeps what it is given in a folder.

It takes every mail, delivers none, and is for development and tests. A mail that it has taken is on the disk.
"""

import asyncio
import signal
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from app.clock import now
from app.embedded.mailbox import Mailbox

HOST = "127.0.0.1"
NAME = "mailbox.localhost"


class _Keeper:
    """What the server does with mail."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's name)
        # Who it is for stands on the envelope alone, which a file does not have.
        trace = [f"Return-Path: <{envelope.mail_from}>", *(f"Delivered-To: {to}" for to in envelope.rcpt_tos)]
        head = "".join(f"{line}\r\n" for line in trace).encode()
        content = envelope.content
        assert isinstance(content, bytes)
        kept = await asyncio.to_thread(self._mailbox.keep, head + content, now())
        return f"250 2.0.0 OK: kept as {kept}"


async def serve(port: int, folder: Path) -> None:
    """Take mail until a signal asks to stop."""
    mailbox = Mailbox(folder)
    mailbox.tidy()
    keeper = _Keeper(mailbox)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(
        lambda: SMTP(keeper, hostname=NAME, enable_SMTPUTF8=True), HOST, port, reuse_address=True
    )
    async with server:
        await stopped.wait()


def main() -> None:
    port, folder = sys.argv[1:]
    asyncio.run(serve(int(port), Path(folder)))


if __name__ == "__main__":
    main()
