"""What operators do to a run under way: pause, resume, throttle, cancel; the scans are staged."""

import asyncio
import time
from dataclasses import replace
from uuid import UUID

import pytest

from app.audit.entries import Fact
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.reconciliation.ledger import jobs, runs, steering, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution, partitions
from app.reconciliation.scanning.scan import Finding
from app.stores.connections import Stores
from tests.app.reconciliation.running.run_steps import (
    WHY,
    Stage,
    compare_all,
    compared,
    facts,
    start,
    states,
    until,
)
from tests.app.reconciliation.worlds import customer, put_document, row_of


async def test_a_pause_soon_stops_a_scan_and_a_resumed_run_repeats_only_what_was_stopped(
    stores: Stores, stage: Stage
) -> None:
    stage.endless = {"1"}
    run_id = await start(stores)
    await execution.compare(stores, run_id, 0)
    comparing = asyncio.create_task(execution.compare(stores, run_id, 1))
    await until(lambda: stage.read == ["", "1"])

    await steering.pause_run(stores, run_id, **WHY)
    paused = time.monotonic()
    assert await comparing == []

    assert time.monotonic() - paused < 3.0, "it is a second where nothing else keeps the machine busy"
    assert await states(stores, run_id) == [("done", 1), ("pending", 1), ("pending", 0)]

    stage.endless.clear()
    await steering.resume_run(stores, run_id, **WHY)
    await compare_all(stores, run_id)

    assert stage.read == ["", "1", "1", "2"]
    assert await states(stores, run_id) == [("done", 1), ("done", 2), ("done", 1)]
    run = await runs.get_run(stores, run_id)
    assert (run.status, run.document_records) == ("done", 300)


async def test_nobody_takes_up_a_run_that_rests(stores: Stores, stage: Stage) -> None:
    queued = (await runs.start_run(stores, "launches", by="test")).id
    comparing = await start(stores)
    await stores.core.execute("UPDATE runs SET created_at = now() - interval '1 hour'")
    for run_id in (queued, comparing):
        await steering.pause_run(stores, run_id, **WHY)

    assert await execution.left_behind(stores) == []
    assert [await execution.begin(stores, run_id) for run_id in (queued, comparing)] == [[], []]
    assert await execution.compare(stores, comparing, 0) == []
    assert await partitions.take(stores, comparing, 0) is None, "nor who was about to when it was paused"
    assert stage.read == []
    assert (await runs.get_run(stores, queued)).status == "queued"
    for run_id in (queued, comparing):
        await steering.resume_run(stores, run_id, **WHY)
    assert set(await execution.left_behind(stores)) == {queued, comparing}


async def test_a_run_paused_after_its_last_partition_is_concluded_when_it_is_resumed(
    stores: Stores, stage: Stage
) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, **WHY)
    await stores.core.execute("UPDATE partitions SET status = 'done'")
    await execution.conclude(stores, run_id)
    assert (await runs.get_run(stores, run_id)).status == "comparing"

    await steering.resume_run(stores, run_id, **WHY)
    await execution.begin(stores, run_id)

    assert (await runs.get_run(stores, run_id)).status == "done"


async def test_a_paused_run_repairs_nothing_that_it_found_but_what_an_event_reports(stores: Stores) -> None:
    await jobs.ensure_jobs(stores.core)
    for mode in ("full", "incremental"):
        await jobs.change_job(stores, f"customers-{mode}", repairs=True, **WHY)
    found, reported = customer(), customer()
    for each in (found, reported):
        await put_document(stores, "customers", each)
    run = await compared(stores, "customers")
    await steering.pause_run(stores, run.id, **WHY)

    await suspects.nominate(stores.core, "customers", [str(reported["id"])], cause="event")
    seconds = await repairer_of(stores).run_due()

    assert await row_of(stores, "customers", found) is None
    assert await row_of(stores, "customers", reported) is not None
    assert seconds is None, "what rests does not wake anybody"
    assert (await runs.get_run(stores, run.id)).status == "repairing"

    await steering.resume_run(stores, run.id, **WHY)
    await repairer_of(stores).run_due()

    assert await row_of(stores, "customers", found) is not None
    assert (await runs.get_run(stores, run.id)).status == "done"


async def test_a_held_run_may_rest_and_be_approved_meanwhile(stores: Stores, stage: Stage) -> None:
    stage.found = {"": [Finding(str(customer()["id"]), "fields", ()) for _ in range(101)]}
    run_id = await start(stores)
    await compare_all(stores, run_id)
    assert (await runs.get_run(stores, run_id)).status == "held"

    await steering.pause_run(stores, run_id, **WHY)
    run = await runs.approve_run(stores, run_id, **WHY)

    assert (run.status, run.nominated, run.pending) == ("repairing", 101, 101)
    assert run.paused_at is not None
    assert await repairer_of(stores).run_due() is None


