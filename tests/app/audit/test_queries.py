"""What is asked of the audit store, held beside a plain look at every entry."""

import asyncio
import random
from typing import Any
from uuid import UUID

import pytest
from redis.asyncio import Redis

from app.audit import queries
from app.audit.entries import Entry, Fact, FactEntry, IntentEntry, Kind, Outcome, OutcomeEntry, kind_of
from app.audit.queries import EntryFilter, get_entry, list_entries
from app.audit.store import AuditStore
from app.errors import InvalidInputError, NotFoundError
from app.pages import encode_cursor
from tests.app.audit.entries import end, fact, intent, later

RUNS = [UUID(int=number) for number in (1, 2)]
ACTORS = ["ann", "bob"]


def a_busy_hour() -> list[Entry]:
    """Changes of two runs, facts of two actors, some of them late."""
    drawn = random.Random(1)
    made: list[Entry] = []
    for second in range(60):
        tried = intent(
            drawn.choice("abc"),
            drawn.choice([*RUNS, None]),
            at=later(second),
            entity=drawn.choice(["customers", "bookings"]),
        )
        late = max(0, second - drawn.choice([0, 0, 7]))
        said = fact(
            drawn.choice([Fact.RUN_PAUSED, Fact.HOLD_PLACED]), actor=drawn.choice(ACTORS), at=later(late),
            run_id=drawn.choice([*RUNS, None]), entity=drawn.choice(["customers", None]), key="a",
        )  # fmt: skip
        made += [tried, said, *([end(tried, at=later(second))] if second % 4 else [])]
    return made


@pytest.fixture
async def busy(audit: AuditStore) -> list[Entry]:
    made = a_busy_hour()
    for at in range(0, len(made), 17):
        await audit.append(made[at : at + 17])
    return made


def expected(entries: list[Entry], wanted: EntryFilter) -> list[int]:
    """The places of what is wanted, by the plain meaning of each filter."""
    intents = {each.id: each for each in entries if isinstance(each, IntentEntry)}

    def holds(entry: Entry) -> bool:
        about = intents[entry.id] if isinstance(entry, OutcomeEntry) else entry
        told: dict[str, Any] = {
            "kind": kind_of(entry),
            "name": getattr(entry, "name", None),
            "actor": getattr(entry, "actor", None),
            "run_id": about.run_id,
            "entity": about.entity,
            "key": about.key,
        }
        asked = {name: getattr(wanted, name) for name in told}
        return (
            all(value is None or told[name] == value for name, value in asked.items())
            and (wanted.since is None or entry.at >= wanted.since)
            and (wanted.until is None or entry.at < wanted.until)
        )

    return [place for place, entry in enumerate(entries, 1) if holds(entry)]


async def walked(
    audit: AuditStore, wanted: EntryFilter, *, newest_first: bool = True, limit: int = 7
) -> list[int]:
    """The places of what is found, page by page."""
    places: list[int] = []
    cursor = None
    while True:
        page = await list_entries(audit, wanted, newest_first=newest_first, limit=limit, cursor=cursor)
        places += [each.sequence for each in page.items]
        assert len(page.items) <= limit
        assert page.complete or page.next_cursor
        if (cursor := page.next_cursor) is None:
            return places


FILTERS = [
    {},
    {"kind": Kind.INTENT},
    {"kind": Kind.OUTCOME},
    {"kind": Kind.FACT},
    {"name": Fact.RUN_PAUSED},
    {"name": Fact.RUN_ENDED},
    {"actor": "ann"},
    {"actor": "nobody"},
    {"run_id": RUNS[0]},
    {"run_id": RUNS[0], "kind": Kind.OUTCOME},
    {"run_id": RUNS[1], "actor": "bob", "name": Fact.HOLD_PLACED},
    {"entity": "customers"},
    {"entity": "bookings", "kind": Kind.INTENT},
    {"entity": "customers", "kind": Kind.FACT},
    {"entity": "customers", "key": "a"},
    {"entity": "bookings", "key": "b", "run_id": RUNS[1]},
    {"since": later(20)},
    {"until": later(20)},
    {"since": later(20), "until": later(30.5)},
    {"since": later(20.5), "until": later(20.6)},
    {"since": later(-99), "until": later(-9)},
    {"since": later(99)},
    {"since": later(10), "until": later(50), "actor": "ann"},
    {"since": later(10), "until": later(50), "entity": "customers", "key": "a", "kind": Kind.OUTCOME},
]  # fmt: skip


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_what_is_wanted_is_found_and_nothing_else(
    audit: AuditStore, busy: list[Entry], filters: dict[str, Any]
) -> None:
    wanted = EntryFilter(**filters)
    places = expected(busy, wanted)

    assert await walked(audit, wanted, newest_first=False) == places
    assert await walked(audit, wanted) == places[::-1]
    assert await walked(audit, wanted, limit=1000) == places[::-1]


