"""What the provider tells after it has taken a mail: that it has arrived, has come back, or was complained about."""

from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from msgspec import Struct, structs

from app.notifications.addresses.suppressing import suppress
from app.notifications.delivering.transports.transport import withheld
from app.notifications.ledger import moving
from app.notifications.ledger.moving import Move
from app.notifications.ledger.states import WAYS, State
from app.notifications.ledger.views import Scope
from app.notifications.templates.content import Kind
from app.stores.connections import Stores

BY = "provider"
CallbackKind = Literal["delivered", "bounced", "complained", "deferred"]
# Nobody is written to again who said that this was spam, but for what is about something of theirs.
_COMPLAINED: tuple[Scope, ...] = ("alert", "digest")


class Callback(Struct, frozen=True):
    """As the provider tells it. `event` is its own id of it: what it tells twice counts once. `permanent`: of a bounce."""

    event: str
    notification: UUID
    kind: CallbackKind
    at: datetime
    permanent: bool = True
    detail: str | None = None


async def take(stores: Stores, told: Callback, *, moment: datetime) -> bool:
    """Take what the provider tells; answers whether it is new. Raises NotFoundError for a mail that is none of ours.

    What is told late or out of order leads nowhere where there is no way: it is kept all the same.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        row = await moving.lock_one(connection, told.notification)
        secret = Kind(row["kind"]) is Kind.SECURITY or row["email"] is None
        if told.detail is not None and secret:
            told = structs.replace(told, detail=withheld(told.detail))
        if not await _keep(connection, told, moment):
            return False
        before, after = State(row["state"]), _state_after(told)
        if after in WAYS[before]:
            move = Move(row["id"], before, after, told.detail)
            await moving.move_all(connection, [move], by=BY, moment=moment)
        await _suppress(connection, row, told, moment)
    return True


def _state_after(told: Callback) -> State | None:
    """What a mail comes to. One that came back for the time being may arrive yet."""
    if told.kind == "delivered":
        return State.DELIVERED
    return State.FAILED if told.kind == "bounced" and told.permanent else None


async def _keep(connection: asyncpg.Connection, told: Callback, moment: datetime) -> bool:
    kept = await connection.fetchval(
        """
        INSERT INTO notification_callbacks (provider_event, notification_id, kind, at, received_at, detail)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true
        """,
        told.event,
        told.notification,
        told.kind,
        told.at,
        moment,
        told.detail,
    )
    return bool(kept)


async def _suppress(
    connection: asyncpg.Connection, row: asyncpg.Record, told: Callback, moment: datetime
) -> None:
    if row["email_key"] is None:
        return
    if told.kind == "bounced" and told.permanent:
        await suppress(
            connection, row["email_key"], "all", "hard_bounce", by=BY, moment=moment, notification=row["id"]
        )
    if told.kind == "complained":
        for scope in _COMPLAINED:
            await suppress(
                connection, row["email_key"], scope, "complaint", by=BY, moment=moment, notification=row["id"]
            )
