"""A person who is forgotten gets no more mail, and nobody can read any longer where theirs went and what it said."""

from collections.abc import Collection

import asyncpg

# By what records of this entity are called as recipients.
_KINDS = {"customers": "customer"}
_THEIRS = """
    email IS NOT NULL AND (email_key = ANY($3) OR (recipient_kind = $1 AND recipient_id::text = $2))
"""
# What still waits is looked at now, and ends because there is nobody to send it to. Whoever is handing it over at this moment
# ends it; what is not on the wire yet does not go.
_FORGET = f"""
    UPDATE notifications SET email = NULL, email_key = NULL, data = NULL, locked_data = NULL,
        subject = NULL, body_text = NULL, body_html = NULL, erased_at = COALESCE(erased_at, now()),
        next_at = CASE WHEN next_at IS NULL OR claimed_by IS NOT NULL THEN next_at ELSE now() END
    WHERE id = ANY(ARRAY(SELECT id FROM notifications WHERE {_THEIRS} ORDER BY id FOR UPDATE))
"""


async def count_mails(core: asyncpg.Pool, entity: str, key: str, email_keys: Collection[str]) -> int:
    """How many mails went, or are to go, to the person that this record is, or to one of these addresses."""
    statement = f"SELECT count(*) FROM notifications WHERE {_THEIRS}"
    return int(await core.fetchval(statement, _KINDS.get(entity), key, list(email_keys)))


async def forget_mails(
    connection: asyncpg.Connection, entity: str, key: str, email_keys: Collection[str]
) -> int:
    """Take addresses and contents out of these mails, in the open transaction; answers out of how many."""
    answer = await connection.execute(_FORGET, _KINDS.get(entity), key, list(email_keys))
    return int(answer.rpartition(" ")[2])
