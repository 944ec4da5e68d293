"""Operators block addresses by hand."""

from datetime import datetime

from app.notifications.addresses.suppressing import suppress
from app.notifications.ledger.views import Scope, SuppressionView
from app.stores.connections import Stores


async def block(
    stores: Stores, email_key: str, scope: Scope, *, by: str, note: str, moment: datetime
) -> tuple[bool, SuppressionView]:
    """Send an address no more mail, or none of a kind; answers whether that is new, and what holds now."""
    async with stores.core.acquire() as connection, connection.transaction():
        made = await suppress(connection, email_key, scope, "operator", by=by, moment=moment, note=note)
        row = await connection.fetchrow(
            """
            SELECT email_key AS email, scope, reason, notification_id AS notification, caused_by, note, created_at
            FROM suppressions WHERE email_key = $1 AND scope = $2
            """,
            email_key,
            scope,
        )
    return made, SuppressionView(**row)
