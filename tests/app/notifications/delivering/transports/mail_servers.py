"""Mail servers that listen on a port of this machine and behave as a test wants them to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope

from app.notifications.delivering.transports.transport import Mail
from config.settings import Settings, parse_settings

MAIL = Mail(
    id="0193f5a0-0000-7000-8000-000000000001",
    key="0193f5a0-0000-7000-8000-000000000001",
    message_id="<0193f5a0-0000-7000-8000-000000000001@astrobookings.example>",
    date=datetime(2026, 11, 23, 12, tzinfo=UTC),
    sender="AstroBookings <no-reply@astrobookings.example>",
    to="ada@example.org",
    subject="Your seat to Mars — confirmed 🚀",
    text="Hello Ada,\n\n.\n..two dots\nsee you on Mars. Ñandú.\n",
    html="<p>Hello <b>Ada</b></p>\n",
)


@dataclass
class Server:
    """A mail server: what it answers, and what it has seen. An answer of None ends the connection instead."""

    rcpt: str | None = "250 2.1.5 ok"
    mail: str | None = "250 2.1.0 ok"
    dot: str | None = "250 2.0.0 ok: queued as 4711"
    dot_seconds: float = 0.0
    rcpt_seconds: float = 0.0
    data: Callable[["Session"], Any] | None = None
    port: int = 0
    taken: list[Envelope] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    sessions: list["Session"] = field(default_factory=list)
    most_open: int = 0

    @property
    def message(self) -> EmailMessage:
        (envelope,) = self.taken
        parsed = BytesParser(policy=default).parsebytes(envelope.content)
        assert isinstance(parsed, EmailMessage)
        return parsed

    def settings(self, **more: str) -> Settings:
        values = {"smtp_host": "localhost", "smtp_port": str(self.port), "smtp_tls": "none", **more}
        return parse_settings(
            {f"ASTROCORE_NOTIFICATION_{name.upper()}": value for name, value in values.items()}
        )


class Session(SMTP):
    """One connection to such a server."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.told = server
        super().__init__(self, **options)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.told.sessions.append(self)
        self.told.most_open = max(self.told.most_open, sum(each.is_open for each in self.told.sessions))

    @property
    def is_open(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def drop(self) -> None:
        self.transport.abort()

    async def _or_drop(self, answer: str | None) -> str | None:
        if answer is None:
            self.drop()
        return answer

    async def handle_MAIL(self, _server: SMTP, _session: Any, envelope: Envelope, address: str, options: Any):  # noqa: N802
        self.told.said.append("MAIL")
        envelope.mail_options.extend(options)
        envelope.mail_from = address
        return await self._or_drop(self.told.mail)

    async def handle_RCPT(self, _server: SMTP, _session: Any, envelope: Envelope, address: str, _: Any):  # noqa: N802
        self.told.said.append("RCPT")
        await asyncio.sleep(self.told.rcpt_seconds)
        envelope.rcpt_tos.append(address)
        return await self._or_drop(self.told.rcpt)

    async def handle_RSET(self, _server: SMTP, _session: Any, _envelope: Envelope):  # noqa: N802
        self.told.said.append("RSET")
        return "250 ok"

    async def handle_QUIT(self, _server: SMTP, _session: Any, _envelope: Envelope):  # noqa: N802
        self.told.said.append("QUIT")
        return "221 bye"

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if self.told.data:
            await self.told.data(self)
        else:
            await super().smtp_DATA(arg)

    async def handle_DATA(self, _server: SMTP, _session: Any, envelope: Envelope):  # noqa: N802
        await asyncio.sleep(self.told.dot_seconds)
        if (self.told.dot or "").startswith("2"):
            self.told.taken.append(envelope)
        return await self._or_drop(self.told.dot)


def knows(password: str):
    """Whom such a server lets in."""

    def authenticate(server: SMTP, session: Any, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"core", password.encode()), handled=False)

    return authenticate


@asynccontextmanager
async def running(
    server: Server | None = None, *, implicit: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Server]:
    """Run it around a block."""
    made = server or Server()
    options = {"enable_SMTPUTF8": True, "hostname": "mail.test", **options}
    listener = await asyncio.get_running_loop().create_server(
        lambda: Session(made, **options), "127.0.0.1", 0, ssl=implicit
    )
    made.port = listener.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listener.close()
        for each in made.sessions:
            if each.transport:
                each.transport.abort()
            if each._handler_coroutine:
                each._handler_coroutine.cancel()
        tasks = [each._handler_coroutine for each in made.sessions if each._handler_coroutine]
        await asyncio.gather(*tasks, return_exceptions=True)
