"""External notification services that remember what they took: one by SMTP, which takes everything, one by HTTP, which dedupes.

A connection may be held at a step of its conversation for as long as a test wants.
"""

import asyncio
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.smtp import SMTP

# Long enough that many a process is killed while a mail is on the wire.
_SECONDS = 0.2
_LOOK_SECONDS = 0.01
_HANDSHAKE_SECONDS = 5.0

SMTP_STEPS = ("connect", "EHLO", "MAIL", "RCPT", "DATA", "dot", "taken", "answered")
"""Before the answer to each; `dot`: the mail has arrived whole and is not taken yet; the last two: it is."""
HTTP_STEPS = ("connect", "half", "read", "taken", "answered")
"""Before TLS; with half of the request read, and no more to be; with all of it read; the last two: it is taken."""


@dataclass(eq=False)
class Stop:
    """One connection that is held at a step, until the test lets it pass.

    `mail` is its recipient or key, where that is known by then. It is over once it was answered, or has broken off.
    """

    step: str
    mail: str | None = None
    reached: bool = False
    passed: bool = False
    over: bool = False

    async def at(self, step: str, mail: str | None = None) -> bool:
        """Be held, if this is where; answers that."""
        if step != self.step:
            return False
        self.mail, self.reached = mail, True
        while not self.passed:  # noqa: ASYNC110  (it is set by another thread)
            await asyncio.sleep(_LOOK_SECONDS)
        return True


@dataclass
class Taken:
    """Mails by recipient: as the services took them, and for HTTP how often each was asked for.

    `seconds` is how long they think about a mail, `smtp_stops` and `http_stops` what the next connections are held at.
    """

    by_smtp: Counter[str] = field(default_factory=Counter)
    by_http: Counter[str] = field(default_factory=Counter)
    posted: Counter[str] = field(default_factory=Counter)
    smtp_port: int = 0
    http_port: int = 0
    seconds: float = _SECONDS
    dedupes: bool = True
    tls: ssl.SSLContext | None = None
    smtp_stops: list[Stop] = field(default_factory=list)
    http_stops: list[Stop] = field(default_factory=list)
    connections: set[asyncio.BaseTransport] = field(default_factory=set)
    _keys: set[str] = field(default_factory=set)

    async def handle_DATA(self, server: "_Conversation", _session: Any, envelope: Any) -> str:  # noqa: N802
        (to,) = envelope.rcpt_tos
        # Half of the time is before it is taken and half after, while the answer is on its way.
        await asyncio.sleep(self.seconds / 2)
        try:
            await server.stop.at("dot", to)
        finally:  # also if nobody is there any more to be told
            self.by_smtp[to] += 1
        for step in SMTP_STEPS[-2:]:
            await server.stop.at(step, to)
        await asyncio.sleep(self.seconds / 2)
        server.stop.over = True
        return "250 ok"

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop = self.http_stops.pop(0) if self.http_stops else Stop("none")
        self.connections.add(writer.transport)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            if self.tls:
                # What came before TLS is asked for would be lost to it (https://github.com/python/cpython/issues/122759).
                writer.transport.pause_reading()
            await stop.at("connect")
            if self.tls:
                await writer.start_tls(self.tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS)
            while await self._answer_http(reader, writer, stop):
                pass
        writer.close()
        stop.over = True

    async def _answer_http(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stop: Stop
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
        length, key = int(headers["content-length"]), headers["idempotency-key"].strip('"')
        body = await reader.readexactly(length // 2)
        if await stop.at("half", key):
            return False
        mail = json.loads(body + await reader.readexactly(length - len(body)))
        await stop.at("read", key)
        await asyncio.sleep(self.seconds / 2)
        self._take(mail["to"], key)
        for step in HTTP_STEPS[-2:]:
            await stop.at(step, key)
        await asyncio.sleep(self.seconds / 2)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        stop.over = True
        return True

    def _take(self, to: str, key: str) -> None:
        self.posted[to] += 1
        if key not in self._keys or not self.dedupes:
            self._keys.add(key)
            self.by_http[to] += 1


class _Conversation(SMTP):
    """One connection to the service by SMTP."""

    def __init__(self, taken: Taken) -> None:
        self.stop = taken.smtp_stops.pop(0) if taken.smtp_stops else Stop("none")
        self.connections = taken.connections
        super().__init__(taken, enable_SMTPUTF8=True, hostname="mail.test")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.add(transport)
        super().connection_made(transport)

    async def _handle_client(self) -> None:
        try:
            await self.stop.at("connect")
        except asyncio.CancelledError:  # it has hung up meanwhile
            self.stop.over = True
            raise
        await super()._handle_client()

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        await self.stop.at("EHLO")
        await super().smtp_EHLO(hostname)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        await self.stop.at("MAIL")
        await super().smtp_MAIL(arg)

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        await self.stop.at("RCPT", (arg or "").removeprefix("TO:").strip("<>"))
        await super().smtp_RCPT(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        await self.stop.at("DATA", self.envelope and self.envelope.rcpt_tos[0])
        await super().smtp_DATA(arg)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.stop.over = True


@contextmanager
def receiving(
    *, seconds: float = _SECONDS, dedupes: bool = True, tls: ssl.SSLContext | None = None
) -> Iterator[Taken]:
    """Both services, in a thread of this process, which nobody kills. With `tls` the one by HTTP speaks nothing else."""
    taken, ready = Taken(seconds=seconds, dedupes=dedupes, tls=tls), threading.Event()
    loop, servers = asyncio.new_event_loop(), list[asyncio.Server]()

    async def serve() -> None:
        smtp = await loop.create_server(lambda: _Conversation(taken), "127.0.0.1", 0)
        http = await asyncio.start_server(taken.serve_http, "127.0.0.1", 0)
        servers.extend((smtp, http))
        taken.smtp_port, taken.http_port = (each.sockets[0].getsockname()[1] for each in (smtp, http))
        ready.set()

    def work() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(_close(servers, taken.connections))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield taken
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _close(servers: Sequence[asyncio.Server], connections: Iterable[asyncio.BaseTransport]) -> None:
    for server in servers:
        server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for connection in connections:
        assert isinstance(connection, asyncio.WriteTransport)
        connection.abort()
    await asyncio.sleep(_LOOK_SECONDS)
