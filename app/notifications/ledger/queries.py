"""Finding notifications, and the whole story of one: why it went, or why not."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct
from msgspec.structs import replace

from app.errors import NotFoundError
from app.notifications.ledger.states import OPEN, State
from app.notifications.ledger.views import (
    AttemptView,
    Body,
    CallbackView,
    CircuitView,
    NotificationView,
    StoryView,
    TransitionView,
)
from app.notifications.templates.content import Kind
from app.pages import Page, check_limit, decode_cursor_id, encode_cursor
from app.stores.connections import Stores

_FIELDS = """
    id, batch_id AS batch, template, template_version, kind, locale, recipient_kind, recipient_id, email, priority, state, because,
    transport, send_at, not_after, next_at, attempts, schedule, tick, retry_of, version, created_at, updated_at
"""


class Filters(Struct, frozen=True):
    """Which notifications; None: whatever it is. `email_key` is that of an address, `recipient` an id of somebody of ours."""

    state: State | None = None
    template: str | None = None
    email_key: str | None = None
    recipient: UUID | None = None
    batch: UUID | None = None
    schedule: str | None = None


async def list_notifications(
    stores: Stores, filters: Filters, *, limit: int = 50, cursor: str | None = None
) -> Page[NotificationView]:
    """Notifications from the newest to the oldest; those about accounts, whose recipient is a user, without the address."""
    columns = {
        "state": filters.state,
        "template": filters.template,
        "email_key": filters.email_key,
        "recipient_id": filters.recipient,
        "batch_id": filters.batch,
        "schedule": filters.schedule,
    }
    asked = {name: value for name, value in columns.items() if value is not None}
    before = decode_cursor_id(cursor)
    conditions = [f"{name} = ${place}" for place, name in enumerate(asked, 2)]
    conditions += [f"id < ${len(asked) + 2}"] if before else []
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    values = [*asked.values(), *([before] if before else [])]
    rows = await stores.core.fetch(
        f"SELECT {_FIELDS} FROM notifications {where} ORDER BY id DESC LIMIT $1",
        check_limit(limit) + 1,
        *values,
    )
    more = encode_cursor(str(rows[limit - 1]["id"])) if len(rows) > limit else None
    views = [view_of(row) for row in rows[:limit]]
    return Page([replace(each, email=None) if each.kind == Kind.SECURITY else each for each in views], more)


async def get_notification(core: asyncpg.Pool | asyncpg.Connection, notification: UUID) -> NotificationView:
    """One notification; raises NotFoundError."""
    row = await core.fetchrow(f"SELECT {_FIELDS} FROM notifications WHERE id = $1", notification)
    if row is None:
        raise NotFoundError(f"no notification {notification}")
    return view_of(row)


async def get_story(stores: Stores, notification: UUID) -> StoryView:
    """Everything that is known about one; raises NotFoundError."""
    async with (
        stores.core.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        view = await get_notification(connection, notification)
        row = await connection.fetchrow(_STORY, notification)
        return StoryView(
            notification=view,
            caused_by=row["caused_by"],
            metadata=msgspec.json.decode(row["metadata"]),
            data=msgspec.json.decode(row["data"]) if row["data"] else None,
            transitions=[
                TransitionView(**each) for each in await connection.fetch(_TRANSITIONS, notification)
            ],
            attempts=[AttemptView(**each) for each in await connection.fetch(_ATTEMPTS, notification)],
            callbacks=[CallbackView(**each) for each in await connection.fetch(_CALLBACKS, notification)],
            suppressed_by=row["suppressed_by"],
            retried_as=row["retried_as"],
            body=_body(row),
            body_erased_at=row["erased_at"],
            occasion=row["occasion"],
            client=row["client"],
            provider_id=row["provider_id"],
            circuit=await _open_circuit(connection, view),
            disabled_because=row["disabled_because"] if view.state in OPEN else None,
        )


async def _open_circuit(connection: asyncpg.Connection, mail: NotificationView) -> CircuitView | None:
    circuits = await read_circuits(connection, [mail.transport]) if mail.state in OPEN else []
    return next((each for each in circuits if each.state != "closed"), None)


async def read_circuits(
    core: asyncpg.Pool | asyncpg.Connection, transports: Sequence[str]
) -> list[CircuitView]:
    """The circuits of these transports."""
    rows = await core.fetch(
        """
        SELECT name, coalesce(state, 'closed') AS state, coalesce(failures, 0) AS failures,
            coalesce(openings, 0) AS openings, because, changed_at, trial_at
        FROM unnest($1::text[]) WITH ORDINALITY AS asked (name, place) LEFT JOIN transport_circuits USING (name) ORDER BY place
        """,
        transports,
    )
    return [CircuitView(**row) for row in rows]


_STORY = """
    SELECT caused_by, client, metadata, data, occasion, provider_id, subject, body_text, body_html, erased_at,
        (SELECT id FROM notifications WHERE retry_of = row.id) AS retried_as,
        (SELECT disabled_because FROM notification_templates WHERE name = row.template AND NOT enabled) AS disabled_because,
        (SELECT reason FROM suppressions WHERE email_key = row.email_key AND scope IN ('all', row.kind) LIMIT 1) AS suppressed_by
    FROM notifications AS row JOIN notification_batches AS batch ON batch.id = batch_id WHERE row.id = $1
"""
_TRANSITIONS = """
    SELECT at, state, because, caused_by FROM notification_events WHERE notification_id = $1 ORDER BY number
"""
_ATTEMPTS = """
    SELECT number, transport, started_at, handed_at, ended_at, outcome, code, detail, retry_at FROM notification_attempts
    WHERE notification_id = $1 ORDER BY number
"""
_CALLBACKS = """
    SELECT kind, at, received_at, detail FROM notification_callbacks WHERE notification_id = $1 ORDER BY received_at, at
"""


def view_of(row: asyncpg.Record) -> NotificationView:
    """A row with the fields above."""
    values: dict[str, Any] = {**row, "state": State(row["state"])}
    return NotificationView(**values)


def _body(row: asyncpg.Record) -> Body | None:
    return Body(row["subject"], row["body_text"], row["body_html"]) if row["body_text"] else None
