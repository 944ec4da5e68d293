"""When archives are made: what has come of age, what operators ask for, what there is no memory for."""

from pathlib import Path

import pytest

from app.audit import verdicts
from app.audit.archiving import turn
from app.audit.archiving.orders import get_order, list_archives, order, plan
from app.audit.archiving.turn import take_turn
from app.clock import now
from app.scheduling.leases import claim, leader
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.audit.archived import LATER, ArchivedStore, open_archived, with_settings
from tests.app.audit.sealed import told


async def test_a_turn_works_with_the_rights_of_its_two_users(
    settings_of_test: Settings, tmp_path: Path, tomorrow: None, logged: list[tuple[str, str]]
) -> None:
    async with open_archived(settings_of_test, tmp_path, guarded=True) as store:
        for _ in range(3):
            await store.seal(3)
        stores = with_settings(store, audit_days=1)
        assert await take_turn(stores) == 0, "the day on which it was sealed is not over by a day"
        await order(stores, now() + LATER, by="ann", reason="why not")
        assert await take_turn(stores) == 1
        assert ("INFO", "audit.archived") in logged
        assert (await store.verify()).ok
        assert await leader(stores.core, "archiver") is None


async def test_an_order_says_how_it_ended(archived: ArchivedStore, tomorrow: None) -> None:
    for _ in range(3):
        await archived.seal(3)
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    made = await order(stores, now() + LATER, by="ann", reason=None)
    assert await take_turn(stores) == 1
    ended = await get_order(stores, made.id)
    assert (ended.archives, ended.entries, ended.refused) == (1, 6, None)
    (listed,) = (await list_archives(stores, limit=5)).items
    assert (listed.first, listed.last, listed.trimmed, listed.there) == (1, 6, True, True)
    archived.files[0].unlink()
    assert not (await list_archives(stores, limit=5)).items[0].there


async def test_without_a_retention_user_nothing_is_archived_and_that_is_said(
    archived: ArchivedStore, logged: list[tuple[str, str]]
) -> None:
    stores = with_settings(archived, audit_retention_url=None, audit_megabytes=1)
    made = await order(stores, now(), by="ann", reason=None)
    assert await take_turn(stores) == 0
    assert logged[-2:] == [("WARNING", "audit.filled"), ("WARNING", "archiving.skipped")]
    assert "ASTROCORE_AUDIT_RETENTION_URL must be set" in str((await get_order(stores, made.id)).refused)


async def test_a_break_stops_archiving_and_is_recorded_once_a_day(
    archived: ArchivedStore, tomorrow: None, logged: list[tuple[str, str]]
) -> None:
    for _ in range(3):
        await archived.seal(3)
    await archived.change(lambda entries: entries[1][1].update(told("edited")))
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    made = await order(stores, now() + LATER, by="ann", reason=None)
    for _ in range(2):
        assert await take_turn(stores) == 0
        await archived.stores.core.execute("UPDATE audit_archive_orders SET finished_at = NULL")
    assert logged.count(("ERROR", "archiving.stopped")) == 2
    assert "seal 1" in str((await get_order(stores, made.id)).refused)
    stopped = await archived.audit.page("by:name:audit:archive:stop", 1, 99, newest_first=True, limit=9)
    assert len(stopped[0]) == 1
    assert (await verdicts.read_verdicts(stores.core))["archiver"].place == "seal 1"


async def test_a_turn_that_meets_no_break_says_so(archived: ArchivedStore) -> None:
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    await verdicts.say(stores.core, verdicts.ARCHIVER, "seal 1", "it was gone")
    await take_turn(stores)
    assert (await verdicts.read_verdicts(stores.core))["archiver"].place is None


async def test_while_another_worker_archives_a_turn_does_nothing(archived: ArchivedStore) -> None:
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    await claim(stores.core, "archiver", "another", seconds=30)
    made = await order(stores, now(), by="ann", reason=None)
    assert await take_turn(stores) == 0
    assert (await get_order(stores, made.id)).finished_at is None


@pytest.mark.usefixtures("tomorrow")
@pytest.mark.parametrize("past", [(70, 0, False), (85, 0, True), (101, 1, True)])
async def test_past_the_memory_budget_the_oldest_entries_move_before_their_time(
    archived: ArchivedStore,
    logged: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    past: tuple[int, int, bool],
) -> None:
    used, made, warned = past
    for _ in range(3):
        await archived.seal(3)

    async def memory(_stores: Stores) -> float:
        return 60.0 if archived.files else float(used)

    monkeypatch.setattr(turn, "used_megabytes", memory)
    stores = with_settings(
        archived, audit_retention_url=archived.settings.audit_url, audit_megabytes=100, audit_days=9
    )
    assert await take_turn(stores) == made
    assert (("WARNING", "audit.filled") in logged) is warned


async def test_the_memory_is_that_of_the_server(archived: ArchivedStore) -> None:
    assert 0 < await turn.used_megabytes(archived.stores.audit) < 1000


async def test_a_plan_changes_nothing(archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.audit.archiving import orders

    for _ in range(3):
        await archived.seal(3)
    assert (await plan(archived.stores, now())).entries == 0
    monkeypatch.setattr(orders, "now", lambda: now() + LATER)
    planned = await plan(archived.stores, now() + LATER)
    assert (planned.seals, planned.entries, planned.first, planned.last) == (2, 6, 1, 6)
    assert archived.files == []
