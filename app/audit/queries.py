"""What is asked of the audit store: entries by filters, page by page.

A query walks one index, the shortest of those that its filters have, or the stream; the other filters are looked at
entry by entry. A page looks at a bounded number of entries: where that is not enough to fill it, it says so. Pages go on by
sequence number, so that writers neither shift what is to come nor repeat what was told.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct

from app.audit import indexes
from app.audit.entries import (
    Entry,
    Fact,
    FactEntry,
    IntentEntry,
    Kind,
    OutcomeEntry,
    UnreadableEntry,
    kind_of,
)
from app.audit.store import END, AuditStore
from app.audit.stored import Stored
from app.audit.views import Found
from app.errors import NotFoundError
from app.pages import check_limit, decode_cursor_number, encode_cursor

# Entries that a page looks at, at most.
BUDGET = 2000


class EntryFilter(Struct, frozen=True):
    """What an entry must have; None asks for nothing. `key` goes with `entity`.

    An entry that cannot be read may be what is wanted: it passes wherever it is met, unless another kind is asked for.

    `since` and `until` bound the time at which the entry says that it happened, `until` without the end.
    """

    kind: Kind | None = None
    name: Fact | None = None
    actor: str | None = None
    run_id: UUID | None = None
    entity: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Matches(Struct, frozen=True):
    """A page of entries.

    `complete` is False where `scanned` reached its bound before the page was full: `next_cursor` goes on.
    """

    items: list[Found]
    next_cursor: str | None
    complete: bool
    scanned: int


async def list_entries(
    audit: AuditStore,
    wanted: EntryFilter,
    *,
    newest_first: bool = True,
    limit: int = 50,
    cursor: str | None = None,
) -> Matches:
    """The entries that have all that is wanted, in the order in which they were recorded."""
    walk = _Walk(check_limit(limit))
    least, greatest = await _bounds(audit, wanted)
    if (place := decode_cursor_number(cursor)) is not None:
        least, greatest = (
            (least, min(greatest, place - 1)) if newest_first else (max(least, place + 1), greatest)
        )
    index = await audit.shortest(_indexes(wanted))
    while walk.goes_on:
        chunk = walk.chunk
        page, last = await audit.page(index, least, greatest, newest_first=newest_first, limit=chunk)
        own = [each for each in page if _is_wanted(each.entry, wanted)]
        found = await _with_intents(audit, own, beside=page)
        # Where an index still names entries that are gone, fewer come back than were looked at.
        walk.add(
            len(page) if last is None else chunk, last, [each for each in found if _is_about(each, wanted)]
        )
        if last is not None:
            least, greatest = (least, last - 1) if newest_first else (last + 1, greatest)
    return Matches(walk.items, walk.cursor, walk.complete, walk.scanned)


async def get_entry(audit: AuditStore, sequence: int) -> Found:
    """One entry; raises NotFoundError where there is none with that number."""
    there = 0 < sequence < END
    page, _ = await audit.page(None, sequence, sequence, newest_first=True, limit=1) if there else ([], None)
    if not page:
        raise NotFoundError(f"no audit entry {sequence}")
    return (await _with_intents(audit, page, beside=page))[0]


class _Walk:
    """One page in the making."""

    def __init__(self, limit: int) -> None:
        self.scanned = 0
        self._limit = limit
        self._found: list[Found] = []
        self._last: int | None = END

    @property
    def goes_on(self) -> bool:
        return self._last is not None and len(self._found) <= self._limit and self.scanned < BUDGET

    @property
    def chunk(self) -> int:
        """How many to look at next: one more than the page takes tells whether there is another one."""
        return min(BUDGET - self.scanned, max(self._limit + 1 - len(self._found), 250 if self.scanned else 1))

    def add(self, scanned: int, last: int | None, found: Sequence[Found]) -> None:
        """What was found among so many entries; `last` is the number that was looked at last, None at the end."""
        self.scanned += scanned
        self._found += found
        self._last = last

    @property
    def items(self) -> list[Found]:
        return self._found[: self._limit]

    @property
    def is_full(self) -> bool:
        return len(self._found) > self._limit

    @property
    def complete(self) -> bool:
        return self.is_full or self._last is None

    @property
    def cursor(self) -> str | None:
        place = self.items[-1].sequence if self.is_full else self._last
        return None if place is None else encode_cursor(str(place))


async def _bounds(audit: AuditStore, wanted: EntryFilter) -> tuple[int, int]:
    if wanted.since is None and wanted.until is None:
        return 1, END - 1
    first = max(0, int(wanted.since.timestamp())) if wanted.since else 0
    last = max(0, int(wanted.until.timestamp())) if wanted.until else END
    return await audit.bounds(first, last)


def _indexes(wanted: EntryFilter) -> list[str]:
    """The indexes that hold every entry which has what is wanted."""
    found = [
        # What cannot be read was listed as what it claimed to be, or nowhere.
        wanted.kind and wanted.kind is not Kind.UNREADABLE and indexes.of_kind(wanted.kind),
        wanted.name and indexes.of_name(wanted.name),
        wanted.actor and indexes.of_actor(wanted.actor),
        wanted.run_id and indexes.of_run(wanted.run_id),
        wanted.entity and indexes.of_entity(wanted.entity),
        wanted.entity and wanted.key and indexes.of_record(wanted.entity, wanted.key),
        wanted.entity and wanted.kind is Kind.INTENT and indexes.of_intents(wanted.entity),
    ]
    return [each for each in found if each]


def _is_wanted(entry: Entry | UnreadableEntry, wanted: EntryFilter) -> bool:
    """Whether the entry has what can be told from itself; of one that cannot be read nothing else is known to be wrong."""
    if isinstance(entry, UnreadableEntry):
        return wanted.kind in {None, Kind.UNREADABLE}
    named = entry if isinstance(entry, FactEntry) else None
    return (
        (wanted.kind is None or wanted.kind is kind_of(entry))
        and (wanted.name is None or (named is not None and wanted.name is named.name))
        and (wanted.actor is None or (named is not None and wanted.actor == named.actor))
        and (wanted.since is None or entry.at >= wanted.since)
        and (wanted.until is None or entry.at < wanted.until)
    )


def _is_about(found: Found, wanted: EntryFilter) -> bool:
    """Whether it is about what is wanted: an outcome is about what its intent is about."""
    about = found.intent or found.entry
    if isinstance(about, OutcomeEntry):
        return wanted.run_id is None and wanted.entity is None
    if isinstance(about, UnreadableEntry):
        return True
    return (
        (wanted.run_id is None or wanted.run_id == about.run_id)
        and (wanted.entity is None or wanted.entity == about.entity)
        and (wanted.key is None or wanted.key == about.key)
    )


async def _with_intents(
    audit: AuditStore, entries: Sequence[Stored], *, beside: Sequence[Stored]
) -> list[Found]:
    """The entries, outcomes with their intents: most of them lie beside."""
    known = {each.entry.id: each.entry for each in beside if isinstance(each.entry, IntentEntry)}
    ended = {each.entry.id for each in entries if isinstance(each.entry, OutcomeEntry)}
    near = entries[0].sequence if entries else None
    for each, (begun, _) in (await audit.find(list(ended - known.keys()), near)).items():
        if isinstance(begun.entry, IntentEntry):
            known[each] = begun.entry
    return [Found(each.sequence, each.entry, _intent_of(each, known)) for each in entries]


def _intent_of(ended: Stored, known: Mapping[UUID, IntentEntry]) -> IntentEntry | None:
    return known.get(ended.entry.id) if isinstance(ended.entry, OutcomeEntry) else None
