"""An audit store of a test's own: with users as the test wants them, full disks, and whatever else harms others."""

import asyncio
import resource
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis

from app.audit.entries import Entry
from app.audit.rights import SERVICE, rules
from app.audit.store import AuditStore
from app.embedded.directory import DataDirectory
from app.embedded.ports import free_port
from app.embedded.servers import valkey
from app.stores.connections import open_redis

NAMESPACE = "x"


@dataclass
class OwnServer:
    """A Valkey in whose store everything is allowed, unless one comes as another user."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Redis]:
        async with open_redis(self.url) as redis:
            yield redis

    @asynccontextmanager
    async def as_user(self, *, without: str = "") -> AsyncIterator[Redis]:
        """As the service's user, less one of its rights."""
        keys = f"{NAMESPACE}:audit:"
        right, granted = without.format(keys=keys), rules(SERVICE, keys)
        assert right in granted
        granted = granted.replace(right, "", 1)
        async with self.open() as redis:
            await redis.execute_command("ACL", "SETUSER", "half", "reset", "on", ">word", *_words(granted))
        async with open_redis(f"redis://half:word@127.0.0.1:{self.port}/0") as redis:
            yield redis

    async def append(self, *entries: Entry) -> int:
        """As a user who may do everything."""
        async with self.open() as redis:
            return await AuditStore(redis, NAMESPACE).append(entries)

    async def dump(self) -> dict[str, bytes]:
        """All that there is."""
        async with Redis(port=self.port) as redis:
            return {key: await redis.dump(key) for key in await redis.keys()}

    def fill_disk(self) -> None:
        """Let its files grow no more."""
        limits = (0, resource.RLIM_INFINITY)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, limits)


def _words(rules: str) -> list[str]:
    """A selector, in parentheses, is one word to a client."""
    words: list[str] = []
    for word in rules.split():
        if words and words[-1].startswith("(") and not words[-1].endswith(")"):
            words[-1] += f" {word}"
        else:
            words.append(word)
    return words


@asynccontextmanager
async def own_server(folder: Path, fsync: str = "always") -> AsyncIterator[OwnServer]:
    with DataDirectory.open(folder) as directory:
        store = valkey(directory, "audit", free_port())
    # SIGXFSZ is ignored here, and so it stays there: writing past a limit fails as on a full disk.
    process = subprocess.Popen(  # noqa: ASYNC220  (it starts at once)
        [*store.command.argv, "--appendfsync", fsync], stdout=subprocess.DEVNULL, restore_signals=False
    )
    try:
        while not await store.probe():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        yield OwnServer(store.port, process)
    finally:
        process.terminate()
        process.wait()
