"""Queries answer as if nothing had ever been archived."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from app.audit.archiving import archiver as archiver_module
from app.audit.archiving import index as index_module
from app.audit.archiving.files import ArchiveUnreadableError, member_at
from app.audit.archiving.index import path_of
from app.audit.entries import Entry, Fact, IntentEntry
from app.audit.indexes import indexes_of
from app.audit.persons import PersonKeys
from app.audit.queries import EntryFilter
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from tests.app.audit.archived import ArchivedStore
from tests.app.audit.entries import end, fact, intent, later
from tests.app.audit.test_queries import FILTERS, RUNS, walked

SEEDS = range(6)


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    member_at.cache_clear()
    yield
    member_at.cache_clear()


def drawn_entries(drawn: random.Random, count: int) -> list[Entry]:
    """Changes and facts in any order of time; some changes end much later, all of them do."""
    made: list[Entry] = []
    opened: list[IntentEntry] = []
    for place in range(count):
        at = later(max(0, place - drawn.choice([0, 0, 1, 9])))
        run, entity = drawn.choice([*RUNS, None]), drawn.choice(["customers", "bookings"])
        kind = drawn.choice(["intent", "fact", "end"])
        if kind == "fact":
            name, actor = drawn.choice([Fact.RUN_PAUSED, Fact.HOLD_PLACED]), drawn.choice(["ann", "bob"])
            key = drawn.choice(["a", None])
            made.append(fact(name, actor=actor, at=at, run_id=run, entity=entity, key=key))
        elif kind == "end" and opened:
            made.append(end(opened.pop(drawn.randrange(len(opened))), at=at))
        else:
            opened.append(intent(drawn.choice("abc"), run, at=at, entity=entity))
            made.append(opened[-1])
    return [*made, *(end(each, at=later(count)) for each in opened)]


async def put_twice(
    archived: ArchivedStore, drawn: random.Random, monkeypatch: pytest.MonkeyPatch
) -> tuple[AuditStore, list[Entry], int]:
    """The same entries in a store that is archived in between, and in a twin that is not."""
    twin = AuditStore(archived.redis, f"{archived.settings.namespace}twin", PersonKeys(archived.stores.core))
    entries = drawn_entries(drawn, 120)
    at = moved = 0
    while at < len(entries):
        some = entries[at : at + drawn.randint(1, 12)]
        await archived.write(some)
        await twin.append(some)
        at += len(some)
        monkeypatch.setattr(archiver_module, "FILE_ENTRIES", drawn.randint(1, 40))
        if drawn.random() < 0.4:
            moved += await archived.archive()
    # What opened late has all ended by now.
    last = fact()
    await archived.write([last])
    await twin.append([last])
    return twin, entries, moved + await archived.archive()


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_answer_is_that_of_a_store_that_was_never_archived(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    drawn = random.Random(seed)
    twin, entries, moved = await put_twice(archived, drawn, monkeypatch)
    audit = archived.audit
    assert moved > 30
    assert (await audit.count()).archived == moved
    assert (await audit.count()).missing == 0

    names = [
        None,
        "by:kind:none",
        *sorted({name for each in entries for part in indexes_of(each) for name in part}),
    ]
    for _ in range(150):
        asked: dict[str, Any] = {"newest_first": drawn.random() < 0.5, "limit": drawn.randint(1, 30)}
        index, least, greatest = drawn.choice(names), drawn.randint(0, 130), drawn.randint(0, 130)
        assert await audit.page(index, least, greatest, **asked) == await twin.page(index, least, greatest, **asked), (
            index, least, greatest, asked,
        )  # fmt: skip
        seconds = (
            drawn.randint(0, 2_000_000_000)
            if drawn.random() < 0.1
            else int(later(drawn.randint(-2, 125)).timestamp())
        )
        until = seconds + drawn.randint(-3, 60)
        assert await audit.bounds(seconds, until) == await twin.bounds(seconds, until)
        two = drawn.sample(names[1:], 2)
        assert await audit.shortest(two) == await twin.shortest(two)
    ids = [*dict.fromkeys(each.id for each in entries), uuid4()]
    for some in (ids, drawn.sample(ids, 5), []):
        assert await audit.find(some) == await twin.find(some)
        assert await audit.changes_by_id(some) == await twin.changes_by_id(some)
    for about in (
        {},
        {"entity": "customers"},
        {"entity": "customers", "key": "a"},
        {"run_id": RUNS[0]},
        {"before": 50},
    ):
        assert await audit.changes(**about, limit=9) == await twin.changes(**about, limit=9)
    for filters in drawn.sample(FILTERS, 6):
        for newest_first in (True, False):
            asked = {"newest_first": newest_first, "limit": drawn.randint(1, 20)}
            wanted = EntryFilter(**filters)
            assert await walked(audit, wanted, **asked) == await walked(twin, wanted, **asked)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "another version"])
async def test_an_index_that_is_lost_or_damaged_is_made_again(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    drawn = random.Random(3)
    twin, _entries, _moved = await put_twice(archived, drawn, monkeypatch)
    for file in archived.files:
        index = path_of(file)
        match harm:
            case "missing":
                index.unlink()
            case "empty":
                index.write_bytes(b"")
            case "cut":
                index.write_bytes(index.read_bytes()[:-8192])
            case _:
                monkeypatch.setattr(index_module, "VERSION", 2)
                monkeypatch.setattr(
                    index_module, "_TABLES", index_module._TABLES.replace("version = 1", "version = 2")
                )
    for name in ("by:record:customers:a", "by:run:" + str(RUNS[0]), None):
        asked: dict[str, Any] = {"newest_first": True, "limit": 200}
        assert await archived.audit.page(name, 1, 200, **asked) == await twin.page(name, 1, 200, **asked)


async def test_where_a_file_is_gone_the_answer_names_it(archived: ArchivedStore) -> None:
    await archived.write([fact() for _ in range(5)])
    await archived.write([fact()])
    assert await archived.archive() == 5
    (file,) = archived.files
    file.unlink()
    for clean in (False, True):
        if clean:
            path_of(file).unlink()
        member_at.cache_clear()
        with pytest.raises(ArchiveUnreadableError, match=file.name):
            await archived.audit.page(None, 1, 9, newest_first=True, limit=9)
    assert len((await archived.audit.page(None, 6, 9, newest_first=True, limit=9))[0]) == 1


async def test_where_a_file_is_damaged_the_answer_names_it(archived: ArchivedStore) -> None:
    await archived.write([fact() for _ in range(5)])
    await archived.write([fact()])
    assert await archived.archive() == 5
    (file,) = archived.files
    held = file.read_bytes()
    for harmed in (held[:-20], held[:50] + b"x" + held[51:], b""):
        member_at.cache_clear()
        file.write_bytes(harmed)
        with pytest.raises(ArchiveUnreadableError, match=file.name):
            await archived.audit.page(None, 1, 9, newest_first=False, limit=9)


async def test_an_archive_that_the_core_db_does_not_know_is_missed(archived: ArchivedStore) -> None:
    await archived.write([fact() for _ in range(5)])
    await archived.write([fact()])
    await archived.archive()
    await archived.stores.core.execute("DELETE FROM audit_archives")
    with pytest.raises(StoreUnavailableError, match="entry 1 lies"):
        await archived.audit.page(None, 1, 9, newest_first=True, limit=9)
    with pytest.raises(StoreUnavailableError, match="entry 1 lies"):
        await archived.audit.find([uuid4()])
