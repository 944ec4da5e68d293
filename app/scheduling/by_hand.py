"""Ticks beside those of the clock: whoever asks for one gets a row, which the scheduler sends like any other."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import merge

import asyncpg

from app.errors import ConflictError
from app.scheduling import cron
from app.scheduling.schedules import Schedule

_SPAN = timedelta(days=1)


async def add_tick(connection: asyncpg.Connection, schedule: Schedule, *, by: str) -> datetime:
    """Have a schedule fired once, now, in the open transaction; answers the tick, of the core DB's clock.

    One that is switched off is fired too. Raises ConflictError for a retired one, and for two calls at one moment.
    """
    if schedule.retired_at is not None:
        raise ConflictError(f"schedule {schedule.name!r} is declared no more")
    tick: datetime | None = await connection.fetchval(
        "INSERT INTO ticks (schedule, tick, status, triggered_by) VALUES ($1, clock_timestamp(), 'pending', $2) "
        "ON CONFLICT DO NOTHING RETURNING tick",
        schedule.name,
        by,
    )
    if tick is None:
        raise ConflictError(f"schedule {schedule.name!r} was fired at this very moment")
    return tick


def upcoming(schedules: list[Schedule], after: datetime, until: datetime) -> Iterator[tuple[datetime, str]]:
    """What comes due with ``after < tick <= until``, as (tick, schedule), in the order of time and name.

    It is walked as far as the caller reads. A row that was edited by hand into nonsense is passed over.
    """
    return merge(*(_ticks(each, after, until) for each in schedules if each.active))


def _ticks(schedule: Schedule, after: datetime, until: datetime) -> Iterator[tuple[datetime, str]]:
    try:
        while after < until:
            end = min(until, after + _SPAN)
            for tick in cron.ticks_between(schedule.cron, schedule.zone, after, end):
                yield tick, schedule.name
            after = end
    except cron.CronError:
        return
