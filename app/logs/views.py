"""Entries of the log store as callers see them."""

from collections.abc import Iterable

from msgspec import Struct, structs

from app.logs.queries import LogPage, StoredEntry
from config.log_entries import LogEntry


class LogLine(LogEntry, frozen=True, omit_defaults=True, kw_only=True):
    """An entry with its number in the store: gapless from 1, in the order of arrival."""

    number: int


class LogList(Struct, frozen=True):
    """One page of entries; `next_cursor` asks for the following one and is null on the last.

    `complete` is false where so much had to be looked at that the page was handed out before it was full: go on with
    the cursor, there may be more. `scanned` is how many places were looked at for this page, `unreadable` how many of
    them held no entry that can be read.
    """

    items: list[LogLine]
    next_cursor: str | None
    complete: bool
    scanned: int
    unreadable: int = 0


def line_of(stored: StoredEntry) -> LogLine:
    return LogLine(number=stored.number, **structs.asdict(stored.entry))


def lines_of(stored: Iterable[StoredEntry]) -> list[LogLine]:
    return [line_of(each) for each in stored]


def list_of(page: LogPage) -> LogList:
    return LogList(lines_of(page.items), page.next_cursor, page.complete, page.scanned, page.unreadable)
