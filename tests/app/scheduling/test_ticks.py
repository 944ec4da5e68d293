import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.scheduling.outlet import Order, OutletAwayError, UnknownActorError
from app.scheduling.schedules import CatchUp, Declaration, get_schedule, load_declarations, set_enabled
from app.scheduling.ticks import CHUNK, record_due, settle_pending

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@dataclass
class Shelf:
    """An outlet that keeps the contract in memory; it can be away before or after it takes an order."""

    taken: dict[tuple[str, datetime], datetime | None] = field(default_factory=dict)
    sent: list[Order] = field(default_factory=list)
    now: datetime = NOW
    away: bool = False
    loses_answers: bool = False

    async def send(self, order: Order) -> datetime | None:
        await asyncio.sleep(0)
        if order.actor == "unknown":
            raise UnknownActorError
        if self.away:
            raise OutletAwayError("away")
        if (order.schedule, order.tick) not in self.taken:
            self.taken[order.schedule, order.tick] = self.now
            self.sent.append(order)
        if self.loses_answers:
            raise OutletAwayError("no answer")
        return self.taken[order.schedule, order.tick]

    async def withdraw(self, order: Order) -> datetime | None:
        if self.away:
            raise OutletAwayError("away")
        return self.taken.setdefault((order.schedule, order.tick), None)


async def load(
    core: asyncpg.Connection, catch_up: CatchUp, cron: str = "* * * * *", actor: str = "a"
) -> None:
    await load_declarations(core, [Declaration("s", cron, actor, catch_up=catch_up, args={"n": 1})], now=NOW)


async def work(core: asyncpg.Connection, shelf: Shelf, now: datetime) -> None:
    """Passes until nothing is left to do."""
    shelf.now = now
    while await record_due(core, now) + await settle_pending(core, shelf, now):
        pass


async def statuses(core: asyncpg.Connection) -> list[str]:
    return [row["status"] for row in await core.fetch("SELECT status FROM ticks ORDER BY tick")]


async def test_a_tick_on_time_is_fired_with_its_arguments(core: asyncpg.Connection) -> None:
    await load(core, "skip")
    shelf = Shelf()
    await work(core, shelf, NOW + MINUTE)
    assert shelf.sent == [Order("s", NOW + MINUTE, "a", {"n": 1})]
    row = await core.fetchrow("SELECT status, reason, sent_at FROM ticks")
    assert tuple(row) == ("fired", None, NOW + MINUTE)


@pytest.mark.parametrize(("catch_up", "caught_up"), [("skip", 0), ("fire_once", 0), ("fire_all", 998)])
async def test_every_tick_of_a_long_outage_ends_as_its_policy_says(
    core: asyncpg.Connection, catch_up: CatchUp, caught_up: int
) -> None:
    await load(core, catch_up)
    shelf = Shelf()
    await work(core, shelf, NOW + 2 * CHUNK)
    on_time = 2  # within the grace
    due = int(2 * CHUNK / MINUTE)
    found = Counter(await statuses(core))
    assert found == +Counter(fired=on_time, caught_up=caught_up, missed=due - on_time - caught_up)
    assert len(shelf.sent) == on_time + caught_up


async def test_a_schedule_that_was_down_fires_its_last_tick_late_once(core: asyncpg.Connection) -> None:
    await load(core, "fire_once", "0 * * * *")
    shelf = Shelf()
    await work(core, shelf, NOW + timedelta(hours=72, minutes=30))
    assert await statuses(core) == ["missed"] * 71 + ["caught_up"]
    assert [order.tick for order in shelf.sent] == [NOW + timedelta(hours=72)]


