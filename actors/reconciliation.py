"""The actors of reconciliation. A message only wakes: what is to be done lies in the core DB."""

import asyncio
from collections.abc import Iterable
from uuid import UUID

import dramatiq
from loguru import logger
from periodiq import cron

from actors.audit import relay_facts, sealing_meanwhile
from actors.broker import worker_stores
from actors.queues import Queue
from actors.waking import wake_later
from app.errors import StoreUnavailableError
from app.reconciliation.deciding import undo
from app.reconciliation.ledger import agreements, retention, runs
from app.reconciliation.ledger.jobs import SCHEDULES
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution
from app.reconciliation.running.partitions import Call
from app.stores.health import FAULTS
from config.correlation import DONE, IDLE, note_outcome

MINUTE = 60_000
HOUR = 60 * MINUTE
# A wake-up that finds work later than this leaves it to the sweep.
_LATEST_SECONDS = 60.0


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=5, min_backoff=1000, max_backoff=15_000, time_limit=10 * MINUTE
)
async def begin_run(run_id: str) -> None:
    """Plan a run's partitions and call those that there is room for."""
    stores = worker_stores.stores
    try:
        calls = await execution.begin(stores, UUID(run_id))
    except (StoreUnavailableError, *FAULTS):
        raise  # tried again, and after that found by the sweep
    except Exception as error:
        _send(await execution.fail(stores, UUID(run_id), error))
        raise
    _send(calls)
    await _wake_repairs()


@dramatiq.actor(
    queue_name=Queue.SCANS, max_retries=5, min_backoff=3000, max_backoff=15_000, time_limit=24 * HOUR
)
async def compare_partition(run_id: str, number: int) -> None:
    """Compare one partition and call those that there is room for now; the last one hands the findings on."""
    stores = worker_stores.stores
    try:
        calls = await execution.compare(stores, UUID(run_id), number)
    except (StoreUnavailableError, *FAULTS):
        raise  # as above
    except Exception as error:
        _send(await execution.fail(stores, UUID(run_id), error))
        raise
    _send(calls)
    await _wake_repairs()


@dramatiq.actor(queue_name=Queue.REPAIRS, max_retries=0, time_limit=HOUR)
async def repair_suspects() -> None:
    """Work off the suspects that are due, and come again when the next ones are."""
    stores = worker_stores.stores
    note_outcome(IDLE)  # until there is one
    try:
        async with sealing_meanwhile(stores):
            seconds = await repairer_of(stores).run_due()
    except (StoreUnavailableError, *FAULTS) as error:
        logger.bind(reason=str(error)).warning("repairs.stopped")
        seconds = 2.0
    await relay_facts(stores)
    if seconds is not None and seconds < _LATEST_SECONDS:
        await asyncio.to_thread(wake_repairs_later, max(seconds, 0.05))


@dramatiq.actor(
    queue_name=Queue.REPAIRS, max_retries=5, min_backoff=1000, max_backoff=15_000, time_limit=HOUR
)
async def undo_changes(undo_id: str) -> None:
    """Take back what is left of an undo; tried again when a store is away, and after that found by the sweep."""
    stores = worker_stores.stores
    async with sealing_meanwhile(stores):
        await undo.carry_out(stores, UUID(undo_id))
    await relay_facts(stores)
    await _wake_repairs()


@dramatiq.actor(
    queue_name=Queue.RUNS,
    max_retries=0,
    time_limit=5 * MINUTE,
    periodic=cron(SCHEDULES["full"]),
    catch_up="fire_once",
)
async def run_full() -> None:
    """Start tonight's full runs."""
    await _start_due("full")


@dramatiq.actor(
    queue_name=Queue.RUNS,
    max_retries=0,
    time_limit=5 * MINUTE,
    periodic=cron(SCHEDULES["incremental"]),
    catch_up="fire_once",
)
async def run_incremental() -> None:
    """Start this minute's incremental runs."""
    await _start_due("incremental")


@dramatiq.actor(
    queue_name=Queue.RUNS,
    max_retries=0,
    time_limit=5 * MINUTE,
    periodic=cron(SCHEDULES["invariants"]),
    catch_up="fire_once",
)
async def run_invariants() -> None:
    """Start this hour's checks of invariants."""
    await _start_due("invariants")


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=5 * MINUTE, periodic=cron("* * * * *"), catch_up="skip"
)
async def sweep() -> None:
    """Find what was left behind: runs and undos without a worker, suspects that are due, facts that wait.

    And forget what no run has a use for.
    """
    stores = worker_stores.stores
    note_outcome(IDLE)
    for run_id in await execution.left_behind(stores):
        note_outcome(DONE)
        logger.bind(run_id=str(run_id)).info("run.resumed")
        begin_run.send(str(run_id))
    for undo_id in await undo.left_behind(stores):
        note_outcome(DONE)
        undo_changes.send(str(undo_id))
    await execution.nominate_unfinished(stores)
    await agreements.forget(stores.core)
    await relay_facts(stores)
    await _wake_repairs()


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=10 * MINUTE, periodic=cron("17 * * * *"), catch_up="skip"
)
async def forget_old() -> None:
    """Delete results that are past their time."""
    await retention.forget_old(worker_stores.stores)


def wake_run(run_id: UUID) -> None:
    """Move a run on. May raise what a broker that is away raises; the sweep does it within a minute then."""
    begin_run.send(str(run_id))


def wake_repairs() -> None:
    """Have the suspects looked at; as `wake_run`."""
    repair_suspects.send()


def wake_repairs_later(seconds: float) -> None:
    """Have the suspects looked at that are due by then; as `wake_run`."""
    wake_later(repair_suspects, seconds)


def wake_undo(undo_id: UUID) -> None:
    """Have changes taken back; as `wake_run`."""
    undo_changes.send(str(undo_id))


def _send(calls: Iterable[Call]) -> None:
    for call in calls:
        delay = int(call.seconds * 1000) or None
        compare_partition.send_with_options(args=(str(call.run_id), call.number), delay=delay)


async def _start_due(mode: str) -> None:
    note_outcome(IDLE)
    for run_id in await runs.start_due(worker_stores.stores, mode, by="scheduler"):
        note_outcome(DONE)
        begin_run.send(str(run_id))


async def _wake_repairs() -> None:
    await asyncio.to_thread(repair_suspects.send)
