"""Who leads: one row per office, held for a few seconds at a time by the core DB's clock.

A lease, not an advisory lock: a lock is kept by a leader whose process is frozen or whose machine has dropped off
the network for as long as its connection lasts, a lease runs out by itself. It promises that somebody leads soon,
not that only one acts: a leader that thaws may finish a step. The steps bear that, see app/scheduling/ticks.py.
"""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime

import asyncpg

SCHEDULER = "scheduler"  # the office of firing schedules


@dataclass(frozen=True)
class Leader:
    """Who holds an office, since when, and until when unless renewed; by the core DB's clock."""

    holder: str
    acquired_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Claim:
    """The answer to a claim: whether the office is held, and the core DB's clock."""

    held: bool
    now: datetime


def new_holder() -> str:
    """A name for this process that no other process bears, readable in the lease row."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


_CLAIM = """
WITH won AS (
    INSERT INTO leases AS l (name, holder, acquired_at, expires_at)
    VALUES ($1, $2, clock_timestamp(), clock_timestamp() + make_interval(secs => $3))
    ON CONFLICT (name) DO UPDATE SET
        holder = excluded.holder, expires_at = excluded.expires_at,
        acquired_at = CASE WHEN l.holder = excluded.holder THEN l.acquired_at ELSE excluded.acquired_at END
    WHERE l.holder = excluded.holder OR l.expires_at <= clock_timestamp()
    RETURNING 1
)
SELECT EXISTS (SELECT FROM won) AS held, clock_timestamp() AS now
"""


async def claim(core: asyncpg.Pool | asyncpg.Connection, name: str, holder: str, *, seconds: float) -> Claim:
    """Take or renew an office for so many seconds; not held where another holder's lease still runs."""
    row = await core.fetchrow(_CLAIM, name, holder, seconds)
    return Claim(held=row["held"], now=row["now"])


async def release(core: asyncpg.Pool | asyncpg.Connection, name: str, holder: str) -> None:
    """Give an office up at once; does nothing where another holds it."""
    await core.execute("DELETE FROM leases WHERE name = $1 AND holder = $2", name, holder)


async def leader(core: asyncpg.Pool | asyncpg.Connection, name: str = SCHEDULER) -> Leader | None:
    """Who leads now; None where nobody does: none runs, or the last leader's lease has run out."""
    row = await core.fetchrow(
        "SELECT holder, acquired_at, expires_at FROM leases WHERE name = $1 AND expires_at > clock_timestamp()",
        name,
    )
    return None if row is None else Leader(row["holder"], row["acquired_at"], row["expires_at"])