async def test_a_run_whose_last_suspect_went_while_it_rested_ends_when_it_is_resumed(
    stores: Stores, stage: Stage
) -> None:
    stage.found = {"": [Finding(str(customer()["id"]), "fields", ())]}
    run_id = await start(stores)
    await compare_all(stores, run_id)
    await steering.pause_run(stores, run_id, **WHY)
    await stores.core.execute("DELETE FROM suspects")

    await runs.settle(stores, {run_id})
    assert (await runs.get_run(stores, run_id)).status == "repairing"
    assert (await steering.resume_run(stores, run_id, **WHY)).status == "done"


async def test_a_paused_run_stays_the_active_one_of_its_job_until_it_is_cancelled(
    stores: Stores, stage: Stage
) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, **WHY)

    started = await runs.start_due(stores, "full", by="scheduler")

    skipped = (await runs.list_runs(stores, entity="customers", status="skipped")).items
    assert len(started) == 2
    assert str(run_id) in str(skipped[0].reason)
    cancelled = await runs.cancel_run(stores, run_id, **WHY)
    assert (cancelled.status, cancelled.paused_at) == ("cancelled", None)
    assert (await runs.start_run(stores, "customers", by="test")).status == "queued"


async def test_the_time_that_a_run_rests_is_told_and_no_time_that_it_works(
    stores: Stores, stage: Stage
) -> None:
    queued = await runs.start_run(stores, "launches", by="test")
    run_id = await start(stores)
    for each in (queued.id, run_id):
        await steering.pause_run(stores, each, **WHY)
    await stores.core.execute(
        "UPDATE runs SET started_at = started_at - interval '70 s', paused_at = paused_at - interval '60 s'"
    )
    for each in (queued.id, run_id):
        await steering.resume_run(stores, each, **WHY)
    await compare_all(stores, run_id)

    run = await runs.get_run(stores, run_id)
    assert 60 <= run.paused_seconds < 65
    assert run.compare_seconds is not None
    assert 10 <= run.compare_seconds < 15
    assert (await runs.get_run(stores, queued.id)).paused_seconds == 0, "it had not started"


async def test_what_operators_do_to_a_run_is_recorded_with_its_reason(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, by="ann", reason="too busy")
    await steering.resume_run(stores, run_id, by="bob", reason="quiet now")
    await steering.throttle_run(stores, run_id, 500, by="ann", reason="gently")

    recorded = await facts(stores, run_id)

    assert [(each["name"], each["actor"], each["reason"]) for each in recorded[1:]] == [
        (Fact.RUN_PAUSED, "ann", "too busy"),
        (Fact.RUN_RESUMED, "bob", "quiet now"),
        (Fact.RUN_THROTTLED, "ann", "gently"),
    ]
    assert recorded[-1]["detail"] == {"before": None, "after": 500}
    assert {each["entity"] for each in recorded} == {"customers"}


async def test_only_what_is_under_way_can_be_steered(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    with pytest.raises(ConflictError, match="is not paused"):
        await steering.resume_run(stores, run_id, **WHY)
    await steering.pause_run(stores, run_id, **WHY)
    with pytest.raises(ConflictError, match="paused already"):
        await steering.pause_run(stores, run_id, **WHY)
    await runs.cancel_run(stores, run_id, **WHY)
    for steer in (steering.pause_run, steering.resume_run):
        with pytest.raises(ConflictError, match="is cancelled"):
            await steer(stores, run_id, **WHY)
        with pytest.raises(NotFoundError):
            await steer(stores, UUID(int=7), **WHY)
    with pytest.raises(ConflictError, match="is cancelled"):
        await steering.throttle_run(stores, run_id, 500, **WHY)


async def test_only_a_run_that_scans_is_throttled(stores: Stores) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await runs.start_run(stores, "customers", mode="incremental", records_per_second=500, by="test")
    (fault,) = refused.value.faults
    assert fault.where == "records_per_second"
    assert "does not go with mode incremental" in fault.message
    with pytest.raises(InvalidInputError):
        await runs.start_run(stores, "customers", records_per_second=0, by="test")
    run = await runs.start_run(stores, "customers", mode="incremental", by="test")
    with pytest.raises(ConflictError, match="nothing to throttle"):
        await steering.throttle_run(stores, run.id, 500, **WHY)


async def test_a_throttle_below_which_cursors_expire_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await runs.start_run(stores, "customers", records_per_second=99, by="test")
    assert refused.value.faults[0].message == "is null, or a number from 100 to 2147483647"
    run = await runs.start_run(stores, "customers", records_per_second=100, by="test")
    assert run.records_per_second == 100


async def test_a_throttle_is_shared_by_what_is_compared_and_changes_while_it_is(
    stores: Stores, stage: Stage
) -> None:
    stage.endless = {"", "1"}
    run_id = await start(stores, records_per_second=1000)
    first = asyncio.create_task(execution.compare(stores, run_id, 0))
    await until(lambda: stage.paces == [1000])
    other_process = replace(stores, scanning=asyncio.Lock())
    second = asyncio.create_task(execution.compare(other_process, run_id, 1))
    await until(lambda: 500 in stage.paces)
    stage.endless.remove("1")
    await second
    await until(lambda: stage.paces[-1] == 1000)

    await steering.throttle_run(stores, run_id, None, **WHY)
    await until(lambda: stage.paces[-1] is None)
    stage.endless.clear()
    await first
