"""An audit store parts of which are archived as the service does it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from redis.asyncio import Redis

from app.audit.archiving import archiver as archiver_module
from app.audit.archiving.archiver import Archiver
from app.audit.archiving.due import Due, find_due
from app.audit.archiving.trimming import Trimmer
from app.audit.entries import Entry
from app.audit.sealing.keys import Keyring
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.clock import now
from app.stores.connections import Stores, open_redis, open_stores
from config.settings import Settings
from tests.app.audit.sealed import SealedStore, unguarded

LATER = timedelta(days=1)


@dataclass
class ArchivedStore(SealedStore):
    retention: Redis = field(kw_only=True)

    @property
    def audit(self) -> AuditStore:
        return AuditStore.of(self.stores)

    @property
    def folder(self) -> Path:
        return self.settings.archive_dir

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.gz"))

    @property
    def archiver(self) -> Archiver:
        keys = Keyring.of(self.settings)
        assert keys is not None
        namespace = self.settings.namespace
        stream, trimmer = Stream.of(self.redis, namespace), Trimmer.of(self.retention, namespace)
        return Archiver(self.stores.core, stream, trimmer, self.folder, keys)

    async def due(self) -> Due:
        """What may be archived tomorrow."""
        hot = AuditStore(self.stores.audit, self.settings.namespace)
        return await find_due(self.stores.core, hot, now() + LATER, now() + LATER)

    async def archive(self) -> int:
        """One archive of all that may be archived tomorrow; how many entries it has."""
        due = await self.due()
        return await self.archiver.archive(due, by="tester") if due.entries > 0 else 0

    async def write(self, entries: list[Entry]) -> None:
        """Append entries and seal them."""
        await self.audit.append(entries)
        await self.sealer().seal_new()


@asynccontextmanager
async def open_archived(
    settings: Settings, folder: Path, *, guarded: bool = False
) -> AsyncIterator[ArchivedStore]:
    """`guarded`: with no more rights than the service and retention have."""
    chosen = (settings if guarded else unguarded(settings)).model_copy(update={"audit_archive_dir": folder})
    url = chosen.url("audit_retention_url" if guarded else "audit_url")
    async with (
        open_stores(chosen) as stores,
        open_redis(chosen.url("audit_url")) as redis,
        open_redis(url) as retention,
    ):
        yield ArchivedStore(replace(stores, audit=redis), redis, retention=retention)


__all__ = ["ArchivedStore", "archiver_module", "open_archived"]


def with_settings(store: ArchivedStore, **values: object) -> Stores:
    changed = store.settings.model_copy(update=values)
    return type(store.stores)(**{**vars(store.stores), "settings": changed})
