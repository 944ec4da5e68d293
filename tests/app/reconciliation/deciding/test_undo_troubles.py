"""Undo where workers die, stores do not answer and others write, against real stores."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from app.reconciliation.deciding import collecting, undo
from app.reconciliation.ledger.views import UndoPreview, UndoView
from app.reconciliation.repairing import changes
from app.stores.connections import Stores
from tests.app.reconciliation.deciding.undo_steps import applied, audit_of, refusals, repaired_city, run_over
from tests.app.reconciliation.interposed import KilledError, Way, before, dying, interpose, unanswered
from tests.app.reconciliation.worlds import customer, put_document, row_of


@pytest.fixture
def soon_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """How a write ended may be judged soon after it would have timed out."""
    monkeypatch.setattr(changes, "_GRACE", timedelta(seconds=0.4))


@pytest.mark.usefixtures("soon_judged")
@pytest.mark.parametrize("after", [True, False])
async def test_an_undo_whose_worker_died_is_finished_by_the_next_one_and_written_once(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    brief = replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.2}))
    with monkeypatch.context() as patched:
        undoer = undo.undoer_of(brief)
        interpose(undoer.sides, "customers", "relational", write=dying(after=after))
        patched.setattr(undo, "undoer_of", lambda _: undoer)
        with pytest.raises(KilledError):
            await undo.carry_out(brief, started.id)
    assert await undo.left_behind(repairing) == [started.id]

    await undo.carry_out(brief, started.id)

    done = await undo.get_undo(repairing, started.id)
    assert (done.status, done.undone, done.refused) == ("done", 1, 0)
    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    assert len(await applied(repairing)) == 2, "the repair and its undo, whatever was tried"
    assert await audit_of(repairing).open_intents() == []
    assert await undo.left_behind(repairing) == []


async def carry_out_with(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, undo_id: UUID, write: Way
) -> UndoView:
    undoer = undo.undoer_of(stores)
    interpose(undoer.sides, "customers", "relational", write=write)
    monkeypatch.setattr(undo, "undoer_of", lambda _: undoer)
    await undo.carry_out(stores, undo_id)
    return await undo.get_undo(stores, undo_id)


async def test_a_record_that_is_written_all_the_time_is_refused(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")

    async def write() -> None:
        await repairing.admin.execute(
            "UPDATE customers SET contact_number = gen_random_uuid()::text WHERE id = $1", ada["id"]
        )

    done = await carry_out_with(repairing, monkeypatch, started.id, before(write))

    (reason,) = await refusals(repairing, done)
    assert reason.startswith("superseded 3 times in a row")
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


@pytest.mark.usefixtures("soon_judged")
async def test_a_write_of_which_the_store_did_not_tell_is_judged_by_reading_the_record(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    brief = replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.2}))

    done = await carry_out_with(brief, monkeypatch, started.id, unanswered)

    assert (done.undone, done.refused) == (1, 0)
    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    assert len(await applied(repairing)) == 2


STEAL = "UPDATE undos SET leased_by = gen_random_uuid(), leased_until = now() + interval '1 hour'"


async def test_a_worker_leaves_the_lease_of_its_successor_alone(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")

    async def steal() -> None:
        await repairing.core.execute(STEAL)

    await carry_out_with(repairing, monkeypatch, started.id, before(steal))

    assert await repairing.core.fetchval("SELECT leased_until > now() + interval '59 minutes' FROM undos")


async def test_a_worker_that_has_lost_its_lease_stops_in_the_middle(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    monkeypatch.setattr(undo, "_RENEWED_SECONDS", 0.05)

    async def steal() -> None:
        await repairing.core.execute(STEAL)
        await asyncio.sleep(10)

    async with asyncio.timeout(5):
        done = await carry_out_with(repairing, monkeypatch, started.id, before(steal))

    assert (done.status, done.pending) == ("working", 1)
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_worker_at_work_keeps_its_lease_however_long_it_takes(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")
    monkeypatch.setattr(undo, "_LEASE_SECONDS", 0.6)
    monkeypatch.setattr(undo, "_RENEWED_SECONDS", 0.05)
    left: list[UUID] = []

    async def dawdle() -> None:
        await asyncio.sleep(1.2)
        left.extend(await undo.left_behind(repairing))

    done = await carry_out_with(repairing, monkeypatch, started.id, before(dawdle))

    assert left == []
    assert (done.status, done.undone) == ("done", 1)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "PAGE", 2)


async def run_of_five(stores: Stores) -> tuple[UUID, list[dict]]:
    """A run that created five customers."""
    everyone = [customer() for _ in range(5)]
    for each in everyone:
        await put_document(stores, "customers", each)
    return await run_over(stores, "customers", *everyone), everyone


@pytest.mark.usefixtures("small_pages")
async def test_a_large_run_is_collected_and_held_page_by_page_before_anything_is_taken_back(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, everyone = await run_of_five(repairing)
    assert await undo.preview(repairing, run_id=run_id) == UndoPreview(changes=5, records=5, refused=0)
    started = await undo.start(repairing, run_id=run_id, by="ann", reason="no")
    assert (started.status, started.changes, started.pending) == ("collecting", 2, 2)
    held: list[int] = []

    async def count_holds() -> None:
        held.append(await repairing.core.fetchval("SELECT count(*) FROM holds WHERE placed_by = 'ann'"))

    done = await carry_out_with(repairing, monkeypatch, started.id, before(count_holds))

    assert held[0] == 5
    assert (done.status, done.changes, done.undone) == ("done", 5, 5)
    assert [await row_of(repairing, "customers", each) for each in everyone] == [None] * 5


@pytest.mark.usefixtures("small_pages")
async def test_a_worker_that_died_while_it_collected_is_followed_by_one_that_goes_on(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _everyone = await run_of_five(repairing)
    started = await undo.start(repairing, run_id=run_id, by="test", reason="no")
    with monkeypatch.context() as patched:
        turns: list[int] = []

        async def keep_once(*arguments, **options):
            if turns:
                raise KilledError
            turns.append(1)
            return await collecting.keep(*arguments, **options)

        patched.setattr(undo, "keep", keep_once)
        with pytest.raises(KilledError):
            await undo.carry_out(repairing, started.id)
    halfway = await undo.get_undo(repairing, started.id)
    assert (halfway.status, halfway.changes, halfway.undone) == ("collecting", 4, 0)
    assert await undo.left_behind(repairing) == [started.id]

    await undo.carry_out(repairing, started.id)

    done = await undo.get_undo(repairing, started.id)
    assert (done.status, done.changes, done.undone) == ("done", 5, 5)


@pytest.mark.usefixtures("small_pages")
async def test_two_undos_of_a_large_run_at_once_share_no_change(repairing: Stores) -> None:
    run_id, _everyone = await run_of_five(repairing)
    first = await undo.start(repairing, run_id=run_id, by="test", reason="no")
    second = await undo.start(repairing, run_id=run_id, by="test", reason="no")

    await asyncio.gather(*(undo.carry_out(repairing, each.id) for each in (first, second)))

    ended = [await undo.get_undo(repairing, each.id) for each in (first, second)]
    assert [each.status for each in ended] == ["done", "done"]
    assert sum(each.undone for each in ended) == 5
    assert sum(each.refused for each in ended) == 5
