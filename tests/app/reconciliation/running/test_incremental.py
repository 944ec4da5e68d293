"""Incremental runs: what has changed since the watermarks is read, and nominated, slice by slice."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.errors import StoreUnavailableError
from app.reconciliation.entities import CUSTOMERS
from app.reconciliation.ledger import runs, steering
from app.reconciliation.ledger.views import RunView
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution, watermarks
from app.stores.connections import Stores, open_stores
from config.settings import Settings
from tests.app.reconciliation.worlds import customer, launch, put_both

WHY = {"by": "test", "reason": "test"}


@pytest.fixture(autouse=True)
def _slices_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watermarks, "SLICE", 2)


async def put_changed(stores: Stores, number: int) -> set[str]:
    made = [customer(updated_at=datetime.now(UTC)) for _ in range(number)]
    for each in made:
        await put_both(stores, "customers", each)
    return {str(each["id"]) for each in made}


async def begin(stores: Stores, entity: str = "customers") -> RunView:
    run = await runs.start_run(stores, entity, mode="incremental", by="test")
    await execution.begin(stores, run.id)
    return await runs.get_run(stores, run.id)


async def suspected(stores: Stores) -> set[str]:
    return {row["key"] for row in await stores.core.fetch("SELECT key FROM suspects")}


async def seen_until(stores: Stores) -> dict[str, datetime]:
    rows = await stores.core.fetch("SELECT source, seen_until FROM watermarks WHERE entity = 'customers'")
    return {row["source"]: row["seen_until"] for row in rows}


def after_one_slice(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[Any]]) -> None:
    """Have somebody act once, while an incremental run reads, after its first slice is nominated."""
    read, acts = execution.read_changed, [act]

    async def read_and_act(*arguments: Any) -> Any:
        async with aclosing(read(*arguments)) as slices:
            async for each in slices:
                yield each
                while acts:
                    await acts.pop()()

    monkeypatch.setattr(execution, "read_changed", read_and_act)


async def test_everything_that_changed_on_either_side_is_nominated(stores: Stores) -> None:
    changed = await put_changed(stores, 5)
    only_there = customer(updated_at=datetime.now(UTC))
    await stores.customer["customers"].insert_one(
        {"_id": only_there["id"], "updated_at": only_there["updated_at"]}
    )
    await put_both(stores, "customers", customer())

    run = await begin(stores)

    assert await suspected(stores) == changed | {str(only_there["id"])}
    assert (run.status, run.nominated) == ("repairing", 11)  # each as often as a source tells of it


async def test_what_was_looked_at_since_it_changed_is_not_nominated_again(stores: Stores) -> None:
    changed = await put_changed(stores, 3)
    await asyncio.sleep(stores.settings.settle_milliseconds / 1000)
    await begin(stores)
    await repairer_of(stores).run_due()
    assert await suspected(stores) == set()

    again = await begin(stores)

    assert again.nominated == 0
    written = changed.pop()
    await stores.admin.execute(
        "UPDATE customers SET is_vip = true, updated_at = $2 WHERE id = $1", UUID(written), datetime.now(UTC)
    )
    assert (await begin(stores)).nominated == 1
    assert await suspected(stores) == {written}


async def test_a_joined_table_has_its_records_looked_at_however_they_were(stores: Stores) -> None:
    moon = launch(updated_at=datetime.now(UTC))
    await put_both(stores, "launches", moon)
    await asyncio.sleep(stores.settings.settle_milliseconds / 1000)
    await begin(stores, "launches")
    await repairer_of(stores).run_due()
    assert await stores.core.fetchval("SELECT count(*) FROM agreements") == 1

    await stores.admin.execute("UPDATE rockets SET name = 'Renamed', updated_at = $1", datetime.now(UTC))
    await begin(stores, "launches")

    assert await suspected(stores) == {str(moon["id"])}


async def test_a_time_that_no_program_can_read_is_none(stores: Stores) -> None:
    odd = [customer(), customer()]
    for each in odd:
        await put_both(stores, "customers", each)
    await stores.admin.execute("UPDATE customers SET updated_at = 'infinity' WHERE id = $1", odd[0]["id"])
    await stores.admin.execute("UPDATE customers SET updated_at = '20000-01-01' WHERE id = $1", odd[1]["id"])

    run = await begin(stores)

    assert (await suspected(stores), run.nominated) == ({str(each["id"]) for each in odd}, 2)


async def test_the_next_run_starts_two_minutes_before_where_this_one_ended(stores: Stores) -> None:
    started = datetime.now(UTC)
    await begin(stores)
    assert all(abs(until - started) < timedelta(seconds=30) for until in (await seen_until(stores)).values())
    await stores.core.execute("UPDATE watermarks SET seen_until = seen_until - interval '1 hour'")
    late = customer(updated_at=started - timedelta(minutes=61))
    long_ago = customer(updated_at=started - timedelta(minutes=63))
    for each in (late, long_ago):
        await put_both(stores, "customers", each)

    await begin(stores)

    assert await suspected(stores) == {str(late["id"])}
    assert all(until >= started for until in (await seen_until(stores)).values())


async def test_a_run_that_is_paused_while_it_reads_goes_on_after_it_is_resumed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = await put_changed(stores, 5)
    before = await seen_until(stores)
    run = await runs.start_run(stores, "customers", mode="incremental", by="test")
    after_one_slice(monkeypatch, lambda: steering.pause_run(stores, run.id, **WHY))

    await execution.begin(stores, run.id)

    assert len(await suspected(stores)) == 2
    assert (await runs.get_run(stores, run.id)).status == "comparing"
    stopped_at = await seen_until(stores)
    await steering.resume_run(stores, run.id, **WHY)
    await execution.begin(stores, run.id)
    assert await suspected(stores) == changed
    resumed = await runs.get_run(stores, run.id)
    assert (resumed.status, resumed.nominated) == ("repairing", 2 * len(changed)), "nothing counts twice"
    assert before == {}
    assert all(until > stopped_at[name] for name, until in (await seen_until(stores)).items())


async def test_a_run_that_is_cancelled_while_it_reads_stays_cancelled(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_changed(stores, 5)
    run = await runs.start_run(stores, "customers", mode="incremental", by="test")
    after_one_slice(monkeypatch, lambda: runs.cancel_run(stores, run.id, **WHY))

    await execution.begin(stores, run.id)

    assert (await runs.get_run(stores, run.id)).status == "cancelled"
    assert len(await suspected(stores)) == 2  # these have changed, whoever asked


async def test_two_workers_that_take_up_one_run_read_it_once(stores: Stores) -> None:
    changed = await put_changed(stores, 5)
    run = await runs.start_run(stores, "customers", mode="incremental", by="test")

    await asyncio.gather(*(execution.begin(stores, run.id) for _ in range(4)))

    assert (await runs.get_run(stores, run.id)).nominated == 2 * len(changed)


async def test_what_a_first_run_could_not_read_the_next_one_does(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise TimeoutError
        yield

    run = await runs.start_run(stores, "customers", mode="incremental", by="test")
    with monkeypatch.context() as patch:
        patch.setattr(watermarks, "_rows", away)
        with pytest.raises(StoreUnavailableError):
            await execution.begin(stores, run.id)
    await stores.core.execute("UPDATE watermarks SET seen_until = seen_until - interval '1 hour'")
    earlier = customer(updated_at=datetime.now(UTC) - timedelta(minutes=61))
    await put_both(stores, "customers", earlier)

    assert run.id in await execution.left_behind(stores)
    await execution.begin(stores, run.id)

    assert await suspected(stores) == {str(earlier["id"])}


async def test_reading_takes_as_long_as_it_takes_while_every_slice_comes_in_time(
    settings_of_test: Settings,
) -> None:
    hurried = settings_of_test.model_copy(update={"store_timeout_seconds": 1.0})
    async with open_stores(hurried) as stores, stores.core.acquire() as connection:
        changed = await put_changed(stores, 8)
        read: list[str] = []
        async with aclosing(watermarks.read_changed(connection, stores, CUSTOMERS)) as slices:
            async for each in slices:
                read += [key for key, _updated_at in each.changed]
                await asyncio.sleep(0.2)
    assert sorted(read) == sorted([*changed, *changed])


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
async def test_the_zone_of_the_machine_does_not_matter(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        await begin(stores)
    finally:
        monkeypatch.undo()
        time.tzset()
    standing = (await seen_until(stores)).values()
    assert all(abs(until - datetime.now(UTC)) < timedelta(minutes=1) for until in standing)
