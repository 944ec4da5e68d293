import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import asyncpg
import pytest

from app.scheduling import leases
from app.scheduling.loop import Connect, Pace, run
from app.scheduling.schedules import Declaration
from tests.app.scheduling.test_ticks import Shelf

QUICK = Pace(lease=0.6, renew=0.2, speed=240)  # a cron minute takes a quarter of a second
MINUTELY = Declaration("minutely", "* * * * *", "a", catch_up="fire_all")


def every_minute(first: datetime, last: datetime) -> list[datetime]:
    return [first + timedelta(minutes=n) for n in range(int((last - first).total_seconds() / 60) + 1)]


def test_the_clock_of_the_schedules_is_the_real_one_unless_sped_up() -> None:
    now = datetime(2025, 6, 1, 12, 0, 59, tzinfo=UTC)
    assert Pace().at(now) == now
    assert Pace(speed=60, epoch=now).at(now.replace(minute=1)) == now.replace(hour=13)


@pytest.mark.parametrize(("second", "pause"), [(0, 2.0), (57, 2.0), (59, 1.0)])
def test_the_loop_sleeps_to_the_next_minute_or_renewal(second: int, pause: float) -> None:
    assert Pace().pause(datetime(2025, 6, 1, 12, 0, second, tzinfo=UTC)) == pause


def test_a_silent_leader_is_replaced_within_ten_seconds() -> None:
    assert Pace().lease + Pace().renew <= 10


@pytest.fixture
def connect(core_url: str) -> Connect:
    return partial(asyncpg.connect, core_url, timeout=2)


async def test_two_schedulers_fire_each_tick_once_and_hand_over(pool: asyncpg.Pool, connect: Connect) -> None:
    shelf, stops = Shelf(), [asyncio.Event(), asyncio.Event()]
    loops = [asyncio.create_task(run(connect, shelf, [MINUTELY], stop=stop, pace=QUICK)) for stop in stops]
    for stop, loop in zip(stops, loops, strict=True):
        await asyncio.sleep(1.2)
        stop.set()
        await asyncio.wait_for(loop, 0.5)
    assert await leases.leader(pool) is None
    sent = [order.tick for order in shelf.sent]
    assert len(sent) >= 8
    assert sent == every_minute(sent[0], sent[-1])


async def test_a_core_database_that_breaks_connections_is_waited_for(
    pool: asyncpg.Pool, connect: Connect
) -> None:
    shelf, stop = Shelf(), asyncio.Event()
    loop = asyncio.create_task(run(connect, shelf, [MINUTELY], stop=stop, pace=QUICK))
    await asyncio.sleep(0.6)
    await pool.execute("ALTER TABLE leases RENAME TO hidden")
    await asyncio.sleep(0.6)
    before = len(shelf.sent)
    await pool.execute("ALTER TABLE hidden RENAME TO leases")
    await asyncio.sleep(1)
    stop.set()
    await loop
    sent = [order.tick for order in shelf.sent]
    assert len(sent) > before
    assert sorted(sent) == every_minute(min(sent), max(sent))


async def test_a_fault_of_our_own_ends_the_loop_and_gives_up_the_lead(
    pool: asyncpg.Pool, connect: Connect
) -> None:
    class Broken(Shelf):
        async def send(self, order: object) -> datetime | None:  # noqa: ARG002
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(connect, Broken(), [MINUTELY], stop=asyncio.Event(), pace=QUICK)
    assert await leases.leader(pool) is None
