"""What consumers and operators decide about notifications: take one back, send it at another time, send it again.

An operator decides about all of them. Where a `client` is named, that one decides, about what it has itself asked for.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from app.errors import ConflictError, CoreError, Fault, ForbiddenError, InvalidInputError
from app.notifications.asking.triggering import check_times
from app.notifications.delivering.claiming import DOUBTFUL
from app.notifications.ledger import moving
from app.notifications.ledger.forgetting import hold_off
from app.notifications.ledger.moving import Move
from app.notifications.ledger.queries import Filters, get_notification
from app.notifications.ledger.states import RETRYABLE, State
from app.notifications.ledger.views import NotificationView
from app.notifications.templates.content import OURS
from app.stores.connections import Stores

MOST_AT_ONCE = 1000


class Retried(Struct, frozen=True):
    """What became of a retry: the new notifications by the old ones, and why there is none of some."""

    retried: dict[UUID, UUID]
    refused: dict[UUID, str]


async def cancel(
    stores: Stores,
    notification: UUID,
    *,
    by: str,
    reason: str | None,
    moment: datetime,
    client: str | None = None,
) -> NotificationView:
    """Take a mail back that the provider cannot have yet. Raises NotFoundError, ForbiddenError, ConflictError."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await moving.lock_one(connection, notification)
        await _check_theirs(connection, row, client)
        await _check_unsent(connection, row)
        move = Move(notification, State(row["state"]), State.CANCELLED, reason)
        await moving.move_all(connection, [move], by=by, moment=moment, reason=reason)
        return await get_notification(connection, notification)


async def reschedule(
    stores: Stores,
    notification: UUID,
    *,
    send_at: datetime,
    by: str,
    moment: datetime,
    client: str | None = None,
) -> NotificationView:
    """Send a mail at another time; one that lies in the past is now.

    Raises NotFoundError, ForbiddenError, ConflictError, InvalidInputError.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        row = await moving.lock_one(connection, notification)
        await _check_theirs(connection, row, client)
        if row["state"] not in (State.SCHEDULED, State.PENDING):
            raise ConflictError(f"the notification is {row['state']}: its time cannot be changed any more")
        check_times(send_at, None, moment)
        due = max(send_at, moment)
        if row["not_after"] and row["not_after"] <= due:
            late = f"must lie before {row['not_after'].isoformat()}: after that the mail is not to go"
            raise InvalidInputError("a time that cannot be kept", [Fault("send_at", late)])
        after = State.SCHEDULED if due > moment else State.PENDING
        move = Move(notification, State(row["state"]), after, f"to be sent at {due.isoformat()}", due)
        await connection.execute("UPDATE notifications SET send_at = $2 WHERE id = $1", notification, due)
        await moving.move_all(connection, [move], by=by, moment=moment)
        return await get_notification(connection, notification)


async def retry(
    stores: Stores,
    notifications: Sequence[UUID],
    *,
    by: str,
    reason: str,
    moment: datetime,
    client: str | None = None,
) -> Retried:
    """Send mails again that have not gone, each as a notification of its own; the old ones stay what they are.

    Of one that may have gone, nobody knows whether its recipient gets it twice: whoever retries it takes that upon them, and
    only an operator may. Raises ForbiddenError.
    """
    retried: dict[UUID, UUID] = {}
    refused: dict[UUID, str] = {}
    async with stores.core.acquire() as connection, connection.transaction():
        await hold_off(connection)
        rows = await moving.lock(connection, notifications)
        for row in rows.values():
            await _check_theirs(connection, row, client)
            if client is not None and row["state"] == State.UNKNOWN:
                raise ForbiddenError("the mail may have gone: only an operator may send it again")
        for notification in dict.fromkeys(notifications):
            try:
                retried[notification] = await _again(connection, rows.get(notification), by, reason, moment)
            except CoreError as error:
                refused[notification] = str(error)
    return Retried(retried, refused)


async def find_failed(
    stores: Stores, filters: Filters, *, moment: datetime, limit: int = MOST_AT_ONCE
) -> list[UUID]:
    """The oldest notifications that can be retried and were not, of a template or a batch where one is named."""
    rows = await stores.core.fetch(
        """
        SELECT id FROM notifications AS row WHERE state = $1 AND ($2::text IS NULL OR template = $2)
            AND ($3::uuid IS NULL OR batch_id = $3) AND NOT EXISTS (SELECT 1 FROM notifications WHERE retry_of = row.id)
            AND email IS NOT NULL AND (data IS NOT NULL OR locked_data IS NOT NULL)
            AND (not_after IS NULL OR not_after > $5)
        ORDER BY id LIMIT $4
        """,
        filters.state or State.FAILED,
        filters.template,
        filters.batch,
        limit,
        moment,
    )
    return [row["id"] for row in rows]


_AGAIN = """
    INSERT INTO notifications (batch_id, template, template_version, kind, locale, recipient_kind, recipient_id, email, email_key,
        data, locked_data, priority, state, transport, send_at, not_after, next_at, retry_of, created_at, updated_at)
    SELECT batch_id, template, template_version, kind, locale, recipient_kind, recipient_id, email, email_key,
        data, locked_data, priority, $2, transport, $3, not_after, LEAST($3, clock_timestamp()), id, $3, $3
    FROM notifications WHERE id = $1 ON CONFLICT (retry_of) DO NOTHING RETURNING id