async def test_two_leaders_at_once_send_each_tick_once(core: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    await load(core, "fire_all")
    shelf = Shelf()

    async def lead() -> None:
        async with pool.acquire() as connection:
            await work(connection, shelf, NOW + 60 * MINUTE)

    await asyncio.gather(*(lead() for _ in range(4)))
    assert sorted(order.tick for order in shelf.sent) == [NOW + n * MINUTE for n in range(1, 61)]
    assert "pending" not in await statuses(core)


async def test_a_tick_stays_pending_while_the_broker_is_away_and_is_then_caught_up(
    core: asyncpg.Connection,
) -> None:
    await load(core, "fire_once", "0 * * * *")
    shelf = Shelf(away=True)
    await record_due(core, NOW + 60 * MINUTE)
    with pytest.raises(OutletAwayError):
        await settle_pending(core, shelf, NOW + 60 * MINUTE)
    assert await statuses(core) == ["pending"]
    shelf.away = False
    await work(core, shelf, NOW + 80 * MINUTE)
    assert await statuses(core) == ["caught_up"]


async def test_a_broker_that_was_long_away_gets_what_the_policy_keeps(core: asyncpg.Connection) -> None:
    await load(core, "fire_once")
    shelf = Shelf(away=True)
    for n in range(1, 11):
        await record_due(core, NOW + n * MINUTE)
        with pytest.raises(OutletAwayError):
            await settle_pending(core, shelf, NOW + n * MINUTE)
    shelf.away = False
    await work(core, shelf, NOW + 10 * MINUTE)
    assert await statuses(core) == ["missed"] * 8 + ["fired"] * 2


@pytest.mark.parametrize("catch_up", ["skip", "fire_once", "fire_all"])
async def test_a_tick_whose_answer_was_lost_is_not_sent_twice_nor_called_missed(
    core: asyncpg.Connection, catch_up: CatchUp
) -> None:
    await load(core, catch_up)
    shelf = Shelf(loses_answers=True, now=NOW + MINUTE)
    await record_due(core, NOW + MINUTE)
    with pytest.raises(OutletAwayError):
        await settle_pending(core, shelf, NOW + MINUTE)
    shelf.loses_answers = False
    await work(core, shelf, NOW + 60 * MINUTE)
    assert (await statuses(core))[0] == "fired"
    assert [order.tick for order in shelf.sent].count(NOW + MINUTE) == 1


async def test_a_tick_recorded_missed_after_an_attempt_can_never_be_sent_any_more(
    core: asyncpg.Connection,
) -> None:
    await load(core, "skip")
    shelf = Shelf(away=True)
    await record_due(core, NOW + MINUTE)
    with pytest.raises(OutletAwayError):
        await settle_pending(core, shelf, NOW + MINUTE)
    shelf.away = False
    await work(core, shelf, NOW + 10 * MINUTE)
    assert (await statuses(core))[0] == "missed"
    assert await shelf.send(Order("s", NOW + MINUTE, "a", {})) is None


async def test_a_tick_for_an_actor_that_nobody_declares_is_missed(core: asyncpg.Connection) -> None:
    await load(core, "fire_all", actor="unknown")
    await work(core, Shelf(), NOW + MINUTE)
    assert tuple(await core.fetchrow("SELECT status, reason FROM ticks")) == ("missed", "unknown actor")


async def test_a_pending_tick_of_a_schedule_that_was_switched_off_is_missed(core: asyncpg.Connection) -> None:
    await load(core, "fire_all")
    await record_due(core, NOW + MINUTE)
    await set_enabled(core, "s", enabled=False, now=NOW + MINUTE)
    await work(core, Shelf(), NOW + 5 * MINUTE)
    assert tuple(await core.fetchrow("SELECT status, reason FROM ticks")) == (
        "missed",
        "schedule switched off",
    )


async def test_a_clock_set_back_repeats_no_tick_and_loses_none(core: asyncpg.Connection) -> None:
    await load(core, "fire_all")
    shelf = Shelf()
    await work(core, shelf, NOW + 60 * MINUTE)
    await work(core, shelf, NOW + 30 * MINUTE)
    assert (await get_schedule(core, "s")).evaluated_until == NOW + 30 * MINUTE
    await work(core, shelf, NOW + 90 * MINUTE)
    assert sorted(order.tick for order in shelf.sent) == [NOW + n * MINUTE for n in range(1, 91)]


async def test_a_step_taken_on_stale_knowledge_changes_nothing(core: asyncpg.Connection) -> None:
    await load(core, "fire_all")
    await record_due(core, NOW + 10 * MINUTE)
    await record_due(core, NOW + 9 * MINUTE + timedelta(seconds=30))
    assert len(await statuses(core)) == 10


async def test_a_row_that_cannot_be_read_does_not_hold_up_the_others(core: asyncpg.Connection) -> None:
    good = Declaration("s", "* * * * *", "a")
    await load_declarations(core, [replace(good, name="broken"), good], now=NOW)
    await core.execute("UPDATE schedules SET cron = 'never' WHERE name = 'broken'")
    shelf = Shelf()
    await work(core, shelf, NOW + MINUTE)
    assert [order.schedule for order in shelf.sent] == ["s"]


async def test_a_late_tick_of_a_row_that_cannot_be_read_any_more_is_missed(core: asyncpg.Connection) -> None:
    await load(core, "fire_all")
    await record_due(core, NOW + MINUTE)
    await core.execute("UPDATE schedules SET zone = 'Mars/Olympus'")
    await work(core, Shelf(), NOW + 10 * MINUTE)
    assert tuple(await core.fetchrow("SELECT status, reason FROM ticks")) == ("missed", "schedule unreadable")


async def test_ticks_on_time_go_before_a_long_catch_up(core: asyncpg.Connection) -> None:
    long, short = (
        Declaration("long", "* * * * *", "a", catch_up="fire_all"),
        Declaration("short", "0 * * * *", "a"),
    )
    await load_declarations(core, [long, short], now=NOW)
    shelf = Shelf(now=NOW + 60 * MINUTE)
    await record_due(core, shelf.now)
    budget = iter([True, True, True, False])
    await settle_pending(core, shelf, shelf.now, more=lambda: next(budget))
    assert ("short", shelf.now) in [(order.schedule, order.tick) for order in shelf.sent]
