"""Archive files that come back from a backup: checked against tombstone and seals before one of them is put into its place.

What is checked is the copy that is put there: whatever happens to the given file meanwhile. A tombstone that the core DB
has lost comes back with its file, from the copy that Redis has.
"""

import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.client import NEVER_DECODE

from app.audit import outbox
from app.audit.archiving.files import (
    ArchiveUnreadableError,
    digest_of,
    forget_members,
    keep,
    new_file,
    seals_of,
)
from app.audit.archiving.kept import keep_tombstone
from app.audit.archiving.library import Library
from app.audit.archiving.tombstones import Tombstone, is_trusted
from app.audit.entries import Fact
from app.audit.scripting import answers
from app.audit.sealing.keys import Keyring
from app.audit.sealing.seals import is_trusted as is_trusted_seal
from app.errors import Fault, InvalidInputError, StoreUnavailableError

_SEALS = "SELECT number, seal FROM audit_seals WHERE number BETWEEN $1 AND $2 ORDER BY number"


@dataclass(frozen=True)
class Restored:
    """An archive that is in its place; `copied` is false where it was there already, as it should be."""

    number: int
    file: str
    entries: int
    copied: bool


@dataclass(frozen=True)
class _Found:
    """A given file, its tombstone, and the copy of it; None where it is in its place already."""

    path: Path
    tombstone: Tombstone
    text: str
    copy: Path | None


@dataclass(frozen=True)
class Restorer:
    """Puts files into `folder`. Tombstones are those of `core` and, where it lacks one, those of the audit store in `redis`."""

    core: asyncpg.Connection
    redis: Redis
    namespace: str
    folder: Path
    keys: Keyring

    async def restore(self, given: Sequence[Path], *, by: str) -> list[Restored]:
        """Put files back, and their indexes beside them; a directory stands for the archives in it.

        Raises InvalidInputError, with every file that does not fit, before anything is changed; StoreUnavailableError where
        the audit store is needed and away; OSError where a file cannot be written.
        """
        named, found = await self._named(given), list[_Found]()
        try:
            for path, text in named:
                found.append(self._copied(path, Tombstone.read(text), text))
            _refuse([fault for each in found if (fault := await self._fault(each))])
            restored = [await self._put(each) for each in found]
        finally:
            for each in found:
                if each.copy:
                    each.copy.unlink(missing_ok=True)
        await self._record([each.file for each in restored if each.copied], by)
        await self._index([each.tombstone for each in found])
        return restored

    async def _named(self, given: Sequence[Path]) -> list[tuple[Path, str]]:
        """The files, each with the text of the tombstone that names its content."""
        digests, faults = dict[Path, bytes](), list[Fault]()
        for path in _files(given):
            try:
                digests[path] = digest_of(path)
            except ArchiveUnreadableError as error:
                faults.append(Fault(str(path), str(error)))
        known = await self._tombstones(set(digests.values()))
        what = "no tombstone of this system that is signed by a trusted key names a file with this content"
        faults += [Fault(str(path), what) for path, digest in digests.items() if digest not in known]
        if not digests and not faults:
            faults = [Fault(str(each), "there is no archive in it") for each in given]
        _refuse(faults)
        return [(path, known[digest]) for path, digest in digests.items()]

    async def _tombstones(self, wanted: set[bytes]) -> dict[bytes, str]:
        """The texts of trusted tombstones, by the digests that they name."""
        rows = await self.core.fetch("SELECT tombstone FROM audit_archives")
        known = self._trusted(row["tombstone"] for row in rows)
        if wanted - known.keys():
            execute: Any = self.redis.execute_command
            with answers():
                held = await execute(
                    "XRANGE", f"{self.namespace}:audit:archives", "-", "+", **{NEVER_DECODE: True}
                )
            texts = (fields.get(b"tombstone", b"").decode(errors="replace") for _place, fields in held)
            known = self._trusted(texts) | known
        return known

    def _trusted(self, texts: Iterable[str]) -> dict[bytes, str]:
        return {Tombstone.read(each).digest: each for each in texts if is_trusted(each, self.keys)}

    def _copied(self, path: Path, tombstone: Tombstone, text: str) -> _Found:
        target = self.folder / tombstone.file
        if target.exists() and digest_of(target) == tombstone.digest:
            return _Found(path, tombstone, text, None)
        with path.open("rb") as source, new_file(self.folder) as copy:
            shutil.copyfileobj(source, copy)
        return _Found(path, tombstone, text, Path(copy.name))

    async def _fault(self, found: _Found) -> Fault | None:
        """What keeps a copy from being what was archived."""
        there = found.copy or self.folder / found.tombstone.file
        rows = await self.core.fetch(_SEALS, *found.tombstone.seals)
        try:
            return self._misfit(there, found, [row["seal"] for row in rows])
        except ArchiveUnreadableError as error:
            return Fault(str(found.path), str(error))

    def _misfit(self, there: Path, found: _Found, seals: Sequence[str]) -> Fault | None:
        if digest_of(there) != found.tombstone.digest:
            return Fault(str(found.path), "it has changed while it was read")
        held = [(each.text, each.holds) for each in seals_of(there)]
        if [text for text, _holds in held] != seals:
            return Fault(str(found.path), "its seals are not those that the core DB has")
        if not all(holds and is_trusted_seal(text, self.keys) for text, holds in held):
            return Fault(str(found.path), "its entries are not what was sealed")
        return None

    async def _put(self, found: _Found) -> Restored:
        tombstone, target = found.tombstone, self.folder / found.tombstone.file
        if found.copy:
            keep(found.copy, target)
            forget_members()
        await keep_tombstone(self.core, tombstone, found.text, target.stat().st_size)
        entries = tombstone.last - tombstone.first + 1
        return Restored(tombstone.number, tombstone.file, entries, copied=found.copy is not None)

    async def _record(self, files: Sequence[str], by: str) -> None:
        abouts: list[outbox.About] = [{"by": by, "target": each} for each in files]
        async with self.core.transaction():
            await outbox.record_all(self.core, Fact.ARCHIVE_RESTORED, abouts)

    async def _index(self, tombstones: Iterable[Tombstone]) -> None:
        """Whatever keeps an index from being made, it is made when it is asked for."""
        library = Library(self.core, self.folder, self.keys.texts)
        for each in sorted(tombstones, key=lambda each: each.number):
            with suppress(StoreUnavailableError):
                for volume in await library.volumes(each.first, each.last):
                    await library.index(volume)


def _files(given: Sequence[Path]) -> list[Path]:
    return [file for each in given for file in (sorted(each.glob("audit-*.gz")) if each.is_dir() else [each])]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise InvalidInputError("not all of this is what was archived", faults)
