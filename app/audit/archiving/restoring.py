"""Archive files that come back from a backup: checked against tombstone and seals before one of them is put into its place."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from app.audit import outbox
from app.audit.archiving.files import ArchiveUnreadableError, digest_of, keep, member_at, members_of, new_file
from app.audit.archiving.library import Library
from app.audit.archiving.tombstones import Tombstone, is_trusted
from app.audit.entries import Fact
from app.audit.sealing.keys import Keyring
from app.audit.sealing.seals import is_trusted as is_trusted_seal
from app.errors import Fault, InvalidInputError

_SEALS = "SELECT number, seal FROM audit_seals WHERE number BETWEEN $1 AND $2 ORDER BY number"


@dataclass(frozen=True)
class Restored:
    """An archive that is in its place; `copied` is false where it was there already, as it should be."""

    number: int
    file: str
    entries: int
    copied: bool


async def restore(
    core: asyncpg.Connection, given: Sequence[Path], folder: Path, keys: Keyring, *, by: str
) -> list[Restored]:
    """Put files into `folder`, and their indexes beside them; a directory stands for the archives in it.

    Raises InvalidInputError, with every file that does not fit, before anything is changed; OSError where a file cannot
    be written.
    """
    known = {each.digest: each for each in await _tombstones(core, keys)}
    found, faults = list[tuple[Path, Tombstone]](), list[Fault]()
    for path in _files(given):
        try:
            found.append((path, await _check(core, path, known, keys)))
        except (ArchiveUnreadableError, ValueError) as error:
            faults.append(Fault(str(path), str(error)))
    if not found and not faults:
        faults = [Fault(str(each), "there is no archive in it") for each in given]
    if faults:
        raise InvalidInputError("not all of this is what was archived", faults)
    restored = [_put(path, folder, tombstone) for path, tombstone in found]
    await _record(core, [each.file for each in restored if each.copied], by)
    library = Library(core, folder)
    for _path, tombstone in sorted(found, key=lambda each: each[1].number):
        for volume in await library.volumes(tombstone.first, tombstone.last):
            await library.index(volume)
    return restored


async def _tombstones(core: asyncpg.Connection, keys: Keyring) -> list[Tombstone]:
    texts = [
        row["tombstone"] for row in await core.fetch("SELECT tombstone FROM audit_archives ORDER BY number")
    ]
    return [Tombstone.read(text) for text in texts if _holds(text, keys)]


def _holds(text: str, keys: Keyring) -> bool:
    try:
        return is_trusted(text, keys)
    except ValueError:
        return False


def _files(given: Sequence[Path]) -> list[Path]:
    return [file for each in given for file in (sorted(each.glob("audit-*.gz")) if each.is_dir() else [each])]


async def _check(
    core: asyncpg.Connection, path: Path, known: dict[bytes, Tombstone], keys: Keyring
) -> Tombstone:
    """The tombstone of a file that holds what was sealed; raises ValueError and ArchiveUnreadableError."""
    tombstone = known.get(digest_of(path))
    if tombstone is None:
        raise ValueError(
            "no tombstone of this system that is signed by a trusted key names a file with this content"
        )
    rows = await core.fetch(_SEALS, *tombstone.seals)
    held = [(member.text, member.holds) for member in members_of(path)]
    if [text for text, _holds in held] != [row["seal"] for row in rows]:
        raise ValueError("its seals are not those that the core DB has")
    if not all(holds and is_trusted_seal(text, keys) for text, holds in held):
        raise ValueError("its entries are not what was sealed")
    return tombstone


def _put(path: Path, folder: Path, tombstone: Tombstone) -> Restored:
    target, entries = folder / tombstone.file, tombstone.last - tombstone.first + 1
    if target.exists() and digest_of(target) == tombstone.digest:
        return Restored(tombstone.number, tombstone.file, entries, copied=False)
    with path.open("rb") as source, new_file(folder) as copy:
        shutil.copyfileobj(source, copy)
    keep(Path(copy.name), target)
    member_at.cache_clear()
    return Restored(tombstone.number, tombstone.file, entries, copied=True)


async def _record(core: asyncpg.Connection, files: Sequence[str], by: str) -> None:
    abouts: list[outbox.About] = [{"by": by, "target": each} for each in files]
    async with core.transaction():
        await outbox.record_all(core, Fact.ARCHIVE_RESTORED, abouts)
