"""Moves the oldest seals to an archive: file, tombstone, trim, in this order, each durable before the next.

The core DB keeps a tombstone first: its primary key decides which of two archivers has made the next archive. Redis gets a
copy, and only then are its entries taken. Whoever dies in between leaves a file that nobody names, or an archive whose
entries still lie in Redis too; the next turn goes on from there, and no archive is made before the last one is finished.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import IO, Any

import asyncpg
from loguru import logger

from app.audit import outbox
from app.audit.archiving.due import FILE_ENTRIES, Due, read_seal
from app.audit.archiving.files import (
    PARTIAL,
    ArchiveUnreadableError,
    digest_of,
    keep,
    name_of,
    new_file,
    packed,
    seals_of,
)
from app.audit.archiving.index import opened
from app.audit.archiving.kept import LAST, keep_tombstone, read_kept
from app.audit.archiving.library import Library
from app.audit.archiving.tombstones import Tombstone, is_trusted
from app.audit.archiving.trimming import Reach, Trimmer
from app.audit.entries import Fact
from app.audit.sealing.keys import Keyring
from app.audit.sealing.merkle import leaf_data, leaf_of, root_of
from app.audit.sealing.seals import FIRST_PREVIOUS, Seal, hash_of
from app.audit.sealing.seals import is_trusted as is_trusted_seal
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.clock import Clock, now

_SEALS_AT_ONCE = 100
_SEALS = "SELECT number, seal FROM audit_seals WHERE number BETWEEN $1 AND $2 ORDER BY number LIMIT $3"
# What Redis lacks is done again: an older state may have been put back.
_UNFINISHED = """
    SELECT number, tombstone, trimmed_at FROM audit_archives
    WHERE trimmed_at IS NULL OR number > $1 OR last_sequence > $2 ORDER BY number
