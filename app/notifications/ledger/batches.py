"""Batches: what one call, one tick of a schedule or one event of ours asked for."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from app.errors import NotFoundError
from app.notifications.ledger.states import State
from app.stores.connections import Stores


class BatchView(Struct, frozen=True):
    """Who asked for what, and how many of its mails are in which state; retries count too."""

    id: UUID
    caused_by: str
    template: str
    metadata: dict[str, Any]
    states: dict[State, int]
    created_at: datetime


async def get_batch(stores: Stores, batch: UUID) -> BatchView:
    """One batch; raises NotFoundError."""
    row = await stores.core.fetchrow("SELECT * FROM notification_batches WHERE id = $1", batch)
    if row is None:
        raise NotFoundError(f"no batch {batch}")
    counts = await stores.core.fetch(
        "SELECT state, count(*) AS mails FROM notifications WHERE batch_id = $1 GROUP BY state", batch
    )
    return BatchView(
        id=row["id"],
        caused_by=row["caused_by"],
        template=row["template"],
        metadata=msgspec.json.decode(row["metadata"]),
        states={State(each["state"]): each["mails"] for each in counts},
        created_at=row["created_at"],
    )
