"""What is said of the audit's record by those who hold it to its seals, each for itself: the sealer, the archiver, the verifier.

It lies in the core DB. Where the record is at fault the audit store may take nothing more, and could not tell.
"""

from datetime import datetime

import asyncpg
from msgspec import Struct

SEALER, ARCHIVER, VERIFIER = "sealer", "archiver", "verifier"

_SAY = """
INSERT INTO audit_verdicts AS held (source, place, reason, since, said_at)
VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp())
ON CONFLICT (source) DO UPDATE SET place = $2, reason = $3, said_at = excluded.said_at,
    since = CASE WHEN held.place IS NOT DISTINCT FROM $2 THEN held.since ELSE excluded.since END
"""


class Verdict(Struct, frozen=True):
    """What somebody has said: where the first fault is, and what; None: there is none. `since` it is there, `said_at` last."""

    source: str
    place: str | None
    reason: str | None
    since: datetime
    said_at: datetime


async def say(
    core: asyncpg.Pool | asyncpg.Connection, source: str, place: str | None = None, reason: str | None = None
) -> None:
    """Keep what is found: a fault, with its place and reason, or none."""
    await core.execute(_SAY, source, place, reason)


async def read_verdicts(core: asyncpg.Pool | asyncpg.Connection) -> dict[str, Verdict]:
    """By source; of whoever has not looked yet there is none."""
    rows = await core.fetch("SELECT source, place, reason, since, said_at FROM audit_verdicts")
    return {row["source"]: Verdict(**row) for row in rows}
