"""Addresses that get no mail, or none of a kind: after a hard bounce, a complaint, or because their owners want none.

Whoever gets alerts or digests can end them by one click (RFC 8058) and without signing in: the link in the mail bears the
notification's id, and a signature of it.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hashlib import sha256
from uuid import UUID

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, NotFoundError
from app.notifications.ledger.views import Reason, Scope, SuppressionView
from app.pages import Page, check_limit, decode_cursor, encode_cursor
from app.stores.connections import Stores

PATH = "/v1/notifications/unsubscribe/"
ENTITY = "suppressions"
_LABEL = b"unsubscribe "


class Unsubscribing:
    """Makes and reads links to unsubscribe. `url` is the address of this service, `key` a secret of it."""

    def __init__(self, url: str, key: bytes) -> None:
        self._url = url
        self._key = key

    def url_of(self, notification: UUID) -> str:
        token = urlsafe_b64encode(notification.bytes + self._signature(notification)).decode().rstrip("=")
        return f"{self._url}{PATH}{token}"

    @staticmethod
    def headers_of(url: str) -> dict[str, str]:
        """RFC 8058, section 3.1."""
        return {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}

    def read(self, token: str) -> UUID:
        """The notification whose link this is; raises NotFoundError where it is none of ours."""
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            notification = UUID(bytes=raw[:16])
        except ValueError:
            raise _no_link() from None
        if not hmac.compare_digest(raw[16:], self._signature(notification)):
            raise _no_link()
        return notification

    def _signature(self, notification: UUID) -> bytes:
        return hmac.digest(self._key, _LABEL + notification.bytes, sha256)[:16]


async def suppress(
    connection: asyncpg.Connection,
    email_key: str,
    scope: Scope,
    reason: Reason,
    *,
    by: str,
    moment: datetime,
    notification: UUID | None = None,
    note: str | None = None,
) -> bool:
    """Block an address in the open transaction; answers whether it was not blocked before. The audit is not told the address."""
    made = await connection.fetchval(
        """
        INSERT INTO suppressions (email_key, scope, reason, notification_id, caused_by, note, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING true
        """,
        email_key,
        scope,
        reason,
        notification,
        by,
        note,
        moment,
    )
    if made:
        detail = {
            "scope": scope,
            "because": reason,
            "notification": str(notification) if notification else None,
        }
        await record(connection, Fact.ADDRESS_BLOCKED, by=by, target=ENTITY, reason=note, detail=detail)
    return bool(made)


async def lift(stores: Stores, email_key: str, scope: Scope, *, by: str, reason: str) -> None:
    """Let an address have mail again; raises NotFoundError where it is not blocked so."""
    async with stores.core.acquire() as connection, connection.transaction():
        gone = await connection.fetchval(
            "DELETE FROM suppressions WHERE email_key = $1 AND scope = $2 RETURNING reason", email_key, scope
        )
        if gone is None:
            raise NotFoundError("the address is not blocked so")
        detail = {"scope": scope, "because": gone, "notification": None}
        await record(connection, Fact.ADDRESS_UNBLOCKED, by=by, target=ENTITY, reason=reason, detail=detail)


async def unsubscribe(stores: Stores, notification: UUID, *, moment: datetime) -> str:
    """Stop mails of a notification's kind to its address; answers the kind. That they are stopped already is no fault.

    Raises NotFoundError; ConflictError for mail that nobody can unsubscribe from.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "SELECT email_key, kind FROM notifications WHERE id = $1", notification
        )
        if row is None or row["email_key"] is None:
            raise _no_link()
        if row["kind"] not in ("alert", "digest"):
            raise ConflictError("this mail is about something of yours: it cannot be unsubscribed from")
        await suppress(
            connection,
            row["email_key"],
            row["kind"],
            "unsubscribe",
            by="recipient",
            moment=moment,
            notification=notification,
        )
    return str(row["kind"])


async def list_suppressions(
    stores: Stores, *, email_key: str | None = None, limit: int, cursor: str | None = None
) -> Page[SuppressionView]:
    """Blocked addresses in the order of the alphabet."""
    after = decode_cursor(cursor, _parse) or ("", "")
    rows = await stores.core.fetch(
        """
        SELECT email_key AS email, scope, reason, notification_id AS notification, caused_by, note, created_at FROM suppressions
        WHERE ($1::text IS NULL OR email_key = $1) AND (email_key, scope) > ($2, $3) ORDER BY email_key, scope LIMIT $4
        """,
        email_key,
        *after,
        check_limit(limit) + 1,
    )
    last = rows[limit - 1] if len(rows) > limit else None
    more = encode_cursor(f"{last['scope']} {last['email']}") if last else None
    return Page([SuppressionView(**row) for row in rows[:limit]], more)


def _parse(text: str) -> tuple[str, str]:
    scope, _, email = text.partition(" ")
    return email, scope


def _no_link() -> NotFoundError:
    return NotFoundError("this link is none of ours, or its mail is forgotten")
