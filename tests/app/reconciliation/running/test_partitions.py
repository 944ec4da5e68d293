"""Who compares which partition of a run, and when: leases, room and calls; the scans are staged."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from app.errors import NotFoundError
from app.reconciliation.ledger import runs
from app.reconciliation.running import execution, partitions
from app.reconciliation.running.partitions import Call
from app.reconciliation.scanning.scan import ScanResult
from app.stores.connections import Stores, open_stores
from config.settings import Settings
from tests.app.reconciliation.running.run_steps import (
    WHY,
    Stage,
    start,
    states,
    until,
)


@pytest.fixture
async def workers(settings_of_test: Settings, stores: Stores) -> AsyncIterator[list[Stores]]:
    """The stores as three processes have them, where two partitions may be in hand at once."""
    narrow = settings_of_test.model_copy(update={"scans_in_flight": 2})
    async with open_stores(narrow) as one, open_stores(narrow) as other, open_stores(narrow) as third:
        yield [one, other, third]


async def work_off(workers: list[Stores], calls: list[Call]) -> None:
    """As the actors do it: every call is a message, and what a comparison answers are further ones."""

    async def answer(call: Call, at: int) -> None:
        stores = workers[at % len(workers)]
        await asyncio.sleep(call.seconds and 0.1)
        following = await execution.compare(stores, call.run_id, call.number)
        await asyncio.gather(*(answer(each, at + 1 + more) for more, each in enumerate(following)))

    await asyncio.gather(*(answer(call, at) for at, call in enumerate(calls)))


async def test_however_many_ask_no_more_partitions_are_in_hand_than_there_is_room_for_and_none_is_forgotten(
    workers: list[Stores], stage: Stage
) -> None:
    stage.seconds = 0.05
    started = [await runs.start_run(workers[0], each, by="test") for each in ("customers", "bookings")]
    calls = [call for run in started for call in await execution.begin(workers[1], run.id)]
    assert {call.run_id for call in calls} <= {run.id for run in started}
    assert len(calls) == 4, "each asks for as many as there is room for"

    # Messages may come twice, and too early.
    await work_off(workers, [*calls, *calls, *(Call(started[1].id, number) for number in range(3))])

    assert stage.most_at_once == 2
    assert sorted(stage.read) == ["", "", "1", "1", "2", "2"], "each partition once"
    for run in started:
        assert (await runs.get_run(workers[0], run.id)).status == "done"


async def test_of_many_that_ask_at_the_same_moment_only_as_many_get_in_as_there_is_room_for(
    workers: list[Stores], stage: Stage
) -> None:
    run_ids = [await start(workers[0])]
    for entity in ("launches", "bookings"):
        run_ids.append((await runs.start_run(workers[0], entity, by="test")).id)
        await execution.begin(workers[0], run_ids[-1])
    everything = [(run_id, number) for run_id in run_ids for number in range(3)]

    for _ in range(5):
        asking = (partitions.take(workers[at % 2], *each) for at, each in enumerate(everything))
        taken = [lease for lease in await asyncio.gather(*asking) if lease]
        assert len(taken) == 2
        for lease in taken:
            await partitions.give_back(workers[0].core, lease)


async def test_a_partition_without_room_is_called_by_whoever_ends_another_of_whatever_run(
    workers: list[Stores], stage: Stage
) -> None:
    stage.endless = {"", "1"}
    large = await start(workers[0])
    held = [asyncio.create_task(execution.compare(workers[number], large, number)) for number in (0, 1)]
    await until(lambda: stage.at_once == 2)
    small = await runs.start_run(workers[1], "bookings", by="test")

    assert await execution.begin(workers[1], small.id) == []
    assert await execution.compare(workers[2], small.id, 0) == [], "it is dropped, not asked for again"
    await runs.cancel_run(workers[1], large, **WHY)
    called = [call for each in held for call in await each]

    assert {(call.run_id, call.seconds) for call in called} == {(small.id, 0.0)}


async def test_a_process_compares_one_partition_at_a_time_and_leaves_others_to_other_processes(
    workers: list[Stores], stage: Stage
) -> None:
    stage.endless = {""}
    run_id = await start(workers[0])
    busy = asyncio.create_task(execution.compare(workers[0], run_id, 0))
    await until(lambda: stage.at_once == 1)

    later = await execution.compare(workers[0], run_id, 1)
    await execution.compare(workers[1], run_id, 1)

    assert [(call.number, call.seconds > 0) for call in later] == [(1, True)]
    assert stage.read == ["", "1"]
    await runs.cancel_run(workers[0], run_id, **WHY)
    await busy
    assert await execution.compare(workers[0], run_id, 1) == []


async def test_the_first_partitions_of_a_small_run_do_not_wait_for_the_last_of_a_large_one(
    workers: list[Stores], stage: Stage
) -> None:
    large = await start(workers[0])
    await execution.compare(workers[0], large, 0)
    small = await runs.start_run(workers[0], "bookings", by="test")

    called = await execution.begin(workers[0], small.id)

    assert called == [Call(small.id, 0), Call(large, 1)]


async def test_a_partition_that_somebody_has_in_hand_is_asked_for_again_later_for_they_may_have_died(
    workers: list[Stores], stage: Stage
) -> None:
    run_id = await start(workers[0])
    lease = await partitions.take(workers[0], run_id, 1)
    assert lease is not None

    assert [call.number for call in await execution.compare(workers[1], run_id, 1)] == [1]
    assert stage.read == []
    await workers[0].core.execute("UPDATE partitions SET leased_until = now() - interval '1 s'")
    await execution.compare(workers[1], run_id, 1)

    assert stage.read == ["1"]
    terms = await partitions.renew(workers[0].core, lease, 7, 7)
    assert not terms.wanted, "the dead one, should it come back"
    await partitions.give_back(workers[0].core, lease)
    await partitions.finish(workers[0].core, lease, ScanResult(7, 7))
    assert (await states(workers[0], run_id))[1] == ("done", 2)


async def test_a_partition_whose_scan_breaks_is_given_back_at_once(
    stores: Stores, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await start(stores)

    def broken(*_: object, **__: object) -> ScanResult:
        raise ZeroDivisionError

    monkeypatch.setattr(execution, "scan", broken)
    with pytest.raises(ZeroDivisionError):
        await execution.compare(stores, run_id, 0)
    assert (await states(stores, run_id))[0] == ("pending", 1)

    other = await runs.start_run(stores, "bookings", by="test")
    await execution.begin(stores, other.id)
    called = await execution.fail(stores, run_id, ZeroDivisionError())
    assert {call.run_id for call in called} == {other.id}


async def test_partitions_are_listed_in_pages(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    await execution.compare(stores, run_id, 0)

    first = await partitions.list_partitions(stores, run_id, limit=2)
    second = await partitions.list_partitions(stores, run_id, limit=2, cursor=first.next_cursor)

    assert [(each.number, each.low, each.high) for each in first.items] == [(0, None, "1"), (1, "1", "2")]
    assert [(each.number, each.low, each.high) for each in second.items] == [(2, "2", None)]
    assert second.next_cursor is None
    done = first.items[0]
    assert (done.status, done.document_records, done.relational_records) == ("done", 100, 90)
    assert done.finished_at is not None
    with pytest.raises(NotFoundError):
        await partitions.list_partitions(stores, UUID(int=7))
