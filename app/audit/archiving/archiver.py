"""Moves the oldest seals to an archive: file, tombstone, trim, in this order, each durable before the next.

The core DB keeps a tombstone first: its primary key decides which of two archivers has made the next archive. Redis gets a
copy, and only then are its entries taken. Whoever dies in between leaves a file that nobody names, or an archive whose
entries still lie in Redis too; the next turn goes on from there, and no archive is made before the last one is finished.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from loguru import logger

from app.audit import outbox
from app.audit.archiving.due import FILE_ENTRIES, Due, read_seal
from app.audit.archiving.files import (
    ArchiveUnreadableError,
    digest_of,
    keep,
    members_of,
    name_of,
    new_file,
    packed,
)
from app.audit.archiving.index import opened
from app.audit.archiving.library import Library
from app.audit.archiving.tombstones import FIRST_PREVIOUS, Tombstone, hash_of, is_trusted
from app.audit.archiving.trimming import Trimmer
from app.audit.entries import Fact, UnreadableEntry
from app.audit.sealing.keys import Keyring
from app.audit.sealing.merkle import leaf_data, leaf_of, root_of
from app.audit.sealing.seals import FIRST_PREVIOUS as NO_SEAL
from app.audit.sealing.seals import Seal
from app.audit.sealing.seals import hash_of as hash_of_seal
from app.audit.sealing.seals import is_trusted as is_trusted_seal
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.audit.stored import read_stored
from app.clock import Clock, now

_SEALS_AT_ONCE = 100
_SEALS = "SELECT number, seal FROM audit_seals WHERE number BETWEEN $1 AND $2 ORDER BY number LIMIT $3"
_KEEP = """
    INSERT INTO audit_archives
        (number, first_sequence, last_sequence, file, bytes, earliest_second, latest_second, tombstone)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING number
