"""Asking for mail: one function for whoever does, a service, a schedule or an event of ours.

What is asked for becomes rows in the transaction of whatever caused it: either both are there afterwards, or neither.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from app.accounts.encryption import Safe
from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import Fault, InvalidInputError
from app.notifications.addresses.recipients import Resolved
from app.notifications.delivering.letters import place_of
from app.notifications.ledger import moving
from app.notifications.ledger.forgetting import hold_off
from app.notifications.ledger.states import State
from app.notifications.templates.catalogue import Version
from app.notifications.templates.content import Kind

AHEAD = timedelta(days=366)
"""How far in the future a mail may be asked for."""

NORMAL = 3
FIRST = 0
"""Of mail about accounts, and alerts to operators: nobody can order it, and so nobody gets in its way."""


class Occasion(Struct, frozen=True):
    """For what a schedule sends a mail: once for each moment and name, whoever fires it and however often.

    `tick` is the moment at which the mail was due because of what the name tells; see `plans.plan`.
    """

    schedule: str
    tick: datetime
    name: str


class Mailing(Struct, frozen=True):
    """One mail of an order: to whom, with what, in which language."""

    recipient: Resolved
    data: dict[str, Any]
    locale: str
    occasion: Occasion | None = None


class Order(Struct, frozen=True, kw_only=True):
    """What is asked for. The data of every mailing were held to the template's schema."""

    template: Version
    mailings: Sequence[Mailing]
    transport: str
    send_at: datetime | None = None
    not_after: datetime | None = None
    priority: int = NORMAL
    metadata: Mapping[str, Any] = {}


class Batch(Struct, frozen=True):
    """What an order became: its id, and the notifications in the order of the mailings that were new."""

    id: UUID
    notifications: Sequence[UUID]


def check_times(send_at: datetime | None, not_after: datetime | None, moment: datetime) -> None:
    """Raises InvalidInputError for a time that is too far off, or a mail that could never go."""
    faults = []
    if send_at is not None and send_at > moment + AHEAD:
        faults.append(Fault("send_at", f"lies more than {AHEAD.days} days ahead"))
    if not_after is not None and not_after <= max(send_at or moment, moment):
        faults.append(Fault("not_after", "must lie after the time of sending, and after now"))
    if faults:
        raise InvalidInputError("times that cannot be kept", faults)


async def trigger(
    connection: asyncpg.Connection,
    order: Order,
    *,
    by: str,
    moment: datetime,
    safe: Safe,
    client: str | None = None,
) -> Batch:
    """Make the notifications in the open transaction. What a schedule has sent before on the same occasion is left out.

    `client`: through which one of them somebody has asked for it.
    """
    await hold_off(connection)
    batch = await connection.fetchval(
        "INSERT INTO notification_batches (caused_by, client, template, metadata) VALUES ($1, $2, $3, $4) RETURNING id",
        by,
        client,
        order.template.name,
        msgspec.json.encode(order.metadata).decode(),
    )
    state = State.SCHEDULED if order.send_at and order.send_at > moment else State.PENDING
    rows = await connection.fetch(_INSERT, batch, *_values(order, state, moment), by, *_columns(order, safe))
    made = [row["id"] for row in rows]
    detail = {"template": order.template.name, "version": order.template.version, "count": len(made)}
    await record(
        connection,
        Fact.NOTIFICATIONS_ASKED,
        by=by,
        target=str(batch),
        detail=detail,
        entity="notification_batches",
        key=str(batch),
    )
    await moving.tell(connection, [(each, state, None) for each in made], by=by)
    return Batch(batch, made)


_COLUMNS = 10
# Mailings come as arrays, one element each. The order of the ids is that of the mailings: uuidv7() grows. What is to go now is due
# by the core DB's clock as well, should ours be ahead.
_INSERT = """
WITH made AS (
    INSERT INTO notifications (batch_id, template, template_version, kind, priority, state, transport, send_at, not_after, next_at,
        created_at, updated_at,
        locale, recipient_kind, recipient_id, email, email_key, data, locked_data, schedule, tick, occasion)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $6 = 'pending' THEN LEAST($8, clock_timestamp()) ELSE $8 END, $10, $10,
        locale, recipient_kind, recipient_id, email, email_key, data, locked_data, schedule, tick, occasion
    FROM unnest($12::text[], $13::text[], $14::uuid[], $15::text[], $16::text[], $17::jsonb[], $18::text[],
            $19::text[], $20::timestamptz[], $21::text[]) WITH ORDINALITY
        AS given (locale, recipient_kind, recipient_id, email, email_key, data, locked_data, schedule, tick, occasion, place)
    ORDER BY place
    ON CONFLICT (schedule, tick, occasion) WHERE schedule IS NOT NULL DO NOTHING
    RETURNING id, version
), told AS (
    INSERT INTO notification_events (notification_id, number, at, state, caused_by) SELECT id, version, $10, $6, $11 FROM made
)
SELECT id FROM made ORDER BY id
"""


def _values(order: Order, state: State, moment: datetime) -> tuple[Any, ...]:
    """What all mailings of an order have in common, $2 to $10."""
    template = order.template
    return (
        template.name,
        template.version,
        template.kind,
        order.priority,
        state,
        order.transport,
        order.send_at or moment,
        order.not_after,
        moment,
    )


def _columns(order: Order, safe: Safe) -> tuple[list[Any], ...]:
    """What each of them has of its own, column by column, $12 to $21."""
    rows = [_row(each, order.template.kind, safe) for each in order.mailings]
    return tuple([list(column) for column in zip(*rows, strict=True)]) or ([],) * _COLUMNS


def _row(mailing: Mailing, kind: Kind, safe: Safe) -> tuple[Any, ...]:
    to, data, occasion = mailing.recipient, msgspec.json.encode(mailing.data), mailing.occasion
    secret = kind is Kind.SECURITY
    return (
        mailing.locale,
        to.kind,
        to.id,
        to.address.spelled or None,
        to.address.key or None,
        None if secret else data.decode(),
        safe.lock(data, place=place_of(to.address.key)) if secret else None,
        occasion.schedule if occasion else None,
        occasion.tick if occasion else None,
        occasion.name if occasion else None,
    )
