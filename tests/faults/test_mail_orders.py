"""Processes of a running system die between a cause and its mails: each order becomes its mails once, or nothing of it is there."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
from redis import Redis

from app.clock import now
from app.stores.connections import open_stores
from tests.app.notifications.market import Market
from tests.faults.receivers import Taken, receiving
from tests.faults.victims import Victim, Victims
from tests.faults.workers import until
from tests.stories.conftest import System, running_system
from tests.web.notifications.orders import ALL, order

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCHEDULE = "launch-reminders-24-hours"
SECONDS = 90.0
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
# One of the mails that a tick asks for, as if somebody else were asking for it at this moment.
THE_SAME_MAIL = """
    WITH batch AS (INSERT INTO notification_batches (caused_by, template) VALUES ('test', 'launch-reminder') RETURNING id)
    INSERT INTO notifications (batch_id, template, template_version, kind, locale, recipient_kind, priority, state, transport,
        send_at, schedule, tick, occasion)
    SELECT id, 'launch-reminder', 1, 'booking', 'en', 'customer', 3, 'pending', 'smtp', now(), $1, $2, $3 FROM batch
"""


@dataclass
class House:
    """A running system, a caller, and the mail server that its mails go to."""

    system: System
    taken: Taken
    victims: Victims
    api: httpx.AsyncClient
    core: asyncpg.Connection

    async def post(self, to: str, key: str) -> httpx.Response:
        wanted = order(recipients=[{"email": to}])
        return await self.api.post(ALL, json=wanted, headers={"Idempotency-Key": key})

    async def post_again(self, to: str, key: str) -> httpx.Response:
        """As callers are told to: under the same key until it is answered."""
        while True:
            try:
                answer = await self.post(to, key)
            except httpx.TransportError:
                await asyncio.sleep(0.2)
            else:
                return answer

    async def batches(self, to: str) -> list[UUID]:
        rows = await self.core.fetch("SELECT batch_id FROM notifications WHERE email = $1", to)
        return [row["batch_id"] for row in rows]

    async def until_blocked(self, statement: str) -> None:
        await until(lambda: self.core.fetchval(BLOCKED, statement))

    async def until_once(self, recipients: set[str]) -> None:
        """Wait until all of them have a mail; nobody has two, and none is left."""
        await until(lambda: recipients <= self.taken.by_smtp.keys(), SECONDS)
        await until(lambda: self._all_are_sent(recipients))
        assert {self.taken.by_smtp[each] for each in recipients} == {1}

    async def _all_are_sent(self, recipients: set[str]) -> bool:
        rows = await self.core.fetch(
            "SELECT state FROM notifications WHERE email = ANY($1)", list(recipients)
        )
        return [row["state"] for row in rows] == ["sent"] * len(recipients)

    async def kill(self, kind: str) -> Victim:
        return await asyncio.to_thread(self.victims.kill, kind)

    async def await_restart(self, *victims: Victim) -> None:
        for each in victims:
            await asyncio.to_thread(self.victims.await_restart, each)

    @asynccontextmanager
    async def lock(self, statement: str, *values: Any) -> AsyncIterator[None]:
        """Hold a lock of the core DB around a block."""
        connection = await asyncpg.connect(self.system.settings.url("core_database_url"))
        try:
            await connection.execute("BEGIN")
            await connection.fetch(statement, *values)
            yield
        finally:
            await connection.close()

    @asynccontextmanager
    async def frozen(self, name: str) -> AsyncIterator[None]:
        """Freeze a process of the system, and its children, around a block; it may be killed meanwhile."""
        leader = self.victims.leader(name)
        assert leader
        os.killpg(leader, signal.SIGSTOP)
        try:
            yield
        finally:
            if self.victims.leader(name) == leader:
                os.killpg(leader, signal.SIGCONT)


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[System, Taken]]:
    with receiving(seconds=0) as taken, pytest.MonkeyPatch.context() as environment:
        for name, value in {"HOST": "127.0.0.1", "PORT": str(taken.smtp_port), "TLS": "none"}.items():
            environment.setenv(f"ASTROCORE_NOTIFICATION_SMTP_{name}", value)
        with running_system() as system:
            yield system, taken


@pytest.fixture
async def house(running: tuple[System, Taken]) -> AsyncIterator[House]:
    system, taken = running
    core = await asyncpg.connect(system.settings.url("core_database_url"))
    async with httpx.AsyncClient(
        base_url=system.api.base_url, auth=system.api.auth, timeout=20, trust_env=False
    ) as api:
        made = House(system, taken, Victims(system.data_dir), api, core)
        await until(lambda: ready(api), SECONDS)
        yield made
    await core.close()


async def ready(api: httpx.AsyncClient) -> bool:
    """It answers, and has let us in."""
    try:
        return (await api.get(ALL)).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("kind", ["web", "web's child"])
async def test_an_order_in_whose_transaction_the_web_process_dies_was_never_made(
    house: House, kind: str
) -> None:
    to, key = f"{uuid4().hex}@example.com", str(uuid4())
    async with house.lock("LOCK TABLE idempotency_keys IN SHARE MODE"):
        posted = asyncio.create_task(house.post(to, key))
        await house.until_blocked("%INSERT INTO idempotency_keys%")
        fallen = await house.kill(kind)
        with pytest.raises(httpx.TransportError):
            await posted
    await house.await_restart(fallen)
    assert await house.batches(to) == []
    answer = await house.post_again(to, key)
    assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (202, None)
    assert await house.batches(to) == [UUID(answer.json()["batch"])]
    await house.until_once({to})


async def test_an_order_whose_answer_dies_with_the_web_process_is_answered_again(house: House) -> None:
    to, key = f"{uuid4().hex}@example.com", str(uuid4())
    async with house.frozen("broker"):  # whom it wakes once the order is committed, before it answers
        posted = asyncio.create_task(house.post(to, key))
        await until(lambda: house.batches(to))
        fallen = await house.kill("web")
        with pytest.raises(httpx.TransportError):
            await posted
    await house.await_restart(fallen)
    made = await house.batches(to)
    answer = await house.post_again(to, key)
    assert (answer.status_code, answer.headers["Idempotency-Replayed"]) == (202, "true")
    assert made == [UUID(answer.json()["batch"])] == await house.batches(to)
    await house.until_once({to})


@dataclass
class Booked:
    """Two launches of which travellers are to be reminded, each a batch of its own."""

    people: set[str]
    late_booking: UUID
    due: datetime


async def booked(house: House) -> Booked:
    await house.api.post(f"/v1/schedules/{SCHEDULE}/disable", json={"reason": "fired by hand alone"})
    moment, people, booking = now(), set[str](), uuid4()
    launches = [moment + timedelta(hours=hours) for hours in (23, 23.5)]
    async with open_stores(house.system.settings) as stores:
        market = await Market.open(stores, moment)
        for at in launches:
            launch = await market.launch(at)
            for _ in range(3):
                email = f"{uuid4().hex}@example.com"
                booking = await market.book(launch, await market.customer(email=email))
                people.add(email)
    return Booked(people, booking, launches[-1] - timedelta(days=1))


async def fire(house: House) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    answer = await house.api.post(f"/v1/schedules/{SCHEDULE}/trigger", headers=headers)
    assert answer.status_code == 202, answer.text


async def test_a_tick_whose_worker_dies_between_two_batches_writes_to_everybody_once(house: House) -> None:
    those = await booked(house)
    async with house.lock(THE_SAME_MAIL, SCHEDULE, those.due, str(those.late_booking)):
        await fire(house)
        await house.until_blocked("%INSERT INTO notifications (batch_id%")
        asked = await house.core.fetchval(
            "SELECT count(*) FROM notifications WHERE email = ANY($1)", list(those.people)
        )
        assert asked == 3
        fallen = await house.kill("worker")
    await house.await_restart(fallen)
    await house.until_once(those.people)


async def test_a_tick_whose_scheduler_dies_while_it_sends_it_writes_to_everybody_once(house: House) -> None:
    those = await booked(house)
    async with house.frozen("broker"):
        await fire(house)
        await asyncio.sleep(
            3
        )  # it looks every two seconds, and waits for the broker, which has its message by then
        fallen = await house.kill("scheduler")
    await house.await_restart(fallen)
    await house.until_once(those.people)


async def test_mail_whose_messages_are_lost_with_the_broker_goes_by_the_next_minute(house: House) -> None:
    to = f"{uuid4().hex}@example.com"
    async with house.frozen("worker"):
        assert (await house.post(to, str(uuid4()))).status_code == 202
        with Redis.from_url(house.system.settings.url("broker_url")) as broker:
            assert broker.llen(f"{house.system.settings.namespace}:mails")
            broker.flushall()
        fallen = [await house.kill("broker"), await house.kill("worker")]
    lost = now()
    await house.await_restart(*fallen)
    await house.until_once({to})
    began = await house.core.fetchval(
        "SELECT started_at FROM notification_attempts JOIN notifications ON id = notification_id WHERE email = $1",
        to,
    )
    tick = await house.core.fetchval(
        "SELECT min(tick) FROM ticks WHERE schedule = 'deliver_mails' AND tick > $1 AND status IN ('fired', 'caught_up')",
        lost,
    )
    assert tick is not None
    assert tick <= began