"""
_UNFINISHED = "SELECT tombstone FROM audit_archives WHERE trimmed_at IS NULL ORDER BY number"
_LAST = "SELECT tombstone FROM audit_archives ORDER BY number DESC LIMIT 1"


@dataclass(frozen=True)
class Written:
    """A file of whole seals, on the disk."""

    path: Path
    seals: tuple[int, int]
    entries: tuple[int, int]
    digest: bytes
    seconds: tuple[int, int]


@dataclass
class _Extent:
    """How far a file in the making reaches."""

    seals: tuple[int, int]
    entries: tuple[int, int]
    seconds: tuple[int, int] | None = None

    def add(self, seal: Seal, entries: list[bytes]) -> None:
        self.seals = (self.seals[0], seal.number)
        self.entries = (self.entries[0], seal.last)
        for sequence, body in enumerate(entries, seal.first):
            entry = read_stored(b"%d" % sequence, body).entry
            if not isinstance(entry, UnreadableEntry):
                second = max(0, int(entry.at.timestamp()))
                low, high = self.seconds or (second, second)
                self.seconds = (min(low, second), max(high, second))


@dataclass(frozen=True)
class Archiver:
    """Reads `stream` and what `core` has of seals, writes files below `folder`, and trims by `trimmer`.

    Its methods raise ChainBrokenError where something is not what was sealed, StoreUnavailableError where a file or a
    store is away, and what the stores' drivers raise.
    """

    core: asyncpg.Pool
    stream: Stream
    trimmer: Trimmer
    folder: Path
    keys: Keyring
    clock: Clock = now

    async def archive(self, due: Due, *, by: str) -> int:
        """Make one archive of the oldest of what is due, and finish it; answers how many entries it has."""
        number, previous = await self._last()
        written = await self._write(due)
        await asyncio.to_thread(_check, written)
        tombstone = self._tombstone(number + 1, previous, written)
        text = tombstone.signed_by(self.keys)
        if not await self._keep(tombstone, text, written, by):
            return 0  # another archiver was first
        await self._finish(tombstone, text)
        return tombstone.last - tombstone.first + 1

    def _tombstone(self, number: int, previous: bytes, written: Written) -> Tombstone:
        return Tombstone(
            number=number,
            first=written.entries[0],
            last=written.entries[1],
            seals=written.seals,
            file=written.path.name,
            digest=written.digest,
            previous=previous,
            time=self.clock(),
            key=self.keys.id,
        )

    async def finish(self) -> None:
        """Finish the archive that was begun and not finished, if there is one."""
        for row in await self.core.fetch(_UNFINISHED):
            tombstone = self._read(row["tombstone"])
            await self._finish(tombstone, row["tombstone"])

    async def _last(self) -> tuple[int, bytes]:
        text = await self.core.fetchval(_LAST)
        if text is None:
            return 0, FIRST_PREVIOUS
        return self._read(text).number, hash_of(text)

    def _read(self, text: str) -> Tombstone:
        try:
            tombstone, trusted = Tombstone.read(text), is_trusted(text, self.keys)
        except ValueError as error:
            raise ChainBrokenError("the last archive", f"its tombstone cannot be read: {error}") from error
        if not trusted:
            raise ChainBrokenError(
                f"archive {tombstone.number}", "the signature of its tombstone is not that of a trusted key"
            )
        return tombstone

    async def _write(self, due: Due) -> Written:
        """A file of the first seals of what is due, in its place under its name."""
        extent = _Extent((due.seals[0], due.seals[0] - 1), (due.first, due.first - 1))
        with new_file(self.folder) as file:
            async for seal, text in self._seals(due):
                if extent.entries[1] >= due.first and seal.last - due.first >= FILE_ENTRIES:
                    break
                entries = await self._entries(seal)
                file.write(await asyncio.to_thread(packed, text, entries))
                extent.add(seal, entries)
        partial = Path(file.name)
        digest = await asyncio.to_thread(digest_of, partial)
        path = self.folder / name_of(*extent.entries, digest)
        keep(partial, path)
        return Written(path, extent.seals, extent.entries, digest, extent.seconds or (0, 0))

    async def _seals(self, due: Due) -> AsyncIterator[tuple[Seal, str]]:
        """The seals that are due, each found to be signed and to follow the one before it."""
        number, last = due.seals[0], due.first - 1
        before = await self.core.fetchval("SELECT seal FROM audit_seals WHERE number = $1", number - 1)
        previous = hash_of_seal(before) if before else NO_SEAL
        while rows := await self.core.fetch(_SEALS, number, due.seals[1], _SEALS_AT_ONCE):
            for row in rows:
                seal = read_seal(row["seal"], row["number"])
                follows = (seal.number, seal.first, seal.previous) == (number, last + 1, previous)
                if not follows or not is_trusted_seal(row["seal"], self.keys):
                    raise ChainBrokenError(
                        f"seal {number}", "it is not trusted, or does not follow the one before it"
                    )
                yield seal, row["seal"]
                number, last, previous = number + 1, seal.last, hash_of_seal(row["seal"])

    async def _entries(self, seal: Seal) -> list[bytes]:
        entries = await self.stream.between(seal.first, seal.last)
        leaves = [leaf_of(leaf_data(sequence, each)) for sequence, each in enumerate(entries, seal.first)]
        if len(entries) != seal.last - seal.first + 1 or root_of(leaves) != seal.root:
            raise ChainBrokenError(f"seal {seal.number}", "its entries are not what was sealed")
        return entries

    async def _keep(self, tombstone: Tombstone, text: str, written: Written, by: str) -> bool:
        """Keep the tombstone and the fact of it; False where another archiver was first."""
        size = written.path.stat().st_size
        values: tuple[Any, ...] = (tombstone.number, tombstone.first, tombstone.last, tombstone.file, size)
        async with self.core.acquire() as connection, connection.transaction():
            if not await connection.fetchval(_KEEP, *values, *written.seconds, text):
                return False
            detail = {
                "number": tombstone.number,
                "first": tombstone.first,
                "last": tombstone.last,
                "bytes": size,
            }
            about: outbox.About = {"by": by, "target": tombstone.file, "detail": detail}
            await outbox.record(connection, Fact.ARCHIVE_MADE, **about)
        count = tombstone.last - tombstone.first + 1
        told = logger.bind(archive=tombstone.number, file=tombstone.file, entries=count, bytes=size)
        told.info("audit.archived")
        return True

    async def _finish(self, tombstone: Tombstone, text: str) -> None:
        """Copy the tombstone, trim what it stands for, and take note that this is done."""
        path = self.folder / tombstone.file
        if await asyncio.to_thread(digest_of, path) != tombstone.digest:
            raise ArchiveUnreadableError(path, "is not what was written")
        library = Library(self.core, self.folder)
        (volume,) = await library.volumes(tombstone.first, tombstone.last)
        await library.index(volume)
        await self.trimmer.add_tombstone(tombstone.number, text)
        await self.trimmer.trim_entries(tombstone.first, tombstone.last)
        with opened(path) as index:
            await self.trimmer.trim_lists(index.names(), tombstone.last)
            await self.trimmer.forget_ids(index.ids(), tombstone.last)
        await self.core.execute(
            "UPDATE audit_archives SET trimmed_at = now() WHERE number = $1", tombstone.number
        )


def _check(written: Written) -> None:
    """Read the file again, and see that it holds what was sealed, all of it and nothing else."""
    number, last = written.seals[0], written.entries[0] - 1
    for member in members_of(written.path):
        if (member.seal.number, member.seal.first) != (number, last + 1) or not member.holds:
            raise ArchiveUnreadableError(written.path, f"does not hold seal {number} as it was sealed")
        number, last = number + 1, member.seal.last
    if (number - 1, last) != (written.seals[1], written.entries[1]) or digest_of(
        written.path
    ) != written.digest:
        raise ArchiveUnreadableError(written.path, "is not what was written")
