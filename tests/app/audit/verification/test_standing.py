"""What the two stores say about archives, against what is signed and against each other: older states, debts, columns."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.audit.archiving.trimming import Trimmer
from app.audit.entries import Fact, FactEntry, Personal
from app.audit.persons import PersonKeys
from app.audit.store import AuditStore
from app.audit.verification import tombstones as tombstones_module
from config.settings import Settings
from tests.app.audit.archived import ArchivedStore, archiver_module, open_archived
from tests.app.audit.entries import NOW, end, intent

# What is archived and what is not is told in `conftest.py`.


@pytest.fixture
def store(archived: ArchivedStore) -> ArchivedStore:
    return archived


ALL = ("entries", "sequence", "seals", "archived", "archives")


async def snapshot(store: ArchivedStore, names: Sequence[str]) -> dict[str, bytes | None]:
    async with Redis.from_url(store.settings.url("audit_url")) as raw:
        return {name: await raw.dump(store.key(name)) for name in names}


async def put_back(store: ArchivedStore, held: dict[str, bytes | None]) -> None:
    for name, value in held.items():
        await store.redis.delete(store.key(name))
        if value is not None:
            await store.redis.restore(store.key(name), 0, value)


@pytest.mark.parametrize("names", [ALL, ALL[:-1]], ids=["tombstones too", "tombstones kept"])
async def test_an_older_state_of_redis_that_was_put_back_is_rolled_back(
    store: ArchivedStore, names: Sequence[str]
) -> None:
    await store.seal()
    before = await snapshot(store, names)
    assert await store.archive() == 10
    await put_back(store, before)
    report = await store.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("rolled back", 5)]
    assert "archive 3: " in report.findings[0].message
    await store.seal(5)
    assert await store.found() == [("rolled back", 5, None)], "the service goes on: entries and seals fit"


@pytest.mark.parametrize("names", [ALL, ALL[:-1]], ids=["tombstones too", "tombstones kept"])
async def test_a_state_of_redis_from_before_archived_entries_were_there(
    settings_of_test: Settings, tmp_path: Path, names: Sequence[str]
) -> None:
    async with open_archived(settings_of_test, tmp_path / "archives") as store:
        await store.seal(5)
        await store.append(2)
        before = await snapshot(store, names)
        for _ in range(3):
            await store.seal(5)
        assert await store.archive() == 17
        await put_back(store, before)
        assert [each for each in await store.found() if each[0] != "seal missing"] == [
            ("rolled back", 1, None),
            ("rolled back", 2, 8),
        ]
        await store.append(3)
        assert ("forked", 2, 8) in await store.found()


async def test_redis_emptied_is_rolled_back(store: ArchivedStore) -> None:
    await store.redis.delete(*map(store.key, ALL))
    assert {wrong for wrong, *_ in await store.found()} == {"rolled back", "seal missing"}


async def test_redis_says_wrongly_how_far_it_is_archived(store: ArchivedStore) -> None:
    for number in (0, 10, 13, 25, "x"):
        await store.redis.set(store.key("archived"), number)
        assert await store.found() == [("archive miscounted", None, None)], number


async def test_redis_lacks_what_has_yet_to_leave_it_though_the_archive_has_it(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.seal()
    await _archive_and_die(store, monkeypatch, "trim_entries")
    assert (await store.verify()).ok
    file = store.files[2]
    kept = file.rename(store.folder / "elsewhere")
    report = await store.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("archive missing", 5)]
    assert (report.unread, report.entries) == (0, 32), "they were read where they still lie"
    kept.rename(file)
    await store.redis.xtrim(store.key("entries"), minid=24, approximate=False)
    await store.redis.set(store.key("archived"), 23)
    assert await store.found() == [("archive miscounted", None, None)]
    await store.redis.xdel(store.key("entries"), "27-0")
    assert await store.found() == [("deleted", 6, 27)]


async def _archive_and_die(store: ArchivedStore, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    async def die(*_arguments: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(Trimmer, step, die)
        with pytest.raises(InterruptedError):
            await store.archive()


async def test_a_copy_of_a_tombstone_is_owed_for_hours_and_no_longer(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.seal()
    await _archive_and_die(store, monkeypatch, "add_tombstone")
    assert (await store.verify()).tombstone_owed == 3
    monkeypatch.setattr(tombstones_module, "COPY_SECONDS", 0.0)
    report = await store.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("tombstone missing", 5)]
    assert (report.tombstone_owed, report.entries) == (None, 32)


async def test_a_row_of_the_core_db_that_no_archiver_made(store: ArchivedStore) -> None:
    row = """INSERT INTO audit_archives (number, first_sequence, last_sequence, file, bytes, tombstone)
        VALUES ($1, 0, 1000000, 'x', 1, 'garbage')"""
    for number, wrong in ((3, "tombstone unreadable"), (0, "tombstone unchained")):
        await store.stores.core.execute(row, number)
        assert [each for each, *_ in await store.found()] == [wrong]
        await store.stores.core.execute("DELETE FROM audit_archives WHERE number = $1", number)


async def test_an_owed_tombstone_is_judged_by_its_signature(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.seal()
    await _archive_and_die(store, monkeypatch, "add_tombstone")
    change = "UPDATE audit_archives SET tombstone = replace(tombstone, 'last 30', 'last 29') WHERE number = 3"
    await store.stores.core.execute(change)
    assert await store.found() == [("tombstone untrusted", 5, None)]


async def test_columns_that_are_not_what_was_signed(store: ArchivedStore) -> None:
    update = "UPDATE audit_archives SET first_sequence = $1, last_sequence = $2, file = $3, bytes = $4 WHERE number = 1"
    size = store.files[0].stat().st_size
    kept = [1, 10, store.files[0].name, size]
    for place, forged in enumerate([0, 9, "/elsewhere/forged.gz", size + 1]):
        await store.stores.core.execute(update, *kept[:place], forged, *kept[place + 1 :])
        report = await store.verify()
        assert [(each.wrong, each.seal) for each in report.findings] == [("tombstone's columns", 1)]
        assert f" {forged}'" in report.findings[0].message
    await store.stores.core.execute(update, *kept)
    assert (await store.verify()).ok


async def test_who_was_forgotten_may_stand_in_what_cannot_be_read(
    settings_of_test: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 1)
    async with open_archived(settings_of_test, tmp_path / "archives") as store:
        audit = AuditStore(store.redis, store.settings.namespace, PersonKeys(store.stores.core))
        tried = intent(personal=Personal(("customers/ada",), ("x",)))
        await audit.append([tried, end(tried)])
        await store.seal()
        key = await store.stores.core.fetchval(
            "UPDATE person_keys SET key = NULL, forgotten_at = now() - interval '1 day' RETURNING id"
        )
        fact = FactEntry(
            uuid4(), NOW, Fact.PERSON_FORGOTTEN, "ann", "customers/ada", detail={"key": str(key)}
        )
        await audit.append([fact])
        await store.seal()
        await store.seal(1)
        assert [await store.archive(), await store.archive()] == [2, 1]
        report = await store.verify()
        assert (report.ok, report.erased_persons) == (True, 1)
        store.files[1].unlink()
        assert await store.found() == [("archive missing", 2, None)]
