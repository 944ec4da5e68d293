"""Queries answer as if nothing had ever been archived."""

import asyncio
import gzip
import random
import sqlite3
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.audit.archiving import archiver as archiver_module
from app.audit.archiving import files as files_module
from app.audit.archiving import index as index_module
from app.audit.archiving.files import ArchiveUnreadableError, entries_at, forget_members, members_of, packed
from app.audit.archiving.index import path_of
from app.audit.archiving.tombstones import Tombstone
from app.audit.entries import Entry, Fact, IntentEntry, OutcomeEntry, UnreadableEntry, encode
from app.audit.indexes import indexes_of
from app.audit.persons import PersonKeys
from app.audit.queries import EntryFilter
from app.audit.sealing.keys import Keyring
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from tests.app.audit.archived import ArchivedStore
from tests.app.audit.entries import end, fact, intent, later
from tests.app.audit.sealed import new_key, with_keys
from tests.app.audit.test_queries import FILTERS, RUNS, walked

SEEDS = range(6)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    forget_members()
    monkeypatch.setattr(index_module, "_lately", index_module._Lately(128))
    yield
    forget_members()


def written_by_a_newer_version(monkeypatch: pytest.MonkeyPatch, ids: AbstractSet[UUID]) -> None:
    """Of entries with these ids intents, outcomes and facts are of a version that this one cannot read."""

    def newer(entry: Entry) -> bytes:
        body = encode(entry)
        return body.replace(b'",', b'.2",', 1) if entry.id in ids else body

    monkeypatch.setattr("app.audit.store.encode", newer)


def drawn_entries(drawn: random.Random, count: int) -> list[Entry]:
    """Changes and facts in any order of time; some changes end much later, all of them do."""
    made: list[Entry] = []
    opened: list[IntentEntry] = []
    for place in range(count):
        at = later(max(0, place - drawn.choice([0, 0, 1, 9, -30])))
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
        whole = {each.id for each in some} - {each.id for each in some if isinstance(each, OutcomeEntry)}
        opened = {each.id for each in some if isinstance(each, IntentEntry)}
        newer = {each.id for each in some if drawn.random() < 0.2} - (opened & whole)
        written_by_a_newer_version(monkeypatch, newer)
        monkeypatch.setattr(files_module, "_FULL", drawn.choice([1, 900, 1 << 16]))
        await archived.write(some)
        await twin.append(some)
        at += len(some)
        monkeypatch.setattr(archiver_module, "FILE_ENTRIES", drawn.randint(1, 40))
        if drawn.random() < 0.4:
            moved += await archived.archive()
    # What opened late has all ended by now.
    written_by_a_newer_version(monkeypatch, set())
    last = fact()
    await archived.write([last])
    await twin.append([last])
    return twin, entries, moved + await archived.archive()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.slow
