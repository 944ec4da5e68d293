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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import asyncpg
from loguru import logger

from app.scheduling import cron
from app.scheduling.outlet import Order, Outlet, UnknownActorError
from app.scheduling.policy import GRACE, is_late, to_miss
from app.scheduling.schedules import Schedule, list_active, schedule_of

CHUNK = timedelta(days=1)  # evaluated per transaction, so that a long outage is worked off in bounded steps
IDLE_CHUNK = timedelta(hours=1)  # a span without ticks is closed only when it is as long, to save writes
CLOCK_STEP = timedelta(minutes=1)  # `evaluated_until` further ahead than this: the clock was set back
BATCH = 200  # pending ticks read at once

Status = Literal["pending", "fired", "caught_up", "missed"]


async def record_due(core: asyncpg.Connection, now: datetime) -> int:
    """Insert the ticks of every active schedule up to `now`, a chunk each; returns how many are new.

    A schedule that cannot be evaluated is logged and does not hold up the others.
    """
    recorded = 0
    for schedule in await list_active(core):
        try:
            recorded += await _record_chunk(core, schedule, now)
        except cron.CronError as error:
            logger.bind(schedule=schedule.name, error=str(error)).error("schedule.misread")
    return recorded


async def _record_chunk(core: asyncpg.Connection, schedule: Schedule, now: datetime) -> int:
    after = schedule.evaluated_until
    if after - now > CLOCK_STEP:
        logger.bind(schedule=schedule.name, evaluated_until=after, now=now).warning("clock.retreated")
        return await _advance(core, schedule, now, [], set())
    until = min(now, after + CHUNK)
    due = cron.ticks_between(schedule.cron, schedule.zone, after, until)
    if not due and until - after < IDLE_CHUNK:
        return 0
    missed = to_miss(schedule, due, now)
    count = await _advance(core, schedule, until, due, missed)
    if missed and count:
        bound = logger.bind(schedule=schedule.name, count=len(missed), first=min(missed), last=max(missed))
        bound.warning("tick.missed")
    return count


async def _advance(
    core: asyncpg.Connection,
    schedule: Schedule,
    until: datetime,
    due: Sequence[datetime],
    missed: set[datetime],
) -> int:
    """Step 1. Nothing happens where the schedule was changed or advanced since it was read."""
    async with core.transaction():
        moved = await core.fetchval(
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
        status = await core.execute(
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
    """A tick to settle: by sending it, or, where there is a `reason` to miss it, by making sure it is not sent."""

    schedule: Schedule
    tick: datetime
    attempted_at: datetime | None
    by_hand: bool = False
    reason: str | None = None

    @property
    def order(self) -> Order:
        return Order(self.schedule.name, self.tick, self.schedule.actor, dict(self.schedule.args))


async def settle_pending(
    core: asyncpg.Connection,
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
    for pending in await _read_pending(core, now):
        if not more():
            break
        settled += await _settle(core, outlet, pending, now, at)
    return settled


async def _read_pending(core: asyncpg.Connection, now: datetime) -> list[_Pending]:
    rows = await core.fetch(
        "SELECT s.name, s.cron, s.zone, s.actor, s.args, s.catch_up, s.fixed, s.declared, s.edited, s.enabled, s.retired_at, "
        "s.evaluated_until, t.tick, t.attempted_at, t.triggered_by FROM ticks t JOIN schedules s ON s.name = t.schedule "
        "WHERE t.status = 'pending' ORDER BY t.tick < $1, t.tick, t.schedule LIMIT $2",
        now - GRACE,
        BATCH,
    )
    found = [
        _Pending(schedule_of(row), row["tick"], row["attempted_at"], by_hand=row["triggered_by"] is not None)
        for row in rows
    ]
    reasons: dict[str, dict[datetime, str]] = {}
    # Whoever fires a tick by hand was promised that it is: neither policy nor switch is asked about it.
    by_clock = [pending for pending in found if not pending.by_hand]
    for name in {pending.schedule.name for pending in by_clock}:
        mine = [pending for pending in by_clock if pending.schedule.name == name]
        reasons[name] = _reasons_to_miss(mine[0].schedule, [pending.tick for pending in mine], now)
    return [
        replace(pending, reason=reasons.get(pending.schedule.name, {}).get(pending.tick)) for pending in found
    ]


def _reasons_to_miss(schedule: Schedule, pending: Sequence[datetime], now: datetime) -> dict[datetime, str]:
    if not schedule.active:
        return dict.fromkeys(pending, "schedule switched off")
    try:
        return dict.fromkeys(to_miss(schedule, pending, now), "policy")
    except cron.CronError:
        return dict.fromkeys(pending, "schedule unreadable")


async def _settle(
    core: asyncpg.Connection,
    outlet: Outlet,
    pending: _Pending,
    now: datetime,
    at: Callable[[datetime], datetime],
) -> bool:
    reason = pending.reason
    if reason is not None and pending.attempted_at is None:
        return await _close(core, pending, "missed", reason=reason, unattempted=True)
    if reason is None and not await _attempt(core, pending, now):
        return False
    taken, reason = await _ask(outlet, pending.order, reason)
    if taken is None:
        return await _close(core, pending, "missed", reason=reason or "withdrawn")
    status: Status = "caught_up" if is_late(pending.tick, at(taken)) else "fired"
    return await _close(core, pending, status, sent_at=taken)


async def _ask(outlet: Outlet, order: Order, reason: str | None) -> tuple[datetime | None, str | None]:
    """Step 3: send, or withdraw where there is a reason to; an unknown actor becomes such a reason."""
    if reason is None:
        try:
            return await outlet.send(order), None
        except UnknownActorError:
            reason = "unknown actor"
    return await outlet.withdraw(order), reason


async def _attempt(core: asyncpg.Connection, pending: _Pending, now: datetime) -> bool:
    """Step 2; false where another leader has settled it."""
    query = "UPDATE ticks SET attempted_at = $3 WHERE schedule = $1 AND tick = $2 AND status = 'pending' RETURNING 1"
    return await core.fetchval(query, pending.schedule.name, pending.tick, now) is not None


async def _close(
    core: asyncpg.Connection,
    pending: _Pending,
    status: Status,
    *,
    reason: str | None = None,
    sent_at: datetime | None = None,
    unattempted: bool = False,
) -> bool:
    """Step 4; false where another leader settled it, or has begun to send what was to be `unattempted`."""
    closed = await core.fetchval(
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
    bound = logger.bind(schedule=pending.schedule.name, tick=pending.tick, task=pending.schedule.actor)
    if status == "missed":
        bound.bind(reason=reason).warning("tick.missed")
    else:
        bound.bind(caught_up=status == "caught_up").info("tick.fired")
    return True
