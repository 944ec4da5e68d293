"""Taking mails that are due, so that nobody else has them meanwhile; and deciding about those that are not to go any more.

Whoever has claimed a mail and dies leaves an open attempt behind. Where the provider can have the mail, and would send it
twice, it is parked; otherwise it is tried again, under the same key.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
from msgspec import Struct

from app.notifications.ledger import moving
from app.notifications.ledger.moving import Move
from app.notifications.ledger.states import State

CLAIMED = timedelta(minutes=5)
"""Longer than any hand-over takes."""
PORTION, PORTIONS = 1000, 10
"""Mails that are ended in one transaction once their time is over, and transactions in one go."""
MOST_DEATHS = 12
"""Attempts whose process has died, or lost the database, before a mail is given up: it may be what they die of."""
SUSPECT = 2
"""Of those deaths; from then on a mail is claimed alone, so that it takes no others along."""

KEY_KEPT = timedelta(hours=23)
"""For so long a provider that takes a mail once per key certainly knows the key: an hour less than it has to keep it."""

BY = "core"

# The provider may have it: an attempt got as far as that, and was not told that it has not.
DOUBTFUL = """
    EXISTS (SELECT FROM notification_attempts WHERE notification_id = row.id AND handed_at IS NOT NULL
        AND (ended_at IS NULL OR outcome IN ('unknown', 'abandoned')))
"""
# When it was handed over first without being told what came of it.
_SINCE = """
    (SELECT min(handed_at) FROM notification_attempts
        WHERE notification_id = row.id AND (ended_at IS NULL OR outcome IN ('unknown', 'abandoned')))
"""
# What is looked at next is also what nobody holds: a claim moves `next_at` to its own end. One priority after the other, so that
# each is a range of the index, however much waits.
_LOCK_DUE = f"""
    SELECT due.id FROM generate_series(0, 5) AS wanted (priority), LATERAL (
        SELECT id FROM notifications WHERE transport = $2 AND notifications.priority = wanted.priority AND next_at <= $1
            AND ($4::boolean OR attempts - tries < {SUSPECT})
        ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ) AS due
    LIMIT CASE WHEN EXISTS (SELECT FROM transport_circuits WHERE name = $2 AND state <> 'closed') THEN 0 ELSE $3 END
"""
# Of a service that failed, one mail finds out whether it works again: any, of those that were tried least. Mails that make it
# fail themselves are not in the way of all others so, whatever their priority.
_LOCK_TRIAL = """
    WITH due AS (
        SELECT first.* FROM generate_series(0, 5) AS wanted (priority), LATERAL (
            SELECT id, tries FROM notifications
            WHERE transport = $2 AND notifications.priority = wanted.priority AND next_at <= $1
                AND (not_after IS NULL OR not_after > $1)
            ORDER BY next_at LIMIT 100
        ) AS first
        WHERE EXISTS (
            SELECT FROM transport_circuits WHERE name = $2 AND state <> 'closed' AND trial_at <= clock_timestamp())
    )
    SELECT row.id FROM due JOIN notifications AS row USING (id) WHERE next_at <= $1
    ORDER BY due.tries, random() LIMIT 1 FOR UPDATE OF row SKIP LOCKED
"""
_LOCK_LATE = """
    SELECT id FROM notifications
    WHERE not_after <= $1 AND next_at IS NOT NULL AND (claimed_until IS NULL OR claimed_until <= $1)
    ORDER BY not_after LIMIT $2 FOR UPDATE SKIP LOCKED
"""
# A statement of its own: what others have written down until the rows were locked is seen by none that began before.
_DUE = f"""
    SELECT row.*, template.enabled, template.disabled_because, {DOUBTFUL} AS doubtful, {_SINCE} AS since,
        (SELECT reason FROM suppressions WHERE email_key = row.email_key AND scope IN ('all', row.kind) LIMIT 1) AS suppressed_by
    FROM notifications AS row LEFT JOIN notification_templates AS template ON template.name = row.template
    WHERE id = ANY($1) ORDER BY priority, next_at
"""
_CLAIM = """
    WITH claimed AS (
        UPDATE notifications SET claimed_by = $2, claimed_until = $3, next_at = $3, attempts = attempts + 1, updated_at = $4
        WHERE id = ANY($1) RETURNING id, attempts, transport
    )
    INSERT INTO notification_attempts (notification_id, number, transport, started_at)
    SELECT id, attempts, transport, $4 FROM claimed
