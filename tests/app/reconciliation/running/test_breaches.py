"""Breaches of invariants: opened once, kept while they last, never repaired."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.errors import ConflictError, InvalidInputError
from app.reconciliation.deciding.decisions import approve, reject
from app.reconciliation.ledger import jobs, runs
from app.reconciliation.ledger.diffs import list_diffs
from app.reconciliation.ledger.views import RunView
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import breaches, execution
from app.reconciliation.scanning.check import CheckResult
from app.stores.connections import Stores
from tests.app.reconciliation.running.invariant_steps import (
    LATER,
    PUT,
    breaches_of,
    offered,
    run_check,
    sale,
    set_field,
)
from tests.app.reconciliation.worlds import (
    document_of,
    put_both,
    put_document,
    put_row,
    row_of,
)


async def test_a_breach_is_opened_once_and_vanishes_when_the_invariant_holds_again(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    await put_both(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (first,) = await breaches_of(stores, "launches")

    again = await run_check(stores, "launches")

    (same,) = await breaches_of(stores, "launches")
    assert (same.id, same.moved_at, same.fields) == (first.id, first.moved_at, first.fields)
    assert (again.findings, again.outcomes) == (1, {})

    for side in PUT:
        await set_field(stores, side, "launches", moon, total_seats=2)
    await run_check(stores, "launches")

    assert await breaches_of(stores, "launches") == []
    (ended,) = await breaches_of(stores, "launches", status="vanished")
    assert ended.id == first.id
    assert ended.closed_at is not None


async def test_a_breach_whose_numbers_move_stays_one_diff_and_is_as_old_as_they_are(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    await put_document(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (first,) = await breaches_of(stores, "launches")

    await put_document(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")

    (moved,) = await breaches_of(stores, "launches")
    assert (moved.id, moved.reason) == (first.id, "4 seats sold of 1 on the document side")
    assert moved.moved_at > first.moved_at


async def test_a_check_that_waited_for_a_rejection_records_nothing(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    await put_document(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (breach,) = await breaches_of(stores, "launches")
    async with stores.core.acquire() as connection, connection.transaction():
        # Whoever records a fact waits, with all that it has locked.
        await connection.execute("LOCK TABLE audit_outbox IN EXCLUSIVE MODE")
        rejecting = asyncio.create_task(reject(stores, [breach.id], by="ada", reason="a chair was added"))
        await asyncio.wait({rejecting}, timeout=0.3)
        run_id = await stores.core.fetchval("SELECT id FROM runs")
        found = CheckResult(1, 1)
        checking = asyncio.create_task(
            breaches.confirm(stores, run_id, "launches", found, stopped=lambda: False)
        )
        await asyncio.wait({checking}, timeout=1.0)
        assert not checking.done()
    await asyncio.gather(rejecting, checking)

    assert [each.status for each in (await list_diffs(stores)).items] == ["rejected"]


async def test_a_rejected_breach_stays_quiet_while_its_numbers_stay(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    for put in PUT.values():
        await put(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (breach,) = await breaches_of(stores, "launches")
    await reject(stores, [breach.id], by="ada", reason="a chair was added")

    await run_check(stores, "launches")
    assert await breaches_of(stores, "launches") == []

    # One side is put right, the other one is still what was rejected.
    await set_field(stores, "relational", "launches", moon, total_seats=2)
    await run_check(stores, "launches")
    assert await breaches_of(stores, "launches") == []

    await put_document(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (anew,) = await breaches_of(stores, "launches")
    assert anew.id != breach.id
    assert anew.reason == "4 seats sold of 1 on the document side"


async def test_no_side_of_a_breach_can_be_approved(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    await put_document(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")
    (breach,) = await breaches_of(stores, "launches")

    with pytest.raises(ConflictError, match="no side can be chosen; 2 seats sold of 1 on the document side"):
        await approve(stores, [breach.id], side="document", by="ada", reason="why not")


async def test_a_wrong_total_is_not_forgotten_when_its_launch_changes_but_when_it_is_corrected(
    stores: Stores,
) -> None:
    moon, ada = await offered(stores)
    wrong = sale(moon, ada, total_price=Decimal("250.00"))
    await put_row(stores, "bookings", wrong)
    await run_check(stores, "bookings")
    (breach,) = await breaches_of(stores, "bookings")

    await set_field(stores, "relational", "launches", moon, updated_at=LATER + timedelta(days=1))
    await run_check(stores, "bookings")
    assert await breaches_of(stores, "bookings") == [breach]

    await set_field(stores, "relational", "bookings", wrong, total_price=Decimal("240.00"))
    await run_check(stores, "bookings")
    assert await breaches_of(stores, "bookings") == []


def settling(stores: Stores, *, milliseconds: int) -> Stores:
    """The stores with another settle window."""
    return replace(stores, settings=stores.settings.model_copy(update={"settle_milliseconds": milliseconds}))


async def found_by(stores: Stores, run: RunView) -> None:
    """Wait until the check of a run has found something."""
    async with asyncio.timeout(30):
        while not (await runs.get_run(stores, run.id)).kinds:  # noqa: ASYNC110  (nobody tells of it)
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("settled", [True, False])
async def test_what_holds_again_within_the_settle_window_is_not_reported(
    stores: Stores, settled: bool
) -> None:
    stores = settling(stores, milliseconds=1000)
    moon, ada = await offered(stores, total_seats=1)
    await put_document(stores, "bookings", sale(moon, ada))
    run = await runs.start_run(stores, "launches", mode="invariants", by="test")
    await execution.begin(stores, run.id)
    checking = asyncio.create_task(execution.compare(stores, run.id, 0))
    await found_by(stores, run)
    if settled:
        await set_field(stores, "document", "launches", moon, total_seats=2)
    await checking

    assert len(await breaches_of(stores, "launches")) == (0 if settled else 1)


async def test_what_is_broken_while_it_is_written_without_end_is_reported(stores: Stores) -> None:
    stores = settling(stores, milliseconds=50)
    moon, ada = await offered(stores, total_seats=1)
    # By the clock of its writer it changes for days to come.
    ahead = datetime.now(UTC) + timedelta(days=1)
    await put_document(stores, "bookings", sale(moon, ada, updated_at=ahead))

    await run_check(stores, "launches")

    assert len(await breaches_of(stores, "launches")) == 1


async def test_a_breach_is_no_diff_that_the_repair_path_takes_up(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=1)
    await put_both(stores, "bookings", sale(moon, ada))
    await run_check(stores, "launches")

    await jobs.change_job(stores, "launches-full", repairs=True, by="ada", reason="go")
    async with stores.core.acquire() as connection:
        full = await runs.start_run(stores, "launches", by="test")
        await runs.nominate_findings(connection, full.id, "launches")

    assert await stores.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_only_entities_with_invariants_have_a_job_for_them(stores: Stores) -> None:
    names = {each.name for each in await jobs.list_jobs(stores) if each.mode == "invariants"}

    assert names == {"launches-invariants", "bookings-invariants"}
    with pytest.raises(InvalidInputError):
        await runs.start_run(stores, "customers", mode="invariants", by="test")
    started = await runs.start_due(stores, "invariants", by="scheduler")
    assert len(started) == 2


async def test_a_check_repairs_nothing_whatever_an_operator_lets_it(repairing: Stores) -> None:
    with pytest.raises(InvalidInputError):
        await jobs.change_job(repairing, "launches-invariants", repairs=True, by="ada", reason="go")
    moon, ada = await offered(repairing, total_seats=1)
    sold = sale(moon, ada)
    await put_both(repairing, "bookings", sold)
    # Beside the breach the sides differ, which a repair would end.
    await set_field(repairing, "relational", "launches", moon, destination="Mars")
    before = await both_sides(repairing, moon, sold)

    run = await run_check(repairing, "launches")
    await repairer_of(repairing).run_due()

    assert (run.status, run.findings) == ("done", 1)
    assert await both_sides(repairing, moon, sold) == before
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0


async def both_sides(stores: Stores, moon: dict, sold: dict) -> list[dict | None]:
    return [
        await look(stores, entity, record)
        for entity, record in (("launches", moon), ("bookings", sold))
        for look in (document_of, row_of)
    ]
