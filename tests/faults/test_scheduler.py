"""Schedulers as processes, real stores, real faults: every due tick ends in one honest state and is sent once.

The schedules' clock runs 60 times as fast as the real one, leases do not: a cron minute takes a second. Run as a
program, this file is the scheduler process itself, with actors of its own.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import asyncpg
import pytest
from dramatiq import Message, Middleware, actor, set_broker
from dramatiq.brokers.redis import RedisBroker
from periodiq import cron
from redis import Redis

from actors.scheduler import serve
from app.scheduling import leases
from app.scheduling.loop import Pace
from app.scheduling.schedules import get_schedule
from config.processes import die_with_parent
from config.settings import Settings
from tests.app.scheduling.minute_walk import Walk
from tests.app.scheduling.servers import SCHEMA, Server, postgres, valkey

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SPEEDY = Pace(speed=60)
SPECS = {"every_minute": "*/1 * * * *", "odd_minutes": "1-59/2 * * * *", "only_punctual": "* * * * *"}
POLICIES = {"every_minute": "fire_all", "odd_minutes": "fire_once", "only_punctual": "skip"}
NAMESPACE = "test"


class ScheduleOptions(Middleware):
    @property
    def actor_options(self) -> set[str]:
        return {"periodic", "catch_up"}


def declare() -> RedisBroker:
    broker = RedisBroker(url="redis://127.0.0.1:1/0", namespace=NAMESPACE, middleware=[ScheduleOptions()])
    set_broker(broker)
    for name, spec in SPECS.items():
        actor(lambda: None, actor_name=name, queue_name="q", periodic=cron(spec), catch_up=POLICIES[name])
    return broker


def main(database: str, broker: str) -> None:
    die_with_parent()
    chosen = Settings(core_database_url=database, broker_url=broker, namespace=NAMESPACE)
    asyncio.run(serve(chosen, declare(), SPEEDY))


@dataclass
class House:
    """Two stores, the schedulers that run on them, and what a test wants to know about them."""

    postgres: Server
    valkey: Server
    pool: asyncpg.Pool
    schedulers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.faults.test_scheduler", self.postgres.url, self.valkey.url]
        self.schedulers.append(subprocess.Popen(command))
        return self.schedulers[-1]

    async def leader(self) -> subprocess.Popen[bytes] | None:
        row = await leases.leader(self.pool)
        pid = int(row.holder.split(":")[1]) if row else 0
        return next((process for process in self.schedulers if process.pid == pid), None)

    async def wait_for_leader(
        self, *, other_than: subprocess.Popen[bytes] | None = None
    ) -> subprocess.Popen[bytes]:
        deadline = time.monotonic() + 30
        while (found := await self.leader()) is None or found is other_than:
            assert time.monotonic() < deadline, "nobody leads"
            await asyncio.sleep(0.05)
        return found

    def messages(self) -> list[tuple[str, datetime]]:
        with Redis.from_url(self.valkey.url) as client:
            ids = client.lrange(f"{NAMESPACE}:q", 0, -1)
            found = [Message.decode(data) for data in client.hmget(f"{NAMESPACE}:q.msgs", ids)] if ids else []
        return [(one.options["schedule"], datetime.fromisoformat(one.options["tick"])) for one in found]

    async def stop_all(self) -> None:
        for process in self.schedulers:
            process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(asyncio.to_thread(process.wait, 10) for process in self.schedulers))

    async def account(self) -> dict[str, list[str]]:
        """Stop everything; check that rows are what an independent cron expects and messages what the rows say."""
        await self.stop_all()
        statuses = {}
        sent = []
        for name, spec in SPECS.items():
            rows = await self.pool.fetch(
                "SELECT tick, status FROM ticks WHERE schedule = $1 ORDER BY tick", name
            )
            ticks = [row["tick"] for row in rows]
            until = (await get_schedule(self.pool, name)).evaluated_until
            assert ticks == Walk(spec, "UTC").between(await self.began(), until)
            sent += [(name, row["tick"]) for row in rows if row["status"] in ("fired", "caught_up")]
            statuses[name] = [row["status"] for row in rows]
            # Stopping may come between recording and sending the last ticks; a later scheduler would go on there.
            assert "pending" not in statuses[name][:-3]
        await self.check_messages(sent)
        return statuses

    async def check_messages(self, sent: list[tuple[str, datetime]]) -> None:
        """One message per tick that was sent; one more only where the stop came between sending and settling."""
        rows = await self.pool.fetch("SELECT schedule, tick FROM ticks WHERE status = 'pending'")
        pending = {(row["schedule"], row["tick"]) for row in rows}
        found = self.messages()
        assert len(found) == len(set(found))
        assert set(sent) <= set(found) <= set(sent) | pending

    async def began(self) -> datetime:
        return SPEEDY.at(await self.pool.fetchval("SELECT min(created_at) FROM schedules"))


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with postgres() as database, valkey() as broker:
        yield database, broker


@pytest.fixture
async def house(servers: tuple[Server, Server]) -> AsyncIterator[House]:
    database, broker = servers
    async with asyncpg.create_pool(database.url, min_size=0, max_size=2) as pool:
        await pool.execute(SCHEMA)
        built = House(database, broker, pool)
        try:
            yield built
        finally:
            for process in built.schedulers:
                process.kill()
                process.wait(10)


async def test_two_schedulers_lose_no_tick_and_send_none_twice(house: House) -> None:
    house.start()
    house.start()
    await house.wait_for_leader()
    await asyncio.sleep(8)
    statuses = await house.account()
    assert len(statuses["every_minute"]) >= 7
    assert set(statuses["only_punctual"][:-3]) == {"fired"}


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_leader_that_dies_or_freezes_is_replaced_within_ten_seconds(
    house: House, fault: signal.Signals
) -> None:
    house.start()
    house.start()
    first = await house.wait_for_leader()
    await asyncio.sleep(3)
    first.send_signal(fault)
    began = time.monotonic()
    await house.wait_for_leader(other_than=first)
    took = time.monotonic() - began
    assert took <= 10
    await asyncio.sleep(3)
    first.send_signal(signal.SIGCONT)
    await asyncio.sleep(3)
    assert await house.leader() is not first
    statuses = await house.account()
    assert "missed" not in statuses["every_minute"]
    assert "caught_up" in statuses["every_minute"]
    assert "missed" in statuses["only_punctual"]


async def test_a_leader_that_is_told_to_stop_leaves_within_a_second_and_hands_over_at_once(
    house: House,
) -> None:
    house.start()
    house.start()
    first = await house.wait_for_leader()
    await asyncio.sleep(2)
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait, 10) == 0
    stopped = time.monotonic() - began
    await house.wait_for_leader(other_than=first)
    assert stopped <= 1
    assert time.monotonic() - began <= 3
    await asyncio.sleep(2)
    await house.account()


async def test_a_quick_restart_sends_nothing_twice(house: House) -> None:
    for _ in range(3):
        process = house.start()
        await house.wait_for_leader()
        await asyncio.sleep(1.5)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    await house.account()


@pytest.mark.parametrize("frozen_seconds", [3, 12])
async def test_a_frozen_broker_costs_no_tick_and_doubles_none(house: House, frozen_seconds: int) -> None:
    house.start()
    house.start()
    leader = await house.wait_for_leader()
    await asyncio.sleep(3)
    house.valkey.freeze()
    await asyncio.sleep(frozen_seconds)
    assert await house.leader() is leader  # it keeps the lead: the broker's trouble is nobody else's
    house.valkey.thaw()
    await asyncio.sleep(5)
    statuses = await house.account()
    assert "missed" not in statuses["every_minute"]
    assert len(statuses["every_minute"]) >= frozen_seconds + 6


async def test_a_leader_killed_while_the_broker_is_frozen_costs_no_tick_and_doubles_none(
    house: House,
) -> None:
    house.start()
    house.start()
    leader = await house.wait_for_leader()
    await asyncio.sleep(2)
    house.valkey.freeze()
    await asyncio.sleep(2)
    leader.kill()
    await house.wait_for_leader(other_than=leader)
    house.valkey.thaw()
    await asyncio.sleep(4)
    statuses = await house.account()
    assert "missed" not in statuses["every_minute"]


async def test_a_frozen_core_database_is_waited_for(house: House) -> None:
    process = house.start()
    await house.wait_for_leader()
    await asyncio.sleep(2)
    backends = [row["pid"] for row in await house.pool.fetch("SELECT pid FROM pg_stat_activity")]
    stop_or_go(os.kill, [house.postgres.pid, *backends], signal.SIGSTOP)
    await asyncio.sleep(8)
    stop_or_go(os.kill, [house.postgres.pid, *backends], signal.SIGCONT)
    await asyncio.sleep(8)
    assert process.poll() is None
    await house.wait_for_leader()
    statuses = await house.account()
    assert "missed" not in statuses["every_minute"]


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_scheduler_leaves_within_a_second_while_its_stores_are_frozen(
    house: House, *, in_transaction: bool
) -> None:
    process = house.start()
    await house.wait_for_leader()
    await asyncio.sleep(1)
    async with house.pool.acquire() as other, other.transaction():
        if in_transaction:
            await other.execute("LOCK TABLE ticks")  # the scheduler stops in the middle of recording
            await asyncio.sleep(2)
        backends = [row["pid"] for row in await other.fetch("SELECT pid FROM pg_stat_activity")]
        house.valkey.freeze()
        stop_or_go(os.kill, [house.postgres.pid, *backends], signal.SIGSTOP)
        await asyncio.sleep(1)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            assert await asyncio.to_thread(process.wait, 10) == 0
        finally:
            took = time.monotonic() - began
            stop_or_go(os.kill, [house.postgres.pid, *backends], signal.SIGCONT)
    assert took <= 1


def stop_or_go(kill: Callable[[int, int], None], pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        kill(pid, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