"""


async def _again(
    connection: asyncpg.Connection, row: asyncpg.Record | None, by: str, reason: str, moment: datetime
) -> UUID:
    if row is None:
        raise ConflictError("there is no such notification")
    if row["state"] not in RETRYABLE:
        raise ConflictError(f"it is {row['state']}")
    if row["email"] is None and row["erased_at"] is None:
        raise ConflictError("nobody may have it")
    if row["email"] is None or (row["data"] is None and row["locked_data"] is None):
        raise ConflictError("what it was filled with is erased")
    if row["not_after"] and row["not_after"] <= moment:
        raise ConflictError("its time is over")
    made: UUID | None = await connection.fetchval(_AGAIN, row["id"], State.PENDING, moment)
    if made is None:
        raise ConflictError("it was retried before")
    await connection.execute(
        "INSERT INTO notification_events (notification_id, number, at, state, because, caused_by) VALUES ($1, 1, $2, $3, $4, $5)",
        made,
        moment,
        State.PENDING,
        f"retry of {row['id']}: {reason}",
        by,
    )
    await moving.tell(connection, [(made, State.PENDING, f"retry of {row['id']}")], by=by, reason=reason)
    return made


def is_theirs(client: str, asked_through: str | None, kind: str) -> bool:
    """Whether a client decides about a mail that was asked for through this one."""
    return asked_through == client and kind not in OURS


async def _check_theirs(connection: asyncpg.Connection, row: asyncpg.Record, client: str | None) -> None:
    if client is None:
        return
    query = "SELECT client FROM notification_batches WHERE id = $1"
    if not is_theirs(client, await connection.fetchval(query, row["batch_id"]), row["kind"]):
        raise ForbiddenError("this client has not asked for the mail: only an operator may decide about it")


async def _check_unsent(connection: asyncpg.Connection, row: asyncpg.Record) -> None:
    """Refuse where the provider may have it. Whoever has claimed it and not handed it over yet finds that it is theirs no more."""
    doubtful = await connection.fetchval(
        f"SELECT {DOUBTFUL} FROM notifications AS row WHERE id = $1", row["id"]
    )
    if doubtful and row["state"] == State.SENDING:
        raise ConflictError("the provider may have the mail already")


async def resolve(
    stores: Stores, notification: UUID, *, sent: bool, by: str, reason: str, moment: datetime
) -> NotificationView:
    """Say of a mail that may have gone whether it has. Raises NotFoundError; ConflictError where that is no question."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await moving.lock_one(connection, notification)
        if row["state"] != State.UNKNOWN:
            raise ConflictError(f"the notification is {row['state']}: there is no doubt about it")
        after = State.SENT if sent else State.FAILED
        move = Move(notification, State.UNKNOWN, after, reason)
        await moving.move_all(connection, [move], by=by, moment=moment, reason=reason)
        return await get_notification(connection, notification)
