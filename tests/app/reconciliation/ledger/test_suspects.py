"""Suspects while several nominate, look and steer at once."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.reconciliation.ledger import breaker, diffs, jobs, suspects
from app.reconciliation.ledger.suspects import Postponed
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.repairing.work import CoreWork, WorkPort
from app.stores.connections import Stores
from tests.app.reconciliation.interposed import Interposed, before
from tests.app.reconciliation.model.stores import ModelWork
from tests.app.reconciliation.model.turns import Clock
from tests.app.reconciliation.worlds import customer, put_document

WHY = {"by": "test", "reason": "test"}


async def test_whoever_locks_many_suspects_locks_them_in_one_order(stores: Stores) -> None:
    keys = [f"{number:04}" for number in range(600)]
    random.Random(7).shuffle(keys)
    for key in keys:  # as they lie in the table, so would they be locked
        await suspects.nominate(stores.core, "customers", [key], cause="event")

    async def nominate() -> None:
        for _ in range(30):
            await suspects.nominate(stores.core, "customers", keys, cause="event")
            await suspects.hasten(stores.core, ["a launch"])

    async def steer() -> None:
        for _ in range(30):
            async with stores.core.acquire() as connection, connection.transaction():
                await breaker.allow(connection, "customers", **WHY)

    async def look() -> None:
        for _ in range(30):
            found = await suspects.claim(stores.core, "customers", limit=200, lease_seconds=30)
            random.shuffle(found)
            await suspects.postpone(stores.core, [Postponed(each, 60.0, "a launch") for each in found[::2]])
            await suspects.dismiss(stores.core, found[1::2])

    await asyncio.gather(nominate(), nominate(), steer(), look(), look())


@pytest.fixture(params=["model", "real"])
async def work(request: pytest.FixtureRequest, stores: Stores) -> WorkPort:
    return ModelWork(Clock()) if request.param == "model" else CoreWork(stores)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("event", "run 1", "event"),
        ("event", "watermark", "event"),
        ("run 1", "event", "event"),
        ("run 1", "run 2", "run 2"),
        ("watermark", "run 1", "run 1"),
        ("event", "released by Ada", "released by Ada"),
    ],
)
async def test_what_was_nominated_otherwise_does_not_rest_with_a_run_that_finds_it_too(
    work: WorkPort, first: str, second: str, kept: str
) -> None:
    for cause in (first, second):
        await work.nominate("customers", ["a"], cause=cause, mode="full", run_id=None)
    if isinstance(work, ModelWork):
        work.clock.advance(0.001)
    (claimed,) = await work.claim("customers", limit=1, lease_seconds=60)
    assert claimed.cause == kept


async def test_when_the_next_is_due_is_told_by_the_clock_that_it_is_due_by(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspects, "now", lambda: datetime.now(UTC) + timedelta(hours=1), raising=False)
    await suspects.nominate(stores.core, "customers", ["a"], cause="event")
    await stores.core.execute("UPDATE suspects SET due_at = now() + interval '30 seconds'")
    due = await suspects.next_due(stores.core, ["customers"])
    assert due is not None
    assert 20 < due <= 30


@pytest.mark.parametrize("step", ["put", "close"])
async def test_a_job_that_may_repair_takes_up_what_is_being_looked_at_meanwhile(
    stores: Stores, step: str
) -> None:
    ada = customer()
    await put_document(stores, "customers", ada)
    await suspects.nominate(stores.core, "customers", [str(ada["id"])], cause="event")
    repairer = repairer_of(stores)

    async def change() -> None:
        await jobs.change_job(stores, "customers-incremental", repairs=True, **WHY)

    await replace(repairer, work=Interposed(repairer.work, **{step: before(change)})).run_due()
    await repairer.run_due()
    page = await diffs.list_diffs(stores, entity="customers")
    assert [each.status for each in page.items] == ["repaired"]


async def test_a_look_waits_for_a_change_of_its_job_that_is_under_way(stores: Stores) -> None:
    await jobs.ensure_jobs(stores.core)
    async with stores.core.acquire() as connection:
        change = connection.transaction()
        await change.start()
        await connection.execute("UPDATE jobs SET repairs = true WHERE name = 'customers-full'")
        asked = asyncio.create_task(jobs.repairing_modes(stores.core, "customers"))
        await asyncio.wait({asked}, timeout=0.2)
        await change.commit()
    assert await asked == {"full"}
