"""A receiver of mail by HTTP on a port of this machine, which behaves as a test wants it to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from config.settings import Settings, parse_settings


@dataclass
class Receiver:
    """What it answers, and what it was asked. `raw` is sent as it is; with None for a status it hangs up instead."""

    status: int | None = 202
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes | None = None
    seconds: float = 0.0
    port: int = 0
    connections: int = 0
    asked: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def settings(self, **more: str) -> Settings:
        values = {
            "transport": "http",
            "http_url": f"http://127.0.0.1:{self.port}/send",
            "http_token": "a-token-of-the-provider",
            **more,
        }
        return parse_settings(
            {f"ASTROCORE_NOTIFICATION_{name.upper()}": value for name, value in values.items()}
        )

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._answer(reader, writer):
                pass
        writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        self.bodies.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
        self.asked.append({"request": first, **headers})
        await asyncio.sleep(self.seconds)
        if self.status is None:
            return False
        told = {"Content-Length": str(len(self.body)), **self.headers}
        head = f"HTTP/1.1 {self.status} Said\r\n" + "".join(f"{name}: {told[name]}\r\n" for name in told)
        writer.write(self.raw or head.encode() + b"\r\n" + self.body)
        await writer.drain()
        return self.raw is None


@asynccontextmanager
async def receiving(receiver: Receiver | None = None) -> AsyncIterator[Receiver]:
    """Run it around a block."""
    made = receiver or Receiver()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await made.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = listener.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
