"""Entries as they lie in the audit store, read one by one: one that cannot be read says so and hides no other."""

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
from msgspec import Struct

from app.audit.entries import Entry, UnreadableEntry, decode

_SHOWN = 1000  # characters of an entry that cannot be read


class Stored(Struct, frozen=True):
    """An entry with its place in the store."""

    sequence: int
    entry: Entry | UnreadableEntry


def read_stored(sequence: bytes, body: bytes | list[bytes]) -> Stored:
    """The entry with this number. Its body is the value of its one field; a list of all that it has where that is not so."""
    if isinstance(body, list):
        return Stored(
            int(sequence), _unreadable(b" ".join(body), "it does not have the one field of an entry")
        )
    try:
        return Stored(int(sequence), decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Stored(int(sequence), _unreadable(body, str(error)))


def read_page(answer: Sequence[bytes | list[bytes]]) -> list[Stored]:
    """The entries of an answer that tells each one's number and body, one after the other."""
    return [each for each in _in_turn(answer) if each is not None]


def read_pairs(answer: Sequence[bytes | list[bytes]]) -> list[tuple[Stored | None, Stored | None]]:
    """As `read_page`, two by two; None for what is not there."""
    entries = _in_turn(answer)
    return list(zip(entries, entries, strict=True))


def _in_turn(answer: Sequence[bytes | list[bytes]]) -> Iterator[Stored | None]:
    numbers, bodies = islice(answer, 0, None, 2), islice(answer, 1, None, 2)
    for sequence, body in zip(numbers, bodies, strict=True):
        yield read_stored(sequence, body) if isinstance(sequence, bytes) else None


def _unreadable(held: bytes, why: str) -> UnreadableEntry:
    return UnreadableEntry(text=held.decode(errors="replace")[:_SHOWN], why=why)
