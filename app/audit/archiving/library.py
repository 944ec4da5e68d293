"""The archived entries of the audit store, for whoever queries it."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID

import asyncpg

from app.audit.archiving.files import ArchiveUnreadableError
from app.audit.archiving.index import build
from app.audit.archiving.shelf import Body, IndexMissingError, Pair, Shelf, Volume
from app.audit.entries import IntentEntry
from app.audit.stored import read_stored
from app.errors import StoreUnavailableError
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

Answer = TypeVar("Answer")

_VOLUMES = """
    SELECT file, first_sequence, last_sequence, earliest_second, latest_second FROM audit_archives
    WHERE last_sequence >= $1 AND first_sequence <= $2 ORDER BY number
"""


class Library:
    """Reads archives. Every method raises StoreUnavailableError, naming the file that is missing or damaged.

    `archived` is the number up to which entries have left the audit store, by its own word: none of them may be passed over.
    """

    def __init__(self, core: asyncpg.Pool | asyncpg.Connection, folder: Path) -> None:
        self._core = core
        self._folder = folder

    @classmethod
    def of(cls, stores: Stores) -> Self:
        """The archives of a process."""
        return cls(stores.core, stores.settings.archive_dir)

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

    async def find(self, ids: Sequence[UUID], archived: int) -> dict[UUID, Pair]:
        """The facts, intents and outcomes with these ids; an intent may lie here without its outcome."""
        return await self._ask(lambda shelf: shelf.find(ids), 1, archived)

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
        volumes, place = [_volume(self._folder, row) for row in rows], max(least, 1)
        for each in volumes:
            place = each.last + 1 if each.first <= place else place
        if place <= greatest:
            raise StoreUnavailableError(
                f"the core DB does not tell in which archive entry {place} lies; `astrocore audit verify` tells more"
            )
        return volumes

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
        """Make the index of an archive again, of those before it too where theirs are missing."""
        older = await self.volumes(1, volume.first - 1)
        try:
            await asyncio.to_thread(build, volume.path, lambda ids: _intents(older, ids))
        except IndexMissingError as error:
            await self.index(error.volume)
            await self.index(volume)
        except OSError as error:
            what = f"the index of archive {volume.path.name} cannot be written: {error.strerror}"
            raise StoreUnavailableError(what) from error


def _volume(folder: Path, row: Any) -> Volume:
    return Volume(
        path=folder / row["file"],
        first=row["first_sequence"],
        last=row["last_sequence"],
        earliest=row["earliest_second"],
        latest=row["latest_second"],
    )


def _intents(volumes: Sequence[Volume], ids: Sequence[UUID]) -> dict[UUID, IntentEntry]:
    bodies = (body for body, _outcome in Shelf(volumes).find(ids).values() if body)
    entries = (read_stored(b"%d" % sequence, body).entry for sequence, body in bodies)
    return {each.id: each for each in entries if isinstance(each, IntentEntry)}
