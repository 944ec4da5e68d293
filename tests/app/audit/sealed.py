"""An audit store that is written and sealed as the service does it, and that a test may tamper with as root could."""

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from pydantic import SecretStr
from redis.asyncio import Redis

from app.audit.entries import Fact, FactEntry
from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.audit.verification.report import Report
from app.audit.verification.seals import read_keys
from app.audit.verification.stores import open_evidence
from app.audit.verification.walk import verify
from app.clock import Clock, now
from app.stores.connections import Stores, open_redis, open_stores
from config.settings import Settings

Entry = tuple[str, dict[str, str]]
AT = datetime(2026, 1, 1, tzinfo=UTC)


def new_key() -> str:
    return b64encode(secrets.token_bytes(32)).decode()


def unguarded(settings: Settings) -> Settings:
    """Settings whose audit store lies in a server that lets its user do anything: whoever tampers has that power."""
    return settings.model_copy(update={"audit_url": settings.broker_url})


@dataclass
class SealedStore:
    stores: Stores
    redis: Redis
    clock: Clock = now
    """Of the sealer."""

    @property
    def settings(self) -> Settings:
        return self.stores.settings

    def key(self, name: str) -> str:
        return f"{self.settings.namespace}:audit:{name}"

    def sealer(self, settings: Settings | None = None) -> Sealer:
        keys = Keyring.of(settings or self.settings)
        assert keys is not None
        return Sealer(self.stores.core, Stream.of(self.redis, self.settings.namespace), keys, self.clock)

    async def append(self, count: int) -> None:
        facts = [
            FactEntry(id=uuid4(), at=AT, name=Fact.JOB_CHANGED, actor="tester", target=f"job {number}")
            for number in range(count)
        ]
        assert await AuditStore(self.redis, self.settings.namespace).append(facts) == count

    async def seal(self, count: int = 0) -> int:
        await self.append(count)
        return await self.sealer().seal_new()

    async def entries(self) -> list[Entry]:
        return [(str(place), fields) for place, fields in await self.redis.xrange(self.key("entries"))]

    async def put(self, entries: list[Entry]) -> None:
        """Replace the stream by these entries."""
        await self.redis.delete(self.key("entries"))
        for place, fields in entries:
            await self.redis.xadd(self.key("entries"), fields, id=place)  # type: ignore[arg-type]

    async def change(self, change: Callable[[list[Entry]], object]) -> None:
        """Replace the stream by what `change` makes of its entries, in place."""
        entries = await self.entries()
        change(entries)
        await self.put(entries)

    async def verify(self, *keys: str, known: dict[int, str] | None = None, patience: float = 0.01) -> Report:
        async with open_evidence(self.settings) as evidence:
            evidence.patience = patience
            return await verify(evidence, read_keys(keys or self.settings.public_keys), known=known)

    async def found(self) -> list[tuple[str, int | None, int | None]]:
        """What a verification finds wrong: with what, in which seal, with which entry."""
        report = await self.verify()
        assert report.ok is not bool(report.findings)
        return [(each.wrong.value, each.seal, each.entry) for each in report.findings]

    async def seals(self) -> list[str]:
        rows = await self.stores.core.fetch("SELECT seal FROM audit_seals ORDER BY number")
        return [row["seal"] for row in rows]


@asynccontextmanager
async def open_sealed(settings: Settings) -> AsyncIterator[SealedStore]:
    chosen = unguarded(settings)
    async with (
        open_stores(chosen) as stores,
        open_redis(chosen.url("audit_url")) as redis,
    ):
        yield SealedStore(replace(stores, audit=redis), redis)


def with_keys(settings: Settings, signing: str, *public: str) -> Settings:
    return settings.model_copy(
        update={"audit_signing_key": SecretStr(signing), "audit_public_keys": ",".join(public)}
    )


def numbered(bodies: list[dict[str, str]]) -> list[Entry]:
    """Entries with ids from 1 on."""
    return [(f"{sequence}-0", body) for sequence, body in enumerate(bodies, 1)]


def bodies(entries: list[Entry]) -> list[dict[str, str]]:
    return [fields for _place, fields in entries]


def told(value: Any) -> dict[str, str]:
    """The fields of an entry that nobody of ours has written."""
    return {"entry": f'{{"type":"fact","forged":"{value}"}}'}