"""


class Claim(Struct, frozen=True):
    """A mail that is ours to hand over, and the number of the attempt. Its row is as it was before."""

    row: asyncpg.Record
    holder: str
    number: int

    @property
    def id(self) -> UUID:
        notification: UUID = self.row["id"]
        return notification


class Claimed(Struct, frozen=True):
    """What was claimed, and how many mails were looked at: those that are not to go have ended."""

    claims: Sequence[Claim]
    looked_at: int


async def claim(
    core: asyncpg.Pool,
    transport: str,
    limit: int,
    *,
    dedupes: bool,
    moment: datetime,
    suspects: bool = True,
) -> Claimed:
    """Claim up to so many mails that are due, for a transport that is there; `dedupes` is what it is, see `Transport`.

    Without `suspects` none is claimed that may be what processes die of; see `is_suspect`.
    """
    holder = uuid4().hex
    async with core.acquire() as connection, connection.transaction():
        due = await connection.fetch(_LOCK_DUE, moment, transport, limit, suspects)
        due = due or await connection.fetch(_LOCK_TRIAL, moment, transport)
        rows = _alone(await connection.fetch(_DUE, [row["id"] for row in due]) if due else [])
        over = await _end(connection, rows, moment, dedupes=dedupes)
        claims = [Claim(row, holder, row["attempts"] + 1) for row in rows if row["id"] not in over]
        await _take(connection, claims, holder, moment)
    return Claimed(claims, len(rows))


def is_suspect(row: asyncpg.Record) -> bool:
    """Whether whoever had this mail has died more than once."""
    return bool(row["attempts"] - row["tries"] >= SUSPECT)


def _alone(rows: Sequence[asyncpg.Record]) -> Sequence[asyncpg.Record]:
    """Of these the first suspect, alone; all, where there is none."""
    return next(([row] for row in rows if is_suspect(row)), rows)


async def expire(core: asyncpg.Pool, moment: datetime | None = None) -> int:
    """End mails whose time is over and which nobody holds, whether or not their transport is there or works; answers how many.

    Without `moment` the core DB tells the time. What is left after so many is left to the next one who comes.
    """
    at, done = moment or await core.fetchval("SELECT clock_timestamp()"), 0
    for _ in range(PORTIONS):
        ended = await _expire_some(core, at)
        done += ended
        if ended < PORTION:
            break
    return done


async def _expire_some(core: asyncpg.Pool, moment: datetime) -> int:
    async with core.acquire() as connection, connection.transaction():
        late = await connection.fetch(_LOCK_LATE, moment, PORTION)
        rows = await connection.fetch(_DUE, [row["id"] for row in late]) if late else []
        return len(await _end(connection, rows, moment, dedupes=True))


async def next_due(core: asyncpg.Pool, transport: str) -> datetime | None:
    """When the next mail of a transport is to be looked at; None where none waits."""
    found: datetime | None = await core.fetchval(
        """
        SELECT GREATEST(min(first.next_at), (SELECT trial_at FROM transport_circuits WHERE name = $1 AND state <> 'closed'))
        FROM generate_series(0, 5) AS wanted (priority), LATERAL (
            SELECT next_at FROM notifications
            WHERE transport = $1 AND notifications.priority = wanted.priority AND next_at IS NOT NULL
            ORDER BY next_at LIMIT 1
        ) AS first
        HAVING min(first.next_at) IS NOT NULL
        """,
        transport,
    )
    return found


async def _end(
    connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], moment: datetime, *, dedupes: bool
) -> set[UUID]:
    """Of rows that are locked, end those that are not to be handed over; answers which."""
    await _abandon(connection, rows, moment)
    ended = [move for row in rows if (move := _ended(row, moment, dedupes=dedupes))]
    await moving.move_all(connection, ended, by=BY, moment=moment)
    return {each.id for each in ended}


def _ended(row: asyncpg.Record, moment: datetime, *, dedupes: bool) -> Move | None:
    """The step of a mail that is not to be handed over; None where it is."""
    before, doubtful = State(row["state"]), row["doubtful"]
    if doubtful and not dedupes:
        because = "the process that was sending it died, and the provider would send it a second time"
        return Move(row["id"], before, State.UNKNOWN, because)
    if doubtful and row["since"] <= moment - KEY_KEPT:
        because = "nobody knows whether it has gone, and the provider may not know its key any more"
        return Move(row["id"], before, State.UNKNOWN, because)
    if not (reason := _reason_against(row, moment)):
        return None
    after, because = reason
    if doubtful:
        return Move(row["id"], before, State.UNKNOWN, f"it may have gone before; now {because}")
    return Move(row["id"], before, after, because)


def _reason_against(row: asyncpg.Record, moment: datetime) -> tuple[State, str] | None:
    """Why a mail is not to go any more, and what it comes to."""
    if row["email"] is None:
        return _addressed_to_nobody(row)
    if row["not_after"] and row["not_after"] <= moment:
        return State.EXPIRED, "its time was over before it could go"
    if row["enabled"] is False:
        return State.SUPPRESSED, f"the template is disabled: {row['disabled_because']}"
    if row["suppressed_by"]:
        return State.SUPPRESSED, f"the address is blocked: {row['suppressed_by']}"
    if row["attempts"] - row["tries"] >= MOST_DEATHS:
        return State.FAILED, f"the process that was sending it died, {MOST_DEATHS} times"
    return None


def _addressed_to_nobody(row: asyncpg.Record) -> tuple[State, str]:
    """Whoever is forgotten has had what the mail says erased with the address."""
    if row["erased_at"]:
        return State.CANCELLED, "the person was forgotten"
    if row["recipient_id"]:
        return State.SUPPRESSED, "nobody may have it: another account has the address that was given"
    return State.SUPPRESSED, "nobody may have it: there is no account with the address that was given"


async def _abandon(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], moment: datetime) -> None:
    """End the attempts of whoever has died."""
    left = [row["id"] for row in rows if row["claimed_by"] is not None]
    if left:
        await connection.execute(
            """
            UPDATE notification_attempts SET ended_at = $2, outcome = 'abandoned', detail = 'the process died'
            WHERE notification_id = ANY($1) AND ended_at IS NULL
            """,
            left,
            moment,
        )


async def _take(
    connection: asyncpg.Connection, claims: Sequence[Claim], holder: str, moment: datetime
) -> None:
    if not claims:
        return
    states = [(each.id, State(each.row["state"])) for each in claims]
    new = [Move(each, before, State.SENDING) for each, before in states if before is not State.SENDING]
    await moving.move_all(connection, new, by=BY, moment=moment)
    await connection.execute(_CLAIM, [each.id for each in claims], holder, moment + CLAIMED, moment)