async def test_every_answer_is_that_of_a_store_that_was_never_archived(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    drawn = random.Random(seed)
    twin, entries, moved = await put_twice(archived, drawn, monkeypatch)
    audit = archived.audit
    assert moved > 30
    page, _ = await audit.page(None, 1, moved, newest_first=False, limit=moved)
    assert {"intent", "outcome", "fact"} <= {
        each.entry.text[9:].partition(".")[0] for each in page if isinstance(each.entry, UnreadableEntry)
    }
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


@pytest.mark.parametrize(
    "harm",
    ["missing", "empty", "cut", "another version", "exchanged", "moved", "too long", "no number"],
)
@pytest.mark.slow
async def test_an_index_that_is_lost_or_damaged_or_lies_is_made_again(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    drawn = random.Random(3)
    twin, _entries, _moved = await put_twice(archived, drawn, monkeypatch)
    indexes = [path_of(file) for file in archived.files]
    held = [each.read_bytes() for each in indexes]
    for number, index in enumerate(indexes):
        match harm:
            case "exchanged":
                index.write_bytes(held[number - 1])
            case "moved":
                change_index(index, "UPDATE members SET offset = offset + 1")
            case "too long":
                change_index(index, "UPDATE members SET last = last + 1000")
            case "no number":
                change_index(index, "UPDATE members SET size = 'x'")
            case "missing":
                index.unlink()
            case "empty":
                index.write_bytes(b"")
            case "cut":
                index.write_bytes(index.read_bytes()[:-8192])
            case _:
                change_index(index, "PRAGMA user_version = 1")
    for name in ("by:record:customers:a", "by:run:" + str(RUNS[0]), None):
        asked: dict[str, Any] = {"newest_first": True, "limit": 200}
        assert await archived.audit.page(name, 1, 200, **asked) == await twin.page(name, 1, 200, **asked)


def change_index(index: Path, statement: str) -> None:
    with closing(sqlite3.connect(index)) as database, database:
        database.execute(statement)


async def test_an_index_by_a_process_that_could_read_less_is_made_again_and_one_that_could_read_more_stays(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = fact(actor="bob")
    written_by_a_newer_version(monkeypatch, {told.id})
    await archived.write([told])
    await archived.write([fact()])
    assert await archived.archive() == 1
    index = path_of(archived.files[0])
    made = index.stat().st_ino
    assert told.id in await archived.audit.find([told.id])
    assert index.stat().st_ino == made

    monkeypatch.setattr(index_module, "KNOWN", index_module.KNOWN | {"fact.2"})
    monkeypatch.setattr(index_module, "_lately", index_module._Lately(128))
    assert told.id in await archived.audit.find([told.id])
    newer = index.stat().st_ino
    assert newer != made

    monkeypatch.undo()
    assert told.id in await archived.audit.find([told.id])
    assert index.stat().st_ino == newer


async def test_a_full_disk_refuses_what_needs_an_index(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await archived.write([fact()])
    await archived.write([fact()])
    await archived.archive()
    path_of(archived.files[0]).unlink()
    monkeypatch.setattr(index_module, "_TABLES", "PRAGMA max_page_count = 2;" + index_module._TABLES)
    with pytest.raises(StoreUnavailableError, match=r"cannot be written: .*full"):
        await archived.audit.page(None, 1, 1, newest_first=True, limit=1)
    assert list(archived.folder.glob("*.partial")) == []


async def test_where_an_older_archive_is_gone_an_index_is_made_without_it_and_again_once_it_is_back(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 1)
    tried = intent("a")
    for each in (tried, end(tried), fact()):
        await archived.write([each])
    assert [await archived.archive(), await archived.archive()] == [1, 1]
    first, second = archived.files
    away = first.rename(first.with_suffix(".away"))
    for file in (first, second):
        path_of(file).unlink()
    forget_members()
    asked: dict[str, Any] = {"newest_first": True, "limit": 9}
    assert [each.sequence for each in (await archived.audit.page(None, 2, 2, **asked))[0]] == [2]
    with pytest.raises(ArchiveUnreadableError, match=first.name):
        await archived.audit.page("by:record:customers:a", 2, 2, **asked)
    away.rename(first)
    for least in (1, 2):
        page, _ = await archived.audit.page("by:record:customers:a", least, 2, **asked)
        assert [each.sequence for each in page] == [2, 1][: 3 - least]


@pytest.fixture
async def two(archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch) -> ArchivedStore:
    """With two archives of five entries, and five entries that are in none."""
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 5)
    for _ in range(3):
        await archived.write([fact() for _ in range(5)])
    assert [await archived.archive(), await archived.archive()] == [5, 5]
    return archived


@pytest.mark.parametrize(
    "forgery",
    [
        "file = '/elsewhere/forged.gz' WHERE number = 1",
        "file = (SELECT file FROM audit_archives AS other WHERE other.number <> audit_archives.number)",
        "tombstone = 'garbage' WHERE number = 1",
        "last_sequence = 4 WHERE number = 1",
        "number = 3 WHERE number = 1",
    ],
)
async def test_a_row_that_is_not_what_its_tombstone_says_leads_nowhere(
    two: ArchivedStore, forgery: str
) -> None:
    await two.stores.core.execute(f"UPDATE audit_archives SET {forgery}")
    with pytest.raises(StoreUnavailableError, match="entry 1 lies"):
        await walked(two.audit, EntryFilter(actor="ann"))


async def test_what_no_tombstone_says_is_not_believed(two: ArchivedStore) -> None:
    core, wanted = two.stores.core, EntryFilter(since=later(-5), until=later(5))
    await core.execute("UPDATE audit_archives SET bytes = 1")
    await core.execute(
        "INSERT INTO audit_archives (number, first_sequence, last_sequence, file, bytes, tombstone) "
        "SELECT 3, 0, 1000000, file, bytes, tombstone FROM audit_archives WHERE number = 2"
    )
    assert await walked(two.audit, wanted) == list(range(15, 0, -1))


async def test_a_tombstone_that_no_trusted_key_has_signed_leads_nowhere(two: ArchivedStore) -> None:
    core, other = two.stores.core, Keyring.of(with_keys(two.settings, new_key()))
    assert other is not None
    held = Tombstone.read(await core.fetchval("SELECT tombstone FROM audit_archives WHERE number = 2"))
    forged = replace(held, key=other.id).signed_by(other)
    await core.execute("UPDATE audit_archives SET tombstone = $1 WHERE number = 2", forged)
    with pytest.raises(StoreUnavailableError, match="entry 6 lies"):
        await walked(two.audit, EntryFilter(actor="ann"))


async def test_what_is_read_while_entries_move_is_all_of_it(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 4)
    changes = [intent("a", RUNS[0], at=later(number)) for number in range(12)]
    for each in changes:
        await archived.write([each, end(each, at=each.at)])
    every, read = list(range(24, 0, -1)), 0

    async def move() -> None:
        while await archived.archive():
            pass

    moving = asyncio.create_task(move())
    while not moving.done():
        for filters in ({}, {"entity": "customers", "key": "a"}, {"since": later(0)}):
            assert await walked(archived.audit, EntryFilter(**filters), limit=50) == every, filters
        known = await archived.audit.changes_by_id([each.id for each in changes])
        assert [known[each.id].outcome is not None for each in changes] == [True] * 12
        read += 1
    await moving
    assert (await archived.audit.count()).archived == 22
    assert read > 2


def test_a_member_takes_no_more_memory_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "audit-1.gz"
    bomb.write_bytes(packed("astrocore audit seal 1\n", [bytes(100_000)]))
    monkeypatch.setattr(files_module, "_MOST", 10_000)
    with pytest.raises(ArchiveUnreadableError, match="more than 10,000 bytes"):
        list(members_of(bomb))
    with pytest.raises(ValueError, match="this size"):
        entries_at(bomb, 0, bomb.stat().st_size, 100_032)


def test_members_are_remembered_in_so_many_bytes() -> None:
    lately = files_module._Lately(100)
    for number in range(9):
        for _ in range(2):
            lately.put((Path("a"), number), 40, (b"x",))
    assert [number for number in range(9) if lately.get((Path("a"), number))] == [7, 8]


async def test_where_a_file_is_gone_the_answer_names_it(archived: ArchivedStore) -> None:
    await archived.write([fact() for _ in range(5)])
    await archived.write([fact()])
    assert await archived.archive() == 5
    (file,) = archived.files
    file.unlink()
    for clean in (False, True):
        if clean:
            path_of(file).unlink()
        forget_members()
        with pytest.raises(ArchiveUnreadableError, match=file.name):
            await archived.audit.page(None, 1, 9, newest_first=True, limit=9)
    assert len((await archived.audit.page(None, 6, 9, newest_first=True, limit=9))[0]) == 1


async def test_where_a_file_is_damaged_the_answer_names_it(archived: ArchivedStore) -> None:
    await archived.write([fact() for _ in range(5)])
    await archived.write([fact()])
    assert await archived.archive() == 5
    (file,) = archived.files
    held = file.read_bytes()
    forged = gzip.compress(gzip.decompress(held).replace(b'"ann"', b'"eve"'))
    for harmed in (held[:-20], held[:50] + b"x" + held[51:], b"", forged):
        forget_members()
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
