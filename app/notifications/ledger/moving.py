"""The rows of notifications, and every step from one state to another: the row, its transition and its audit fact at once."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from app.audit.entries import Fact
from app.audit.outbox import record_all
from app.errors import NotFoundError
from app.notifications.ledger.states import State, check_way

ENTITY = "notifications"


class Move(Struct, frozen=True):
    """A notification comes to a state. `next_at`: when it is looked at next, None where nothing more is to be done."""

    id: UUID
    before: State
    after: State
    because: str | None = None
    next_at: datetime | None = None
    provider_id: str | None = None


async def lock(
    connection: asyncpg.Connection, ids: Collection[UUID], *, skip_locked: bool = False
) -> dict[UUID, asyncpg.Record]:
    """The rows with these ids, locked until the transaction ends, always in the same order."""
    rows = await connection.fetch(
        f"SELECT * FROM notifications WHERE id = ANY($1) ORDER BY id FOR UPDATE {'SKIP LOCKED' if skip_locked else ''}",
        list(ids),
    )
    return {row["id"]: row for row in rows}


async def lock_one(connection: asyncpg.Connection, notification: UUID) -> asyncpg.Record:
    """One row, as `lock`; raises NotFoundError."""
    found = await lock(connection, [notification])
    if notification not in found:
        raise NotFoundError(f"no notification {notification}")
    return found[notification]


async def move_all(
    connection: asyncpg.Connection,
    moves: Sequence[Move],
    *,
    by: str,
    moment: datetime,
    reason: str | None = None,
) -> None:
    """Carry these steps out on rows that the open transaction has locked; whoever had claimed them has them no more.

    Raises ConflictError where there is no way from one state to the other: then none is carried out.
    """
    for each in moves:
        check_way(each.before, each.after)
    if not moves:
        return
    await connection.execute(
        """
        WITH moved AS (
            UPDATE notifications AS row SET state = given.state, because = given.because, next_at = given.next_at,
                provider_id = COALESCE(given.provider_id, row.provider_id), claimed_by = NULL, claimed_until = NULL,
                locked_data = CASE WHEN given.state IN ('sent', 'delivered') THEN NULL ELSE locked_data END, -- a secret that is used
                version = version + 1, updated_at = $6
            FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[])
                AS given (id, state, because, next_at, provider_id)
            WHERE row.id = given.id RETURNING row.id, row.version, row.state, row.because
        )
        INSERT INTO notification_events (notification_id, number, at, state, because, caused_by)
        SELECT id, version, $6, state, because, $7 FROM moved
        """,
        [each.id for each in moves],
        [each.after for each in moves],
        [each.because for each in moves],
        [each.next_at for each in moves],
        [each.provider_id for each in moves],
        moment,
        by,
    )
    await tell(connection, [(each.id, each.after, each.because) for each in moves], by=by, reason=reason)


async def tell(
    connection: asyncpg.Connection,
    states: Sequence[tuple[UUID, State, str | None]],
    *,
    by: str,
    reason: str | None = None,
) -> None:
    """Record in the open transaction what states notifications have come to, and why."""
    await record_all(
        connection,
        Fact.NOTIFICATION_MOVED,
        [
            {
                "by": by,
                "target": str(notification),
                "reason": reason,
                "detail": {"state": state.value, "because": because},
                "entity": ENTITY,
                "key": str(notification),
            }
            for notification, state, because in states
        ],
    )
