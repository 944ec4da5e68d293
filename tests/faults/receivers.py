"""External notification services that remember what they took: one by SMTP, which takes everything, one by HTTP, which dedupes."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP

# Long enough that many a process is killed while a mail is on the wire.
_SECONDS = 0.2


@dataclass
class Taken:
    """Mails by recipient: as the services took them, and for HTTP how often each was asked for."""

    by_smtp: Counter[str] = field(default_factory=Counter)
    by_http: Counter[str] = field(default_factory=Counter)
    posted: Counter[str] = field(default_factory=Counter)
    smtp_port: int = 0
    http_port: int = 0
    _keys: set[str] = field(default_factory=set)

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        # Half of the time is before it is taken and half after, while the answer is on its way.
        await asyncio.sleep(_SECONDS / 2)
        self.by_smtp[envelope.rcpt_tos[0]] += 1
        await asyncio.sleep(_SECONDS / 2)
        return "250 ok"

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
                mail = json.loads(await reader.readexactly(int(headers["content-length"])))
                await asyncio.sleep(_SECONDS / 2)
                self._take(mail["to"], headers["idempotency-key"])
                await asyncio.sleep(_SECONDS / 2)
                writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
        writer.close()

    def _take(self, to: str, key: str) -> None:
        self.posted[to] += 1
        if key not in self._keys:
            self._keys.add(key)
            self.by_http[to] += 1


@contextmanager
def receiving() -> Iterator[Taken]:
    """Both services, in a thread of this process, which nobody kills."""
    taken, ready = Taken(), threading.Event()
    loop, servers = asyncio.new_event_loop(), list[asyncio.Server]()

    async def serve() -> None:
        smtp = await loop.create_server(
            lambda: SMTP(taken, enable_SMTPUTF8=True, hostname="mail.test"), "127.0.0.1", 0
        )
        http = await asyncio.start_server(taken.serve_http, "127.0.0.1", 0)
        servers.extend((smtp, http))
        taken.smtp_port, taken.http_port = (each.sockets[0].getsockname()[1] for each in (smtp, http))
        ready.set()

    def work() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(_close(servers))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield taken
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _close(servers: list[asyncio.Server]) -> None:
    for each in servers:
        each.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
