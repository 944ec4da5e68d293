"""Taking mails that are due, so that nobody else has them meanwhile; and deciding about those that are not to go any more.

Whoever has claimed a mail and dies leaves an open attempt behind. Where the provider can have the mail, and would send it twice,
it is parked; otherwise it is tried again, under the same key.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
from msgspec import Struct

from app.notifications import ledger
from app.notifications.ledger import Move
from app.notifications.states import State

CLAIMED = timedelta(minutes=5)
"""Longer than any hand-over takes."""

BY = "core"

# What is looked at next is also what nobody holds: a claim moves `next_at` to its own end.
_DUE = """
    SELECT row.*, template.enabled, template.disabled_because, suppression.reason AS suppressed_by,
        attempt.number AS open_attempt, attempt.handed_at
    FROM notifications AS row
    JOIN notification_templates AS template ON template.name = row.template
    LEFT JOIN LATERAL (
        SELECT reason FROM suppressions WHERE email_key = row.email_key AND scope IN ('all', row.kind) LIMIT 1
    ) AS suppression ON true
    LEFT JOIN LATERAL (
        SELECT number, handed_at FROM notification_attempts WHERE notification_id = row.id AND ended_at IS NULL
        ORDER BY number DESC LIMIT 1
    ) AS attempt ON true
    WHERE next_at <= $1 AND transport = ANY($2) AND NOT EXISTS (
        SELECT 1 FROM transport_circuits AS circuit
        WHERE circuit.name = row.transport AND state <> 'closed' AND trial_at > clock_timestamp())
    ORDER BY priority, next_at LIMIT $3 FOR UPDATE OF row SKIP LOCKED
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
    """A mail that is ours to hand over, and the number of the attempt."""

    row: asyncpg.Record
    holder: str
    number: int

    @property
    def id(self) -> UUID:
        notification: UUID = self.row["id"]
        return notification


class Claimed(Struct, frozen=True):
    """What was claimed, and how many mails were looked at: there may be more where it is as many as were asked for."""

    claims: Sequence[Claim]
    looked_at: int


async def claim(core: asyncpg.Pool, dedupes: Mapping[str, bool], limit: int, moment: datetime) -> Claimed:
    """Claim up to so many mails that are due. `dedupes` are the transports that there are, see `Transport`."""
    holder = uuid4().hex
    async with core.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_DUE, moment, list(dedupes), limit)
        ended = [move for row in rows if (move := _ended(row, dedupes[row["transport"]], moment))]
        await _abandon(connection, rows, moment)
        await ledger.move_all(connection, ended, by=BY, moment=moment)
        over = {each.id for each in ended}
        claims = [Claim(row, holder, row["attempts"] + 1) for row in rows if row["id"] not in over]
        await _take(connection, claims, holder, moment)
    return Claimed(claims, len(rows))


async def next_due(core: asyncpg.Pool, transports: Sequence[str]) -> datetime | None:
    """When the next mail is to be looked at; None where none waits."""
    found: datetime | None = await core.fetchval(
        """
        SELECT min(GREATEST(next_at, CASE WHEN state <> 'closed' THEN trial_at END))
        FROM (SELECT transport, min(next_at) AS next_at FROM notifications WHERE next_at IS NOT NULL AND transport = ANY($1)
              GROUP BY transport) AS waiting
        LEFT JOIN transport_circuits ON name = transport
        """,
        list(transports),
    )
    return found


def _ended(row: asyncpg.Record, dedupes: bool, moment: datetime) -> Move | None:  # noqa: FBT001
    """The step of a mail that is not to be handed over; None where it is."""
    before = State(row["state"])
    if row["handed_at"] and not dedupes:
        because = "the process that was sending it died, and the provider would send it a second time"
        return Move(row["id"], before, State.UNKNOWN, because)
    if row["not_after"] and row["not_after"] <= moment:
        return Move(row["id"], before, State.EXPIRED, "its time was over before it could go")
    if not row["enabled"]:
        because = f"the template is disabled: {row['disabled_because']}"
        return Move(row["id"], before, State.SUPPRESSED, because)
    if row["suppressed_by"]:
        return Move(row["id"], before, State.SUPPRESSED, f"the address is blocked: {row['suppressed_by']}")
    return None


async def _abandon(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record], moment: datetime) -> None:
    """End the attempts of whoever has died."""
    left = [row["id"] for row in rows if row["open_attempt"] is not None]
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
    new = [
        Move(each.id, State(each.row["state"]), State.SENDING)
        for each in claims
        if each.row["state"] != State.SENDING
    ]
    await ledger.move_all(connection, new, by=BY, moment=moment)
    if claims:
        await connection.execute(_CLAIM, [each.id for each in claims], holder, moment + CLAIMED, moment)
