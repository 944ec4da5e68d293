"""The pace of mail, against a real Redis."""

import asyncio
import time

import pytest

from app.errors import StoreUnavailableError
from app.notifications.pacing import Pace
from app.stores.connections import Stores, open_redis


def paces(stores: Stores, number: int) -> list[Pace]:
    """As many workers as that."""
    return [Pace(stores.broker, stores.settings.namespace) for _ in range(number)]


async def test_turns_of_all_workers_come_one_after_the_other_at_the_rate(stores: Stores) -> None:
    workers = paces(stores, 4)
    turns: list[float] = []
    started = time.monotonic()
    for _ in range(75):
        waits = await asyncio.gather(*(each.take("smtp", 100, patience=60) for each in workers))
        turns += [time.monotonic() - started + wait for wait in waits]
    # A hundred at once, and then a hundred in each second.
    assert all(turn >= (number - 100) / 100 for number, turn in enumerate(sorted(turns), start=1))
    assert max(waits) <= 2.0


async def test_slower_than_one_a_second_nobody_goes_early(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    assert await pace.take("smtp", 0.5, patience=60) == 0
    assert 1.5 < await pace.take("smtp", 0.5, patience=60) <= 2
    assert 3.5 < await pace.take("smtp", 0.5, patience=60) <= 4


async def test_who_does_not_wait_for_a_turn_takes_none(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    assert await pace.take("smtp", 1, patience=0) == 0
    refused = [await pace.take("smtp", 1, patience=0) for _ in range(10)]
    assert all(0.5 < wait <= 1 for wait in refused)
    assert await pace.take("smtp", 1, patience=1) <= 1


async def test_a_turn_comes_when_it_was_told(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    await pace.take("smtp", 5, patience=0)
    turns = [await pace.take("smtp", 5, patience=60) for _ in range(5)]
    await asyncio.sleep(turns[-1] + 0.2)
    assert await pace.take("smtp", 5, patience=0) == 0


async def test_transports_do_not_wait_for_each_other(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    for name in ("smtp", "http"):
        assert await pace.take(name, 1, patience=0) == 0


async def test_the_time_of_the_next_turn_goes_with_the_need_for_it(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    await pace.take("smtp", 10, patience=0)
    (key,) = [key async for key in stores.broker.scan_iter(f"{stores.settings.namespace}:pace:*")]
    assert 0 < await stores.broker.pttl(key) <= 1_200


async def test_without_the_broker_nothing_goes() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as away:
        with pytest.raises(StoreUnavailableError, match="mail waits"):
            await Pace(away, "t").take("smtp", 10, patience=60)