"""
_ABANDONED_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Written:
    """A file of whole seals, on the disk."""

    path: Path
    size: int
    seals: tuple[int, int]
    entries: tuple[int, int]
    digest: bytes


@dataclass(frozen=True)
class _End:
    """The last archive that the core DB has."""

    number: int
    last: int
    hash: bytes


@dataclass
class _Extent:
    """How far a file in the making reaches."""

    seals: tuple[int, int]
    entries: tuple[int, int]

    def add(self, file: IO[bytes], seal: Seal, text: str, entries: list[bytes]) -> None:
        """Write a seal; raises ChainBrokenError where these are not the entries that it has sealed."""
        leaves = [leaf_of(leaf_data(sequence, each)) for sequence, each in enumerate(entries, seal.first)]
        if len(entries) != seal.last - seal.first + 1 or root_of(leaves) != seal.root:
            raise ChainBrokenError(f"seal {seal.number}", "its entries are not what was sealed")
        file.write(packed(text, entries))
        self.seals = (self.seals[0], seal.number)
        self.entries = (self.entries[0], seal.last)


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
        """Make one archive of the oldest of what is due, and finish it; answers how many entries it has.

        That is none where another archiver was first.
        """
        end = await self._end()
        if due.first != end.last + 1:
            return 0
        try:
            made = await self._make(due, end, by)
        except ChainBrokenError:
            if await self._end() != end:  # what was to be read has been taken meanwhile
                return 0
            raise
        if made is None:
            return 0
        await self._finish(*made)
        return made[0].last - made[0].first + 1

    async def _make(self, due: Due, end: _End, by: str) -> tuple[Tombstone, str] | None:
        """A file and its tombstone, kept in the core DB; None where another archiver was first."""
        written = await self._write(due)
        await asyncio.to_thread(_check, written)
        tombstone = self._tombstone(end.number + 1, end.hash, written)
        text = tombstone.signed_by(self.keys)
        held = await self.trimmer.held()
        if (held.tombstones, held.archived) != (end.number, end.last):
            raise _apart(held, end)
        return (tombstone, text) if await self._keep(tombstone, text, written, by) else None

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
        """Finish what was begun and not finished, and do again what Redis has lost of it."""
        await asyncio.to_thread(_sweep, self.folder)
        held, end = await self.trimmer.held(), await self._end()
        if held.tombstones > end.number or held.archived > end.last:
            raise _apart(held, end)
        for row in await self.core.fetch(_UNFINISHED, held.tombstones, held.archived):
            tombstone = self._read(row)
            if row["trimmed_at"] is None or tombstone.last > held.archived:
                await self._finish(tombstone, row["tombstone"])
            else:
                await self.trimmer.add_tombstone(tombstone.number, row["tombstone"])

    async def _end(self) -> _End:
        row = await self.core.fetchrow(LAST)
        if row is None:
            return _End(0, 0, FIRST_PREVIOUS)
        last = self._read(row)
        return _End(last.number, last.last, hash_of(row["tombstone"]))

    def _read(self, row: Any) -> Tombstone:
        tombstone = read_kept(row)
        if not is_trusted(row["tombstone"], self.keys):
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
                entries = await self.stream.between(seal.first, seal.last)
                await asyncio.to_thread(extent.add, file, seal, text, entries)
            size, digest = await asyncio.to_thread(_settled, file)
        path = self.folder / name_of(*extent.entries, digest)
        await asyncio.to_thread(keep, Path(file.name), path)
        return Written(path, size, extent.seals, extent.entries, digest)

    async def _seals(self, due: Due) -> AsyncIterator[tuple[Seal, str]]:
        """The seals that are due, each found to be signed and to follow the one before it."""
        number, last = due.seals[0], due.first - 1
        before = await self.core.fetchval("SELECT seal FROM audit_seals WHERE number = $1", number - 1)
        previous = hash_of(before) if before else FIRST_PREVIOUS
        while rows := await self.core.fetch(_SEALS, number, due.seals[1], _SEALS_AT_ONCE):
            for row in rows:
                seal = read_seal(row["seal"], row["number"])
                follows = (seal.number, seal.first, seal.previous) == (number, last + 1, previous)
                if not follows or not is_trusted_seal(row["seal"], self.keys):
                    raise ChainBrokenError(
                        f"seal {number}", "it is not trusted, or does not follow the one before it"
                    )
                yield seal, row["seal"]
                number, last, previous = number + 1, seal.last, hash_of(row["seal"])

    async def _keep(self, tombstone: Tombstone, text: str, written: Written, by: str) -> bool:
        """Keep the tombstone and the fact of it; False where another archiver was first."""
        async with self.core.acquire() as connection, connection.transaction():
            if not await keep_tombstone(connection, tombstone, text, written.size):
                return False
            detail = {
                "number": tombstone.number,
                "first": tombstone.first,
                "last": tombstone.last,
                "bytes": written.size,
            }
            about: outbox.About = {"by": by, "target": tombstone.file, "detail": detail}
            await outbox.record(connection, Fact.ARCHIVE_MADE, **about)
        count = tombstone.last - tombstone.first + 1
        told = logger.bind(archive=tombstone.number, file=tombstone.file, entries=count, bytes=written.size)
        told.info("audit.archived")
        return True

    async def _finish(self, tombstone: Tombstone, text: str) -> None:
        """Copy the tombstone, trim what it stands for, and take note that this is done."""
        path = self.folder / tombstone.file
        if await asyncio.to_thread(digest_of, path) != tombstone.digest:
            raise ArchiveUnreadableError(path, "is not what was written")
        library = Library(self.core, self.folder, self.keys.texts)
        (volume,) = await library.volumes(tombstone.first, tombstone.last)
        await library.index(volume)
        await self.trimmer.add_tombstone(tombstone.number, text)
        await self.trimmer.trim_entries(tombstone.first, tombstone.last)
        names, ids = await asyncio.to_thread(_indexed, path, tombstone.digest)
        await self.trimmer.trim_lists(names, tombstone.last)
        await self.trimmer.forget_ids(ids, tombstone.last)
        await self.core.execute(
            "UPDATE audit_archives SET trimmed_at = now() WHERE number = $1", tombstone.number
        )


def _settled(file: IO[bytes]) -> tuple[int, bytes]:
    """The size and the SHA-256 of a new file, once it is on the disk."""
    file.flush()
    os.fsync(file.fileno())
    return file.tell(), digest_of(Path(file.name))


def _indexed(path: Path, digest: bytes) -> tuple[list[str], list[bytes]]:
    with opened(path, digest) as index:
        return list(index.names()), list(index.ids())


def _sweep(folder: Path) -> None:
    """Remove what processes that died have left half-written. A whole file stays: a tombstone that is not here may name it."""
    for each in folder.glob(f"*{PARTIAL}"):
        with suppress(FileNotFoundError):
            if time() - each.stat().st_mtime > _ABANDONED_SECONDS:
                each.unlink()


def _apart(held: Reach, end: _End) -> ChainBrokenError:
    return ChainBrokenError(
        f"archive {min(held.tombstones, end.number) + 1}",
        f"Redis has had tombstones up to {held.tombstones} and lacks entries up to {held.archived}, "
        f"the core DB has tombstones up to {end.number}, of entries up to {end.last}",
    )


def _check(written: Written) -> None:
    """Read the file again, and see that it holds what was sealed, all of it and nothing else."""
    number, last = written.seals[0], written.entries[0] - 1
    for each in seals_of(written.path):
        if (each.seal.number, each.seal.first) != (number, last + 1) or not each.holds:
            raise ArchiveUnreadableError(written.path, f"does not hold seal {number} as it was sealed")
        number, last = number + 1, each.seal.last
    if (number - 1, last) != (written.seals[1], written.entries[1]) or digest_of(
        written.path
    ) != written.digest:
        raise ArchiveUnreadableError(written.path, "is not what was written")
