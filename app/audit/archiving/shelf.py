"""What is asked of archive files. All of it waits for the disk: it runs in threads beside the event loop."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from app.audit.archiving.files import DAMAGE, ArchiveUnreadableError, entries_at
from app.audit.archiving.index import Index, opened

Answer = TypeVar("Answer")

Body = tuple[int, bytes]
"""An entry as it was stored, with its number."""
Pair = tuple[Body | None, Body | None]
"""A fact or an intent, and the outcome of an intent."""


# What an index may bring about that does not fit its archive.
_MISFITS = (sqlite3.Error, *DAMAGE, LookupError, TypeError, AttributeError)


@dataclass(frozen=True)
class Volume:
    """One archive file: its entries, and its SHA-256."""

    path: Path
    first: int
    last: int
    digest: bytes


class IndexMissingError(Exception):
    """The index of a volume is missing or damaged, and has to be made again."""

    def __init__(self, volume: Volume) -> None:
        super().__init__(volume.path.name)
        self.volume = volume


@dataclass(frozen=True)
class Shelf:
    """Archive files, the oldest first. Its methods raise ArchiveUnreadableError and IndexMissingError."""

    volumes: Sequence[Volume]

    def page(
        self, name: str | None, least: int, greatest: int, *, newest_first: bool, limit: int
    ) -> list[Body]:
        """Entries of an index, or of all, whose numbers lie in a range."""

        def read(volume: Volume, index: Index) -> list[Body]:
            wanted, low, high = limit - len(found), max(least, volume.first), min(greatest, volume.last)
            if name is None:
                every = range(high, low - 1, -1) if newest_first else range(low, high + 1)
                return _bodies(volume, index, every[:wanted])
            _expect_whole(index)
            listed = index.sequences(name, low, high, newest_first=newest_first, limit=wanted)
            return _bodies(volume, index, listed)

        found: list[Body] = []
        for volume in reversed(self.volumes) if newest_first else self.volumes:
            if len(found) < limit and volume.first <= greatest and least <= volume.last:
                found += _with_index(volume, read)
        return found

    def find(self, ids: Sequence[UUID], near: int | None = None) -> dict[UUID, Pair]:
        """The facts, intents and outcomes with these ids; most of them are thought to lie near this number."""

        def read(volume: Volume, index: Index) -> dict[UUID, Pair]:
            places = index.find(wanted)
            there = [each for pair in places.values() for each in pair if each is not None]
            bodies = {each[0]: each for each in _bodies(volume, index, there)}
            return {each: (bodies.get(a or 0), bodies.get(b or 0)) for each, (a, b) in places.items()}

        found = dict[UUID, Pair]()
        for volume in self._from(near):
            wanted = [each for each in ids if _may_lie_in(volume, *found.get(each, (None, None)))]
            if wanted:
                for each, (begun, ended) in _with_index(volume, read).items():
                    known = found.get(each, (None, None))
                    found[each] = known[0] or begun, known[1] or ended
        return found

    def _from(self, near: int | None) -> list[Volume]:
        """The volumes, from the newest on or from this number outwards."""
        if near is None:
            return list(reversed(self.volumes))
        return sorted(self.volumes, key=lambda each: max(each.first - near, near - each.last))

    def count(self, names: Sequence[str]) -> dict[str, int]:
        """How many entries are listed under each of these names."""
        counted = dict.fromkeys(names, 0)
        for volume in self.volumes:
            there = _with_index(volume, lambda _volume, index: [index.count(name) for name in names])
            for name, count in zip(names, there, strict=True):
                counted[name] += count
        return counted

    def bounds(self, first_second: int, last_second: int) -> tuple[int | None, int | None]:
        """The first entry of `first_second` or later, and the last one of `last_second` or earlier."""
        reaching = (each for each in self.volumes if (extent := _extent(each)) and extent[1] >= first_second)
        until = (
            each for each in reversed(self.volumes) if (extent := _extent(each)) and extent[0] <= last_second
        )
        begin, end = next(reaching, None), next(until, None)
        return (
            _with_index(begin, lambda _volume, index: index.first_reaching(first_second)) if begin else None,
            _with_index(end, lambda _volume, index: index.last_until(last_second)) if end else None,
        )


@lru_cache(maxsize=4096)
def _extent(volume: Volume) -> tuple[int, int] | None:
    """The seconds between which the entries of a volume happened."""
    earliest, latest = _with_index(volume, lambda _volume, index: index.extent())
    return None if earliest is None or latest is None else (earliest, latest)


def _with_index(volume: Volume, read: Callable[[Volume, Index], Answer]) -> Answer:
    try:
        with opened(volume.path, volume.digest) as index:
            return read(volume, index)
    except _MISFITS as error:
        raise IndexMissingError(volume) from error


def _may_lie_in(volume: Volume, begun: Body | None, ended: Body | None) -> bool:
    """Whether more of a fact, or of an intent and its outcome, may lie in a volume: what ends is behind what begins."""
    return begun is None or (ended is None and volume.first > begun[0])


def _expect_whole(index: Index) -> None:
    if index.lacking is not None:
        raise ArchiveUnreadableError(index.lacking.path, "is missing or damaged")


def _bodies(volume: Volume, index: Index, sequences: Sequence[int]) -> list[Body]:
    """Entries in the order asked for; each member is read once."""
    found, place, entries = dict[int, bytes](), None, tuple[bytes, ...]()
    for each in sorted(sequences):
        if place is None or each > place.last:
            place = index.place_of(each)
            entries = entries_at(volume.path, place.offset, place.length, place.size)
            if len(entries) != place.last - place.first + 1:
                raise sqlite3.DatabaseError("an index that does not fit its archive")
        found[each] = entries[each - place.first]
    return [(each, found[each]) for each in sequences]
