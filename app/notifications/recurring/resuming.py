"""Ticks of schedules of mail that were sent, and are not seen through: whoever was to do it, or the broker, has lost them.

They are sent again, at longer and longer intervals, until they are seen through or a week is over. To fire one twice changes nothing.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
from loguru import logger
from msgspec import Struct

from app.notifications.recurring.firing import LONGEST_LOOK
from app.notifications.recurring.plans.registry import ACTOR
from app.stores.connections import Stores

FIRST_WAIT = timedelta(minutes=10)
"""Longer than the message's own tries take; twice as long each time."""
LONGEST_WAIT = timedelta(hours=6)
GIVEN_UP = timedelta(days=7)
"""After that nothing is sent again: a digest would be late then, and so would nearly all else."""
_MOST = 100

# A schedule that was switched off is left alone, but for what was fired by hand.
_LOST = """
    SELECT schedule, tick FROM ticks JOIN schedules ON schedules.name = ticks.schedule
    WHERE actor = $1 AND retired_at IS NULL AND (enabled OR triggered_by IS NOT NULL) AND finished_at IS NULL
        AND status IN ('fired', 'caught_up') AND tick > $2::timestamptz - $3::interval AND sent_at > $2::timestamptz - $4::interval
        AND COALESCE(resent_at, sent_at) < $2::timestamptz - LEAST($5::interval * 2 ^ LEAST(resent, 20), $6::interval)
    ORDER BY resent, tick LIMIT $7 FOR UPDATE OF ticks SKIP LOCKED
"""


class LostTick(Struct, frozen=True):
    """A tick that is to be fired once more."""

    schedule: str
    tick: datetime


async def resume(stores: Stores, send: Callable[[LostTick], object], *, moment: datetime) -> int:
    """Have those that are due for it sent again; answers how many were. Raises what `send` raises: those are due still."""
    async with stores.core.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            _LOST, ACTOR, moment, LONGEST_LOOK, GIVEN_UP, FIRST_WAIT, LONGEST_WAIT, _MOST
        )
        for row in rows:
            await _resend(connection, LostTick(row["schedule"], row["tick"]), send, moment)
    return len(rows)


async def _resend(
    connection: asyncpg.Connection, lost: LostTick, send: Callable[[LostTick], object], moment: datetime
) -> None:
    send(lost)
    await connection.execute(
        "UPDATE ticks SET resent = resent + 1, resent_at = $3 WHERE schedule = $1 AND tick = $2",
        lost.schedule,
        lost.tick,
        moment,
    )
    logger.bind(schedule=lost.schedule, tick=lost.tick).warning("tick.resumed")
