"""The addresses of users: proven by a link to them, and changed to one that is proven."""

from uuid import UUID

import asyncpg

from app.accounts.addresses import address
from app.accounts.credentials import prove, still_open, unchanged, user_of
from app.accounts.links import LinkRefusedError, Recipient, send_link, use_link
from app.accounts.mails import Notice
from app.accounts.service import Accounts
from app.accounts.users import drop_links, end_sessions, note
from app.audit.entries import Fact
from app.errors import ConflictError


async def send_verification(accounts: Accounts, user: UUID, *, by: str) -> None:
    """Have a link sent by which a user proves that the address is theirs.

    Raises NotFoundError, ConflictError, TooManyAttemptsError.
    """
    row = await user_of(accounts, user)
    if row["email_verified_at"]:
        raise ConflictError("the address is verified already")
    await accounts.limits.take_mail(row["email_key"])
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await send_link(accounts, connection, "verify", Recipient(row["email_key"], user, row["email"]))
        await note(connection, Fact.EMAIL_VERIFICATION_ASKED, user, by=by)


async def verify_email(accounts: Accounts, token: str, *, by: str) -> UUID:
    """Take a link as proof that the address is its user's. Raises LinkRefusedError."""
    moment = accounts.clock()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        user: UUID = (await use_link(connection, token, "verify", moment))["id"]
        await connection.execute(
            "UPDATE users SET email_verified_at = $2, version = version + 1, updated_at = now() WHERE id = $1",
            user,
            moment,
        )
        await note(connection, Fact.EMAIL_VERIFIED, user, by=by)
    return user


async def ask_change(
    accounts: Accounts,
    user: UUID,
    email: str,
    password: str,
    *,
    session: UUID | None,
    by: str,
) -> None:
    """Have a link sent to a new address, which is the user's once the link is used. Nobody is told whether it is taken.

    It is good for as long as the session is not ended in which it was asked for. Raises InvalidInputError where it is none or the
    password is wrong, TooManyAttemptsError, BusyError; ConflictError where the user or the session has changed meanwhile.
    """
    new, row = address(email), await user_of(accounts, user)
    await prove(accounts, row, password, by=by, where="password")
    await accounts.limits.take_mail(row["email_key"])
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await unchanged(connection, row, ("password_hash", "email", "status"))
        await still_open(connection, user, session)
        taken = await connection.fetchval(
            "SELECT id FROM users WHERE email_key = $1 AND id <> $2", new.key, user
        )
        to = Recipient(row["email_key"], user, None if taken else new.spelled, session)
        await send_link(accounts, connection, "change", to)
        await note(connection, Fact.EMAIL_CHANGE_ASKED, user, by=by)


async def confirm_change(accounts: Accounts, token: str, *, by: str) -> UUID:
    """Make the address that the link was sent to its user's, and sign out everywhere but where it was asked for.

    The old address is told. Raises LinkRefusedError, also where another user has the address by now.
    """
    moment = accounts.clock()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await use_link(connection, token, "change", moment)
        await _move(connection, row, accounts)
        await drop_links(connection, row["id"])
        await end_sessions(connection, row["id"], because="the address was changed", keep=row["session_id"])
        await note(connection, Fact.EMAIL_CHANGED, row["id"], by=by)
        await accounts.mails.send(connection, Notice("email", row["id"], row["email"], moment))
    return UUID(str(row["id"]))


async def _move(connection: asyncpg.Connection, row: asyncpg.Record, accounts: Accounts) -> None:
    if row["new_email"] is None:
        raise LinkRefusedError
    try:
        await connection.execute(
            """
            UPDATE users SET email = $2, email_key = $3, email_verified_at = $4, version = version + 1, updated_at = now()
            WHERE id = $1
            """,
            row["id"],
            *address(row["new_email"]),
            accounts.clock(),
        )
    except asyncpg.UniqueViolationError:
        raise LinkRefusedError from None
