"""The `ticks` table: one row per schedule and due minute, from pending to fired, caught up or missed.

The steps may be cut short anywhere and taken by two leaders at once, and no tick is lost or sent twice:

1. *record*: `evaluated_until` moves on (compare and set) and the due ticks are inserted, in one transaction.
2. *attempt*: a pending tick is marked as being sent (compare and set), before it is sent.
3. *send*: the outlet takes it once, whoever asks and however often.
4. *settle*: the row takes its final status.

Only a tick that was never attempted may be recorded missed by the row alone; one that was is withdrawn from the
outlet first, because a frozen broker may still carry out a request whose sender gave up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

import asyncpg
from loguru import logger

from app.errors import CoreError, StoreUnavailableError
from app.scheduling import cron
from app.scheduling.schedules import CATCH_UP_LIMIT, Schedule, list_active, schedule_of

GRACE = timedelta(seconds=90)  # a tick sent later than this after its due time is caught up, not fired
CHUNK = timedelta(days=1)  # evaluated per transaction, so that a long outage is worked off in bounded steps
IDLE_CHUNK = timedelta(hours=1)  # a span without ticks is closed only when it is as long, to save writes
CLOCK_STEP = timedelta(minutes=1)  # `evaluated_until` further ahead than this: the clock was set back
BATCH = 200  # pending ticks read at once

Status = Literal["pending", "fired", "caught_up", "missed"]


class UnknownActorError(CoreError):
    """No actor of that name is declared: a message to it would be a dead letter."""


class OutletAwayError(StoreUnavailableError):
    """The broker does not answer. Whether it took the message is not known: ask again."""


@dataclass(frozen=True)
class Order:
    """A message to send: which actor with which keyword arguments, and the tick it stands for."""

    schedule: str
    tick: datetime
    actor: str
    args: dict[str, Any]


class Outlet(Protocol):
    """Takes each (schedule, tick) at most once, or never once it was withdrawn. Each answer is final.

    Both return when the broker took the order, now or at an earlier call, by its clock; None where it was
    withdrawn and never will be taken. Both raise OutletAwayError; `send` also raises UnknownActorError.
    """

    async def send(self, order: Order) -> datetime | None: ...

    async def withdraw(self, order: Order) -> datetime | None: ...


def is_late(tick: datetime, at: datetime) -> bool:
    """Whether a tick handled at that instant counts as late."""
    return at - tick > GRACE


def oldest_caught_up(schedule: Schedule, after: datetime, now: datetime) -> datetime:
    """From which tick later than `after` the policy still fires late ones; `now` where it fires none."""
    limit = CATCH_UP_LIMIT[schedule.catch_up]
    if limit == 0:
        return now
    latest = cron.latest_between(schedule.cron, schedule.zone, after, now, limit)
    return latest[0] if len(latest) == limit else after


def to_miss(schedule: Schedule, due: Sequence[datetime], now: datetime) -> set[datetime]:
    """Those of the due ticks that the policy records missed: late, and older than the ones it catches up."""
    late = [tick for tick in due if is_late(tick, now)]
    if not late:
        return set()
    oldest = oldest_caught_up(schedule, min(late) - timedelta(minutes=1), now)
    return {tick for tick in late if tick < oldest}


async def record_due(pool: asyncpg.Pool, now: datetime) -> int:
    """Insert the ticks of every active schedule up to `now`, a chunk each; returns how many are new.

    A schedule that cannot be evaluated is logged and does not hold up the others.
    """
    recorded = 0
    for schedule in await list_active(pool):
        try:
            recorded += await _record_chunk(pool, schedule, now)
        except cron.CronError as error:
            logger.bind(schedule=schedule.name, error=str(error)).error("schedule.unreadable")
    return recorded


async def _record_chunk(pool: asyncpg.Pool, schedule: Schedule, now: datetime) -> int:
    after = schedule.evaluated_until
    if after - now > CLOCK_STEP:
        logger.bind(schedule=schedule.name, evaluated_until=after, now=now).warning("clock.stepped_back")
        return await _advance(pool, schedule, now, [], set())
    until = min(now, after + CHUNK)
    due = cron.ticks_between(schedule.cron, schedule.zone, after, until)
    if not due and until - after < IDLE_CHUNK:
        return 0
    missed = to_miss(schedule, due, now)
    count = await _advance(pool, schedule, until, due, missed)
    if missed and count:
        bound = logger.bind(schedule=schedule.name, count=len(missed), first=min(missed), last=max(missed))
        bound.warning("tick.missed")
    return count


async def _advance(
    pool: asyncpg.Pool, schedule: Schedule, until: datetime, due: Sequence[datetime], missed: set[datetime]
) -> int:
    """Step 1. Nothing happens where the schedule was changed or advanced since it was read."""
    async with pool.acquire() as connection, connection.transaction():
        moved = await connection.fetchval(
            "UPDATE schedules SET evaluated_until = $2 WHERE name = $1 AND evaluated_until = $3 AND cron = $4 "
            "AND zone = $5 AND enabled AND retired_at IS NULL RETURNING 1",
            schedule.name,
            until,
            schedule.evaluated_until,
            schedule.cron,
            schedule.zone,
        )
        if moved is None:
            return 0
        status = await connection.execute(
            "INSERT INTO ticks (schedule, tick, status, reason) SELECT $1, tick, "
            "CASE WHEN missed THEN 'missed' ELSE 'pending' END, CASE WHEN missed THEN 'policy' END "
            "FROM unnest($2::timestamptz[], $3::boolean[]) AS due (tick, missed) ON CONFLICT DO NOTHING",
            schedule.name,
            list(due),
            [tick in missed for tick in due],
        )
    return int(status.split()[-1])


@dataclass(frozen=True)
class _Pending:
    schedule: Schedule
    tick: datetime
    attempted_at: datetime | None

    @property
    def order(self) -> Order:
        return Order(self.schedule.name, self.tick, self.schedule.actor, dict(self.schedule.args))


async def settle_pending(
    pool: asyncpg.Pool,
    outlet: Outlet,
    now: datetime,
    *,
    more: Callable[[], bool] = lambda: True,
    at: Callable[[datetime], datetime] = lambda instant: instant,
) -> int:
    """Steps 2 to 4 for a batch of pending ticks while `more()`; returns how many were settled.

    Ticks that are on time go first: a long catch-up does not hold them up. `at` turns an instant of the outlet's
    clock into one of `now`'s. Raises OutletAwayError at the first tick that the outlet does not answer for.
    """
    settled = 0
    for pending in await _read_pending(pool, now):
        if not more():
            break
        settled += await _settle(pool, outlet, pending, now, at)
    return settled


async def _read_pending(pool: asyncpg.Pool, now: datetime) -> list[_Pending]:
    rows = await pool.fetch(
        "SELECT s.name, s.cron, s.zone, s.actor, s.args, s.catch_up, s.fixed, s.enabled, s.retired_at, "
        "s.evaluated_until, t.tick, t.attempted_at FROM ticks t JOIN schedules s ON s.name = t.schedule "
        "WHERE t.status = 'pending' ORDER BY t.tick < $1, t.tick, t.schedule LIMIT $2",
        now - GRACE,
        BATCH,
    )
    return [_Pending(schedule_of(row), row["tick"], row["attempted_at"]) for row in rows]


async def _settle(
    pool: asyncpg.Pool, outlet: Outlet, pending: _Pending, now: datetime, at: Callable[[datetime], datetime]
) -> bool:
    reason = _reason_to_miss(pending, now)
    if reason is not None and pending.attempted_at is None:
        return await _close(pool, pending, "missed", reason=reason, unattempted=True)
    if reason is None and not await _attempt(pool, pending, now):
        return False
    taken, reason = await _ask(outlet, pending.order, reason)
    if taken is None:
        return await _close(pool, pending, "missed", reason=reason or "withdrawn")
    status: Status = "caught_up" if is_late(pending.tick, at(taken)) else "fired"
    return await _close(pool, pending, status, sent_at=taken)


async def _ask(outlet: Outlet, order: Order, reason: str | None) -> tuple[datetime | None, str | None]:
    """Step 3: send, or withdraw where there is a reason to; an unknown actor becomes such a reason."""
    if reason is None:
        try:
            return await outlet.send(order), None
        except UnknownActorError:
            reason = "unknown actor"
    return await outlet.withdraw(order), reason


def _reason_to_miss(pending: _Pending, now: datetime) -> str | None:
    if not pending.schedule.active:
        return "schedule switched off"
    return "policy" if to_miss(pending.schedule, [pending.tick], now) else None


async def _attempt(pool: asyncpg.Pool, pending: _Pending, now: datetime) -> bool:
    """Step 2; false where another leader has settled it."""
    query = "UPDATE ticks SET attempted_at = $3 WHERE schedule = $1 AND tick = $2 AND status = 'pending' RETURNING 1"
    return await pool.fetchval(query, pending.schedule.name, pending.tick, now) is not None


async def _close(
    pool: asyncpg.Pool,
    pending: _Pending,
    status: Status,
    *,
    reason: str | None = None,
    sent_at: datetime | None = None,
    unattempted: bool = False,
) -> bool:
    """Step 4; false where another leader settled it, or has begun to send what was to be `unattempted`."""
    closed = await pool.fetchval(
        "UPDATE ticks SET status = $3, reason = $4, sent_at = $5 WHERE schedule = $1 AND tick = $2 "
        "AND status = 'pending' AND (attempted_at IS NULL OR NOT $6) RETURNING 1",
        pending.schedule.name,
        pending.tick,
        status,
        reason,
        sent_at,
        unattempted,
    )
    if closed is None:
        return False
    bound = logger.bind(schedule=pending.schedule.name, tick=pending.tick, actor=pending.schedule.actor)
    if status == "missed":
        bound.bind(reason=reason).warning("tick.missed")
    else:
        bound.bind(caught_up=status == "caught_up").info("tick.fired")
    return True
