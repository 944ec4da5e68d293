"""What can be asked of the log store, and whether an entry is part of the answer. `app.logs.store.LogStore` answers."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from app.errors import Fault, InvalidInputError
from app.pages import decode_cursor, encode_cursor
from config.log_entries import LEVELS, LogEntry

_FIELD_TERM = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*):(.*)", re.DOTALL)
_EQUAL = ("component", "event", "actor", "request_id", "trace_id", "entity", "key", "client")
# A number that is looked for would be found in these at every turn.
_UNSEARCHED = {"sequence", "time", "duration_ms"}


class LogFilter(Struct, frozen=True):
    """Entries that meet all of what is given.

    `level_min` is one of LEVELS. `since` and `until` include both ends and are about when it happened. Each `text` is
    either found in a value of the entry, in any case of letters, or is `field:value` and that field has that value;
    fields are those of LogEntry and the names in its `fields`, with dots for what lies deeper.
    """

    level_min: str | None = None
    component: str | None = None
    event: str | None = None
    actor: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    entity: str | None = None
    key: str | None = None
    client: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: tuple[str, ...] = ()


class StoredEntry(Struct, frozen=True):
    """An entry with its number in the store: gapless from 1, in the order of arrival."""

    number: int
    entry: LogEntry


class LogPage(Struct, frozen=True):
    """A page of entries; `next_cursor` goes on after it and is null where nothing is left.

    `complete` is false where so much had to be looked at that the page was handed out before it was full: the cursor
    goes on from there. `scanned` is how many places were looked at, `unreadable` how many of them held no entry that
    can be read.
    """

    items: list[StoredEntry]
    next_cursor: str | None
    complete: bool
    scanned: int
    unreadable: int = 0


class Missed(Struct, frozen=True):
    """The entries from number `first` to `last`, of every kind, that a reader was not shown, and why."""

    first: int
    last: int
    reason: Literal["behind", "trimmed", "unreadable"]

    @property
    def count(self) -> int:
        return self.last - self.first + 1


class Reached(Struct, frozen=True):
    """Up to this number there is nothing more for a follower: who goes on later goes on from there."""

    number: int


class LogStats(Struct, frozen=True):
    """What the store holds and what it does not hold any more.

    `trimmed` entries were kept long enough, or longer than there was memory for: the newest of them happened at
    `trimmed_until`. `lost` entries were numbered by the process that logged them but never arrived.
    """

    entries: int
    first_number: int | None
    last_number: int
    oldest: datetime | None
    newest: datetime | None
    trimmed: int
    trimmed_until: datetime | None
    lost: int
    memory_bytes: int


class Position(Struct, frozen=True):
    """Where a page ended: the number that was looked at last, and which way.

    `asked_at` is when the first page was asked for: what was given as so long ago is meant from there on every page.
    """

    number: int
    newest_first: bool
    asked_at: datetime

    def cursor(self) -> str:
        milliseconds = round(self.asked_at.timestamp() * 1000)
        return encode_cursor(f"{'n' if self.newest_first else 'o'}{self.number}@{milliseconds}")


_CURSOR = re.compile(r"([no])([0-9]{1,15})@([0-9]{1,14})")


def read_position(cursor: str | None) -> Position | None:
    """Where the page before ended; raises InvalidInputError for a cursor that is not ours."""
    return decode_cursor(cursor, _parse_position)


def _parse_position(text: str) -> Position:
    if (match := _CURSOR.fullmatch(text)) is None:
        raise ValueError("no position of ours")
    return Position(int(match[2]), match[1] == "n", datetime.fromtimestamp(int(match[3]) / 1000, UTC))


def read_cursor(cursor: str | None, *, newest_first: bool) -> int | None:
    """The number to go on after; raises InvalidInputError for a cursor that is not ours, or of the other order."""
    position = read_position(cursor)
    if position is not None and position.newest_first != newest_first:
        raise InvalidInputError("malformed cursor", [Fault("cursor", "is of a list in the other order")])
    return None if position is None else position.number


def fits(entry: LogEntry, wanted: LogFilter) -> bool:
    """Whether an entry meets a filter."""
    return (
        all(
            value is None or value == getattr(entry, name)
            for name in _EQUAL
            for value in (getattr(wanted, name),)
        )
        and (wanted.level_min is None or LEVELS.index(entry.level) >= LEVELS.index(wanted.level_min))
        and (wanted.since is None or entry.time >= wanted.since)
        and (wanted.until is None or entry.time <= wanted.until)
        and all(_has(entry, term) for term in wanted.text)
    )


def _has(entry: LogEntry, term: str) -> bool:
    if (match := _FIELD_TERM.fullmatch(term)) and _value_at(entry, match[1].split(".")) == match[2]:
        return True
    sought = term.casefold()
    values = _values(entry)
    return any(
        sought in text.casefold() for name in values.keys() - _UNSEARCHED for text in _texts(values[name])
    )


def _value_at(entry: LogEntry, path: list[str]) -> str | None:
    found: Any = _values(entry) | entry.fields
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    return None if found is None else _spelled(found)


def _values(entry: LogEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in entry.__struct_fields__}
    if entry.exception is not None:
        values["exception"] = {
            name: getattr(entry.exception, name) for name in entry.exception.__struct_fields__
        }
    return values


def _texts(value: Any) -> Iterator[str]:
    match value:
        case None:
            return
        case dict():
            for each in value.values():
                yield from _texts(each)
        case list() | tuple():
            for each in value:
                yield from _texts(each)
        case _:
            yield _spelled(value)


def _spelled(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case datetime():
            return value.isoformat(timespec="milliseconds")
        case _:
            return str(value)
