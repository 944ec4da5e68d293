"""What is asked of archive files. All of it waits for the disk: it runs in threads beside the event loop."""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from app.audit.archiving.files import member_at
from app.audit.archiving.index import Index, opened

Answer = TypeVar("Answer")

Body = tuple[int, bytes]
"""An entry as it was stored, with its number."""
Pair = tuple[Body | None, Body | None]
"""A fact or an intent, and the outcome of an intent."""


@dataclass(frozen=True)
class Volume:
    """One archive file: its entries, and the seconds between which they happened."""

    path: Path
    first: int
    last: int
    earliest: int
    latest: int


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
            listed = index.sequences(name, low, high, newest_first=newest_first, limit=wanted)
            return _bodies(volume, index, listed)

        found: list[Body] = []
        for volume in reversed(self.volumes) if newest_first else self.volumes:
            if len(found) < limit and volume.first <= greatest and least <= volume.last:
                found += _with_index(volume, read)
        return found

    def find(self, ids: Sequence[UUID]) -> dict[UUID, Pair]:
        """The facts, intents and outcomes with these ids."""

        def read(volume: Volume, index: Index) -> dict[UUID, Pair]:
            places = index.find([each for each in ids if each not in begun])
            return {
                each: (_body(volume, index, a), _body(volume, index, b)) for each, (a, b) in places.items()
            }

        begun, ended = dict[UUID, Body](), dict[UUID, Body]()
        for volume in reversed(self.volumes):
            if len(begun) == len(ids):
                break
            for each, (first, second) in _with_index(volume, read).items():
                if first:
                    begun[each] = first
                if second:
                    ended.setdefault(each, second)
        return {each: (begun.get(each), ended.get(each)) for each in begun.keys() | ended.keys()}

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
        reaching = (each for each in self.volumes if each.latest >= first_second)
        until = (each for each in reversed(self.volumes) if each.earliest <= last_second)
        begin, end = next(reaching, None), next(until, None)
        return (
            _with_index(begin, lambda _volume, index: index.first_reaching(first_second)) if begin else None,
            _with_index(end, lambda _volume, index: index.last_until(last_second)) if end else None,
        )


def _with_index(volume: Volume, read: Callable[[Volume, Index], Answer]) -> Answer:
    try:
        with opened(volume.path) as index:
            return read(volume, index)
    except sqlite3.DatabaseError as error:
        raise IndexMissingError(volume) from error


def _bodies(volume: Volume, index: Index, sequences: Sequence[int]) -> list[Body]:
    return [body for each in sequences if (body := _body(volume, index, each))]


def _body(volume: Volume, index: Index, sequence: int | None) -> Body | None:
    if sequence is None:
        return None
    if (place := index.place_of(sequence)) is None:
        raise sqlite3.DatabaseError("an index that does not fit its archive")
    return sequence, member_at(volume.path, place.offset, place.length).entries[sequence - place.first]