async def test_a_page_that_looked_at_enough_says_so_and_the_next_one_goes_on(
    audit: AuditStore, busy: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "BUDGET", 10)
    for newest_first in (True, False):
        page = await list_entries(
            audit, EntryFilter(name=Fact.RUN_PAUSED, actor="ann"), newest_first=newest_first
        )
        assert not page.complete
        assert page.scanned == 10
        wanted = EntryFilter(name=Fact.RUN_PAUSED, actor="ann")
        places = expected(busy, wanted)[:: -1 if newest_first else 1]
        assert await walked(audit, wanted, newest_first=newest_first) == places


@pytest.mark.slow
async def test_writers_neither_shift_nor_repeat_what_is_still_to_come(audit: AuditStore) -> None:
    """Pages are turned while four writers append entries of one and the same moment."""
    await audit.append([fact() for _ in range(200)])
    over = asyncio.Event()

    async def write() -> None:
        while not over.is_set():
            await audit.append([fact() for _ in range(5)])

    writers = [asyncio.create_task(write()) for _ in range(4)]
    for wanted in (
        EntryFilter(),
        EntryFilter(actor="ann"),
        EntryFilter(since=later(0), name=Fact.JOB_CHANGED),
    ):
        newest = await walked(audit, wanted)
        assert newest == list(range(newest[0], 0, -1))
        oldest = await first_pages(audit, wanted, 40)
        assert oldest == list(range(1, len(oldest) + 1))
    over.set()
    await asyncio.gather(*writers)
    assert await walked(audit, EntryFilter(), newest_first=False, limit=100) == list(
        range(1, (await audit.count()).counted + 1)
    )


async def first_pages(audit: AuditStore, wanted: EntryFilter, pages: int) -> list[int]:
    places: list[int] = []
    cursor = None
    for _ in range(pages):
        page = await list_entries(audit, wanted, newest_first=False, limit=7, cursor=cursor)
        places += [each.sequence for each in page.items]
        cursor = page.next_cursor
    return places


async def test_an_outcome_is_shown_with_its_intent(audit: AuditStore) -> None:
    tried = intent("a", RUNS[0])
    await audit.append([tried, *[fact() for _ in range(5)], end(tried, Outcome.REJECTED)])

    (only,) = (await list_entries(audit, EntryFilter(kind=Kind.OUTCOME))).items
    assert only.intent == tried
    assert (await get_entry(audit, 7)).intent == tried
    assert (await get_entry(audit, 1)).intent is None


async def test_an_entry_that_is_not_there_is_not_found(audit: AuditStore) -> None:
    await audit.append([fact()])
    for sequence in (0, 2, -1, 2**62, 2**70):
        with pytest.raises(NotFoundError):
            await get_entry(audit, sequence)


@pytest.mark.parametrize("cursor", ["", "x", encode_cursor("-1"), encode_cursor("a")])
async def test_a_cursor_of_somebody_else_is_refused(audit: AuditStore, cursor: str) -> None:
    with pytest.raises(InvalidInputError):
        await list_entries(audit, EntryFilter(), cursor=cursor)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("place", [0, 2**62])
async def test_a_cursor_beyond_all_entries_leads_to_an_end(
    audit: AuditStore, place: int, newest_first: bool
) -> None:
    await audit.append([fact(), fact()])
    for wanted in (EntryFilter(), EntryFilter(actor="ann")):
        page = await list_entries(audit, wanted, newest_first=newest_first, cursor=encode_cursor(str(place)))
        assert len(page.items) == (2 if newest_first == bool(place) else 0)
        assert page.next_cursor is None


def test_the_entries_of_these_tests_are_of_each_kind() -> None:
    assert {type(each) for each in a_busy_hour()} == {IntentEntry, OutcomeEntry, FactEntry}


async def test_entries_that_are_gone_count_as_looked_at(
    audit: AuditStore, busy: list[Entry], retention: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "BUDGET", 10)
    await retention.xtrim(f"{prefix}entries", maxlen=0, approximate=False)
    found = await list_entries(audit, EntryFilter(entity="customers"), limit=2)
    assert (found.items, found.complete, found.scanned) == ([], False, 10)
    assert found.next_cursor
