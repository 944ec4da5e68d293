"""Links in mails: each is good once, for a while, and for the address that it was sent to.

Another one leaves those of before as they are: nobody who keeps asking takes away the one that its owner has just opened.
How many there are is bounded by how often one may ask, see `app.accounts.limits`.
"""

from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from msgspec import Struct

from app.accounts.mails import Link, Purpose
from app.accounts.secrets import hash_of, new_secret
from app.accounts.service import Accounts
from app.errors import Fault, InvalidInputError

LIFETIMES: dict[Purpose, timedelta] = {
    "reset": timedelta(minutes=10),
    "verify": timedelta(hours=24),
    "change": timedelta(hours=24),
}
_PREFIX = "acl"


class Recipient(Struct, frozen=True):
    """Who is to get a link: `key` is the address that was given, `user` and `email` are None where nobody has it.

    `session` is the one in which it was asked for, where that is to go on.
    """

    key: str
    user: UUID | None
    email: str | None
    session: UUID | None = None


class LinkRefusedError(InvalidInputError):
    """The link is none of ours, has expired or was used: nobody is told which."""

    def __init__(self) -> None:
        super().__init__(
            "the link is not good any more", [Fault("token", "has expired, was used, or never was one")]
        )


async def send_link(
    accounts: Accounts, connection: asyncpg.Connection, purpose: Purpose, to: Recipient
) -> None:
    """Make a link and its mail in the open transaction; the same is written whether somebody gets it or not.

    Raises StoreUnavailableError where nobody has said where mail goes.
    """
    moment, token, who = accounts.clock(), new_secret(_PREFIX), accounts.hashing.pseudonym(to.key)
    expires_at = moment + LIFETIMES[purpose]
    await connection.execute(
        """
        INSERT INTO account_links (token_hash, user_id, purpose, email, address_hash, session_id, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        """,
        hash_of(token),
        to.user,
        purpose,
        to.email,
        who,
        to.session,
        moment,
        expires_at,
    )
    await accounts.mails.send(connection, Link(purpose, to.user, to.email, token, expires_at))


async def find_link(
    connection: asyncpg.Connection | asyncpg.Pool, token: str, purpose: Purpose, moment: datetime
) -> asyncpg.Record:
    """The user of a link that is good, with their `new_email` and the `session_id` of where it was asked for.

    With that session the link ends: whoever is signed out gets nothing by what they have asked for before.
    Raises LinkRefusedError.
    """
    row = await connection.fetchrow(
        """
        SELECT users.*, link.email AS new_email, session_id FROM account_links AS link JOIN users ON users.id = user_id
        WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND link.expires_at > $3
            AND status IN ('active', 'pending') AND (purpose = 'change' OR users.email = link.email)
            AND NOT EXISTS (SELECT FROM sessions WHERE sessions.id = link.session_id AND ended_at IS NOT NULL)
        """,
        hash_of(token),
        purpose,
        moment,
    )
    if row is None:
        raise LinkRefusedError
    return row


async def use_link(
    connection: asyncpg.Connection, token: str, purpose: Purpose, moment: datetime
) -> asyncpg.Record:
    """Use a link up in the open transaction, in which its user stays as they are; see `find_link`."""
    found = await find_link(connection, token, purpose, moment)
    await connection.execute("SELECT id FROM users WHERE id = $1 FOR UPDATE", found["id"])
    row = await find_link(connection, token, purpose, moment)
    await connection.execute(
        "UPDATE account_links SET used_at = $2 WHERE token_hash = $1", hash_of(token), moment
    )
    return row
