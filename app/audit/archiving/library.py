"""The archived entries of the audit store, for whoever queries it."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from app.audit.archiving.files import ArchiveUnreadableError
from app.audit.archiving.index import Lacking, build, state_of
from app.audit.archiving.listing import listed
from app.audit.archiving.shelf import Body, IndexMissingError, Pair, Shelf, Volume
from app.audit.archiving.tombstones import Tombstone, is_trusted
from app.audit.sealing.keys import PublicKeys, trusted_by
from app.errors import StoreUnavailableError
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

Answer = TypeVar("Answer")

_VOLUMES = """
    SELECT number, first_sequence, last_sequence, file, tombstone FROM audit_archives
    WHERE last_sequence >= $1 AND first_sequence <= $2 ORDER BY number
"""


class Library:
    """Reads archives. Every method raises StoreUnavailableError, naming the file that is missing or damaged.

    `archived` is the number up to which entries have left the audit store, by its own word: none of them may be passed over.
    Of an archive its tombstone is believed, where one of the public keys `trusted` has signed it; where there are none, any.
    """

    def __init__(
        self, core: asyncpg.Pool | asyncpg.Connection, folder: Path, trusted: tuple[str, ...] = ()
    ) -> None:
        self._core = core
        self._folder = folder
        self._trusted = trusted

    @classmethod
    def of(cls, stores: Stores) -> Self:
        """The archives of a process."""
        return cls(stores.core, stores.settings.archive_dir, trusted_by(stores.settings))

    async def page(
        self, name: str | None, least: int, greatest: int, *, newest_first: bool, limit: int
    ) -> list[Body]:
        """Entries of an index, or of all, whose numbers lie in a range."""
        return await self._ask(
            lambda shelf: shelf.page(name, least, greatest, newest_first=newest_first, limit=limit),
            least,
            greatest,
        )

    async def between(self, first: int, last: int) -> list[bytes]:
        """The entries from one number to another."""
        found = await self.page(None, first, last, newest_first=False, limit=last - first + 1)
        return [body for _sequence, body in found]

    async def find(self, ids: Sequence[UUID], archived: int, near: int | None = None) -> dict[UUID, Pair]:
        """The facts, intents and outcomes with these ids; an intent may lie here without its outcome.

        They are found sooner where most of them lie near this number.
        """
        return await self._ask(lambda shelf: shelf.find(ids, near), 1, archived)

    async def count(self, names: Sequence[str], archived: int) -> dict[str, int]:
        """How many archived entries each of these indexes has."""
        return await self._ask(lambda shelf: shelf.count(names), 1, archived)

    async def bounds(
        self, first_second: int, last_second: int, archived: int
    ) -> tuple[int | None, int | None]:
        """The first archived entry of `first_second` or later, and the last one of `last_second` or earlier."""
        return await self._ask(lambda shelf: shelf.bounds(first_second, last_second), 1, archived)

    async def volumes(self, least: int, greatest: int) -> list[Volume]:
        """The archives that have these entries, the oldest first. Raises where an entry lies in none."""
        try:
            rows = await self._core.fetch(_VOLUMES, least, greatest)
        except POSTGRES_FAULTS as error:
            raise StoreUnavailableError("the core DB does not answer") from error
        volumes, place = list[Volume](), max(least, 1)
        for each in (found for row in rows if (found := self._volume(row))):
            if each.first > place or (volumes and each.first < place):
                break
            volumes.append(each)
            place = each.last + 1
        if place <= greatest:
            raise StoreUnavailableError(
                f"the core DB does not tell in which archive entry {place} lies; `astrocore audit verify` tells more"
            )
        return volumes

    def _volume(self, row: Any) -> Volume | None:
        """What a row says; None where it is not what its tombstone says, or where that is to be trusted."""
        try:
            told = _read(row["tombstone"], self._trusted)
        except ValueError:
            return None
        columns = (row["number"], row["first_sequence"], row["last_sequence"], row["file"])
        if columns != (told.number, told.first, told.last, told.file):
            return None
        return Volume(self._folder / told.file, told.first, told.last, told.digest)

    async def _ask(self, question: Callable[[Shelf], Answer], least: int, greatest: int) -> Answer:
        shelf = Shelf(await self.volumes(least, greatest))
        made = set[Volume]()
        while True:
            try:
                return await asyncio.to_thread(question, shelf)
            except IndexMissingError as error:
                if error.volume in made:
                    raise ArchiveUnreadableError(error.volume.path, "does not fit its index") from error
                await self.index(error.volume)
                made.add(error.volume)

    async def index(self, volume: Volume) -> None:
        """Make the index of an archive again, of those before it too where theirs are missing.

        Where an older archive cannot be read that is needed, the index says so, and is made again once that one is back.
        """
        older, made = await self.volumes(1, volume.first - 1), set[Volume]()
        lacking: Lacking | None = None
        while (missing := await self._build(volume, older, lacking)) is not None:
            if missing in made or not await self._is_indexed(missing):
                lacking = Lacking(missing.path, state_of(missing.path))
                older.remove(missing)
            made.add(missing)

    async def _is_indexed(self, volume: Volume) -> bool:
        try:
            await self.index(volume)
        except ArchiveUnreadableError:
            return False
        return True

    async def _build(self, volume: Volume, older: Sequence[Volume], lacking: Lacking | None) -> Volume | None:
        """Make an index; answers with the older archive whose own is missing, where it is needed."""

        def shared_of(ids: Sequence[UUID]) -> dict[UUID, Sequence[str]]:
            found = Shelf(older).find(ids).items()
            return {each: listed(*begun).shared for each, (begun, _ended) in found if begun}

        try:
            await asyncio.to_thread(build, volume.path, volume.digest, shared_of, lacking)
        except IndexMissingError as error:
            return error.volume
        except (OSError, sqlite3.Error) as error:
            what = f"the index of archive {volume.path.name} cannot be written: {error}"
            raise StoreUnavailableError(what) from error
        return None


@lru_cache(maxsize=4096)
def _read(text: str, trusted: tuple[str, ...]) -> Tombstone:
    """The tombstone of a text; raises ValueError where it is none, or not signed by one of these keys, if there are any."""
    tombstone = Tombstone.read(text)
    if trusted and not is_trusted(text, PublicKeys.of_texts(trusted)):
        raise ValueError("it is not signed by a trusted key")
    return tombstone
