"""A person who is forgotten gets no more mail, and nobody can read any longer where theirs went and what it said."""

from collections.abc import Collection
from contextlib import suppress
from uuid import UUID

import asyncpg

# By what records of this entity are called as recipients.
USERS = "users"
_KINDS = {"customers": "customer", USERS: "user"}
# Those that went nowhere may say something of the person all the same.
_THEIRS = """
    (email_key = ANY($3) OR (recipient_id = $2 AND recipient_kind = $1)) AND (email IS NOT NULL OR erased_at IS NULL)
"""
_LOCK = f"SELECT id, batch_id FROM notifications WHERE {_THEIRS} ORDER BY id FOR UPDATE"
# What somebody has written of a mail may name the person: callers, and providers, also where it is quoted. What is ours does not.
_FORGET_REASONS = """
    UPDATE notification_events AS event SET because = NULL WHERE notification_id = ANY($1) AND (
        caused_by <> 'core' OR EXISTS (
            SELECT FROM notification_attempts AS attempt WHERE attempt.notification_id = event.notification_id
                AND detail <> '' AND right(because, length(detail)) = detail))
"""
_FORGET_ANSWERS = "UPDATE notification_attempts SET detail = NULL WHERE notification_id = ANY($1)"
_FORGET_TOLD = "UPDATE notification_callbacks SET detail = NULL WHERE notification_id = ANY($1)"
# What still waits is looked at now, and ends because there is nobody to send it to. Whoever is handing it over at this moment
# ends it; what is not on the wire yet does not go.
_FORGET = """
    UPDATE notifications AS row SET email = NULL, email_key = NULL, data = NULL, locked_data = NULL,
        subject = NULL, body_text = NULL, body_html = NULL, erased_at = COALESCE(erased_at, now()),
        because = (SELECT because FROM notification_events WHERE notification_id = row.id ORDER BY number DESC LIMIT 1),
        next_at = CASE WHEN next_at IS NULL OR claimed_by IS NOT NULL THEN next_at ELSE now() END
    WHERE id = ANY($1)
"""
_FORGET_METADATA = "UPDATE notification_batches SET metadata = '{}' WHERE id = ANY($1)"
_WRITING = 4_915_332_018_112_007_345


async def hold_off(connection: asyncpg.Connection) -> None:
    """Have nobody forgotten until the open transaction ends: whoever is forgotten next finds the mails that it makes."""
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", _WRITING)


async def count_mails(core: asyncpg.Pool, entity: str, key: str, email_keys: Collection[str]) -> int:
    """How many mails went, or are to go, to the person that this record is, or to one of these addresses."""
    statement = f"SELECT count(*) FROM notifications WHERE {_THEIRS}"
    return int(await core.fetchval(statement, *_whose(entity, key), list(email_keys)))


async def forget_mails(
    connection: asyncpg.Connection, entity: str, key: str, email_keys: Collection[str]
) -> int:
    """Take addresses, contents and what was said of them out of these mails, in the open transaction; answers out of how many.

    Waits for mails that are just being asked for. What an order says of itself (`metadata`) goes with the first of its mails.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _WRITING)
    rows = await connection.fetch(_LOCK, *_whose(entity, key), list(email_keys))
    ids = [row["id"] for row in rows]
    for statement in (_FORGET_REASONS, _FORGET_ANSWERS, _FORGET_TOLD, _FORGET):
        await connection.execute(statement, ids)
    await connection.execute(_FORGET_METADATA, sorted({row["batch_id"] for row in rows}))
    return len(rows)


def _whose(entity: str, key: str) -> tuple[str | None, UUID | None]:
    """Kind and id of the recipient that a record is, if it can be one."""
    with suppress(ValueError):
        return _KINDS.get(entity), UUID(key)
    return None, None
