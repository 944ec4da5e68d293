"""Mails that were given up because the service was away for too long."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated

from msgspec import Meta, Struct

from app.notifications.recurring.plans.people import BATCH
from app.notifications.recurring.plans.plan import Portion, Tick
from app.stores.connections import Stores

# What was turned down for good is not tried again: then the last attempt did not end as one to be repeated.
_GIVEN_UP = """
    SELECT id FROM notifications AS row
    WHERE state = 'failed' AND updated_at > $1 AND retry_of IS NULL AND email IS NOT NULL
        AND COALESCE(data::text, locked_data) IS NOT NULL AND (not_after IS NULL OR not_after > $2)
        AND EXISTS (SELECT FROM notification_attempts
            WHERE notification_id = row.id AND number = row.attempts AND outcome = 'retry')
        AND NOT EXISTS (SELECT FROM notifications WHERE retry_of = row.id)
        AND NOT EXISTS (SELECT FROM transport_circuits WHERE name = row.transport AND state <> 'closed')
        AND ($4::uuid IS NULL OR id > $4)
    ORDER BY id LIMIT $3
"""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How long ago a mail was given up at most."""

    hours: Annotated[int, Meta(ge=1, le=7 * 24)] = 24


async def retry_sweep(stores: Stores, tick: Tick, options: Options) -> AsyncIterator[Portion]:
    """Mails whose every try came to nothing, and whose service answers again: each of them once, however many there are."""
    since, last = tick.moment - timedelta(hours=options.hours), None
    while rows := await stores.core.fetch(_GIVEN_UP, since, tick.moment, BATCH, last):
        last = rows[-1]["id"]
        yield Portion(retries=[row["id"] for row in rows])
