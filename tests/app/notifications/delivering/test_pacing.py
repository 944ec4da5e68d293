"""The pace of mail, against a real Redis."""

import asyncio
import time

import pytest

from app.errors import StoreUnavailableError
from app.notifications.delivering.pacing import Pace
from app.stores.connections import Stores, open_redis


def paces(stores: Stores, number: int) -> list[Pace]:
    """As many workers as that."""
    return [Pace(stores.broker, stores.settings.namespace) for _ in range(number)]


async def turn(pace: Pace, per_second: float, *, patience: float, transport: str = "smtp") -> float:
    """Take one, and answer the seconds until it comes."""
    (wait,) = await pace.take(transport, 1, per_second, patience=patience)
    return wait


async def test_turns_of_all_workers_come_one_after_the_other_at_the_rate(stores: Stores) -> None:
    workers = paces(stores, 4)
    turns: list[float] = []
    started = time.monotonic()
    for _ in range(75):
        waits = await asyncio.gather(*(each.take("smtp", 1, 100, patience=60) for each in workers))
        turns += [time.monotonic() - started + wait for (wait,) in waits]
    # A hundred at once, and then a hundred in each second.
    assert all(turn >= (number - 100) / 100 for number, turn in enumerate(sorted(turns), start=1))
    assert max(waits) <= [2.0]


async def test_slower_than_one_a_second_nobody_goes_early(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    first, second = await pace.take("smtp", 2, 0.5, patience=60)
    assert first == 0
    assert 1.5 < second <= 2
    assert 3.5 < await turn(pace, 0.5, patience=60) <= 4


async def test_turns_that_are_taken_together_come_one_after_the_other_and_none_beyond_the_patience(
    stores: Stores,
) -> None:
    (pace,) = paces(stores, 1)
    waits = await pace.take("smtp", 50, 10, patience=2)
    assert waits[:10] == [0] * 10
    assert waits[10:30] == pytest.approx([number / 10 for number in range(1, 21)], abs=0.002)
    assert waits[30:] == [waits[30]] * 20
    assert waits[30] == pytest.approx(2.1, abs=0.002)
    # Those that were not taken are there for the next one.
    assert await turn(pace, 10, patience=3) <= 2.1


async def test_who_does_not_wait_for_a_turn_takes_none(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    assert await turn(pace, 1, patience=0) == 0
    refused = [await turn(pace, 1, patience=0) for _ in range(10)]
    assert all(0.5 < wait <= 1 for wait in refused)
    assert await turn(pace, 1, patience=1) <= 1


async def test_a_turn_comes_when_it_was_told(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    await turn(pace, 5, patience=0)
    turns = [await turn(pace, 5, patience=60) for _ in range(5)]
    await asyncio.sleep(turns[-1] + 0.2)
    assert await turn(pace, 5, patience=0) == 0


async def test_transports_do_not_wait_for_each_other(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    for name in ("smtp", "http"):
        assert await turn(pace, 1, patience=0, transport=name) == 0


async def test_the_time_of_the_next_turn_goes_with_the_need_for_it(stores: Stores) -> None:
    (pace,) = paces(stores, 1)
    await turn(pace, 10, patience=0)
    (key,) = [key async for key in stores.broker.scan_iter(f"{stores.settings.namespace}:pace:*")]
    assert 0 < await stores.broker.pttl(key) <= 1_200


async def test_without_the_broker_nothing_goes() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as away:
        with pytest.raises(StoreUnavailableError, match="mail waits"):
            await Pace(away, "t").take("smtp", 1, 10, patience=60)
