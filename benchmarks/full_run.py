"""A full run of a benchmark's entity in a process of its own, as a worker does it, until its findings are suspects."""

import asyncio
import time
from dataclasses import replace
from uuid import UUID

from app.reconciliation.ledger import runs
from app.reconciliation.ledger.views import RunView
from app.reconciliation.mapping import Mapping, load_mappings
from app.reconciliation.running import execution
from app.reconciliation.running.partitions import Call
from app.stores.connections import Stores, open_stores
from benchmarks.figure import Figure
from benchmarks.processes import Measured, in_own_process
from config.settings import Settings

PEAK_GOAL_MEGABYTES = 300


def full_run(settings: Settings, mapping: Mapping, expected: int) -> Measured:
    """`seconds` are those of the run: from its start until it is compared, has passed the breaker and has nominated.

    The core DB must be migrated. The `value` is the number of findings; their suspects are dropped afterwards.
    """
    measured = in_own_process(_run, settings, mapping.entity)
    found, seconds = measured.value
    if found != expected:
        raise AssertionError(f"{found} findings instead of {expected}")
    return replace(measured, value=found, seconds=seconds)


async def end(stores: Stores, run_id: UUID) -> RunView:
    """The run that has looked, after its suspects are dropped."""
    run = await runs.get_run(stores, run_id)
    if run.status in runs.ACTIVE:
        await runs.cancel_run(stores, run_id, by="benchmark", reason="it has looked")
    return run


def peak_figure(name: str, megabytes: float) -> Figure:
    return Figure(
        name, megabytes, "MB", goal=f"<= {PEAK_GOAL_MEGABYTES}", ok=megabytes <= PEAK_GOAL_MEGABYTES
    )


def _run(settings: Settings, entity: str) -> tuple[int, float]:
    load_mappings(settings.mappings)
    return asyncio.run(_compared(settings, entity))


async def _compared(settings: Settings, entity: str) -> tuple[int, float]:
    # As in a worker, which has them open all the time.
    async with open_stores(settings) as stores:
        started = time.perf_counter()
        run = await runs.start_run(stores, entity, by="benchmark")
        await _work_off(stores, await execution.begin(stores, run.id))
        seconds = time.perf_counter() - started
        run = await end(stores, run.id)
    assert run.compared_at, run
    assert run.nominated == run.findings, run
    return run.findings, seconds


async def _work_off(stores: Stores, calls: list[Call]) -> None:
    """As the messages of a worker; calls for later are for other processes, and nobody else is there."""

    async def answer(call: Call) -> None:
        await _work_off(stores, await execution.compare(stores, call.run_id, call.number))

    await asyncio.gather(*(answer(call) for call in calls if not call.seconds))
