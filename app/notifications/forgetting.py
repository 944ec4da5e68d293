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
    return int(await core.fetchval(statement, *_whose(entity, key), list(email_keys)))


async def forget_mails(
    connection: asyncpg.Connection, entity: str, key: str, email_keys: Collection[str]
) -> int:
    """Take addresses and contents out of these mails, in the open transaction; answers out of how many."""
    answer = await connection.execute(_FORGET, *_whose(entity, key), list(email_keys))
    return int(answer.rpartition(" ")[2])


def _whose(entity: str, key: str) -> tuple[str | None, UUID | None]:
    """Kind and id of the recipient that a record is, if it can be one."""
    with suppress(ValueError):
        return _KINDS.get(entity), UUID(key)
    return None, None
