"""Work that is done together, and what becomes of it when somebody stops waiting or a round fails."""

import asyncio
from collections.abc import Sequence

import pytest

from app.notifications.delivering.together import Together


class Rounds:
    """Carries items out, one round at a time, when it is let; remembers them."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.gate = asyncio.Event()
        self.error: BaseException | None = None

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.rounds.append(list(items))
        await self.gate.wait()
        if self.error:
            raise self.error
        return [each * 10 for each in items]


async def added(together: Together[int, int], *items: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(together.add(each)) for each in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_what_arrives_during_a_round_goes_into_the_next_one_together() -> None:
    rounds = Rounds()
    async with Together(rounds) as together:
        tasks = await added(together, 1) + await added(together, 2, 3)
        rounds.gate.set()
        assert await asyncio.gather(*tasks) == [10, 20, 30]
    assert rounds.rounds == [[1], [2, 3]]


async def test_a_round_waits_for_others_to_come_along() -> None:
    rounds = Rounds()
    rounds.gate.set()
    async with Together(rounds, 0.02) as together:
        tasks = await added(together, 1)
        tasks += await added(together, 2)
        await asyncio.gather(*tasks)
    assert rounds.rounds == [[1, 2]]


async def test_a_round_takes_no_more_than_it_may() -> None:
    rounds = Rounds()
    rounds.gate.set()
    async with Together(rounds, most=2) as together:
        answers = await asyncio.gather(*map(together.add, range(5)))
    assert rounds.rounds == [[0, 1], [2, 3], [4]]
    assert answers == [0, 10, 20, 30, 40]


async def test_an_exception_among_the_results_is_raised_to_whom_it_is_for() -> None:
    async def halve(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError(f"{each} is odd") if each % 2 else each // 2 for each in items]

    async with Together(halve) as together:
        answers = await asyncio.gather(*map(together.add, (2, 3, 4)), return_exceptions=True)
    assert [str(each) for each in answers] == ["1", "3 is odd", "2"]


async def test_whoever_waits_is_raised_what_the_round_raised_and_the_next_one_begins() -> None:
    rounds = Rounds()
    rounds.error = ValueError("no")
    async with Together(rounds) as together:
        tasks = await added(together, 1) + await added(together, 2)
        rounds.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [str(each) for each in answers] == ["no", "no"]
        rounds.error = None
        assert await together.add(3) == 30


async def test_whoever_stops_waiting_takes_back_what_no_round_has_begun_with() -> None:
    rounds = Rounds()
    async with Together(rounds) as together:
        begun, taken_back, other = await added(together, 1) + await added(together, 2, 3)
        taken_back.cancel()
        await asyncio.sleep(0)
        rounds.gate.set()
        assert await asyncio.gather(begun, other) == [10, 30]
    assert rounds.rounds == [[1], [3]]


async def test_a_round_that_has_begun_ends_though_nobody_waits_and_nothing_outlives_the_block() -> None:
    rounds, done = Rounds(), []

    async def carry_out(items: Sequence[int]) -> list[int]:
        answer = await rounds(items)
        done.extend(items)
        return answer

    async with Together(carry_out) as together:
        (task,) = await added(together, 1)
        task.cancel()
        asyncio.get_running_loop().call_later(0.01, rounds.gate.set)
    assert done == [1]
    assert task.cancelled()


async def test_nobody_hangs_when_the_round_itself_is_cancelled() -> None:
    rounds = Rounds()
    together = Together(rounds)
    tasks = await added(together, 1) + await added(together, 2)
    assert together._rounds
    together._rounds.cancel()
    answers = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 1)
    assert all(isinstance(each, asyncio.CancelledError) for each in answers)
    with pytest.raises(asyncio.CancelledError):
        await together._rounds
