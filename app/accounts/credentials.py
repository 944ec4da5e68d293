"""What users prove who they are with: passwords, links in mails, second factors. Whoever sets one is told of to the audit."""

from base64 import b32encode
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

import asyncpg
from loguru import logger
from msgspec import Struct

from app.accounts import second_factor
from app.accounts.passwords import refusals
from app.accounts.permissions import Role
from app.accounts.secrets import hash_of, new_secret
from app.accounts.service import Accounts
from app.accounts.signing_in import key_of
from app.accounts.users import Profile, create_user, end_sessions, get_user, lock_user, note
from app.accounts.views import Status, UserView
from app.audit.entries import Fact
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError

Purpose = Literal["reset", "verify"]

LIFETIMES: dict[Purpose, timedelta] = {"reset": timedelta(minutes=10), "verify": timedelta(hours=24)}
_PREFIX = "acl"


class Link(Struct, frozen=True):
    """What a mail is to bring to a user: a token that is good once."""

    purpose: Purpose
    user: UUID
    email: str
    token: str
    expires_at: datetime


Deliver = Callable[[asyncpg.Connection, Link], Awaitable[None]]
"""Sends the link on its way in the open transaction."""


class LinkRefusedError(InvalidInputError):
    """The link is none of ours, has expired or was used: nobody is told which."""

    def __init__(self) -> None:
        super().__init__(
            "the link is not good any more", [Fault("token", "has expired, was used, or never was one")]
        )


class NewDevice(Struct, frozen=True):
    """What an authenticator app is given, as text and as the URI that a QR code shows."""

    secret: str
    uri: str


async def log_link(_: asyncpg.Connection, link: Link) -> None:
    """Say that there is a link, and not what it is."""
    logger.bind(purpose=link.purpose, user=link.user).info("link.created")


async def invite(
    accounts: Accounts,
    profile: Profile,
    password: str | None,
    *,
    by: str,
    may_grant: Collection[Role],
    deliver: Deliver = log_link,
) -> UserView:
    """Add a user, with a password or with a link to set one.

    Raises InvalidInputError with every reason, ConflictError where the address is taken, BusyError; nobody is added then.
    """
    if password is None:
        user = await create_user(accounts.stores, profile, by=by, may_grant=may_grant)
        await send_reset(accounts, user.id, by=by, may_grant=may_grant, deliver=deliver)
        return user
    about = [profile.email, profile.given_name, profile.family_name]
    if reasons := refusals(password, about=about):
        raise InvalidInputError("the password is refused", [Fault("password", each) for each in reasons])
    user = await create_user(accounts.stores, profile, by=by, may_grant=may_grant)
    await set_password(accounts, user.id, password, by=by, may_grant=may_grant)
    return await get_user(accounts.stores, user.id)


async def set_password(
    accounts: Accounts, user: UUID, password: str, *, by: str, may_grant: Collection[Role]
) -> None:
    """Give a user a password, who then may sign in.

    Raises NotFoundError, ForbiddenError, InvalidInputError with every reason, BusyError.
    """
    row = await _reached(accounts, user, may_grant)
    await _set_password(accounts, row, password, by=by)


async def change_password(
    accounts: Accounts, user: UUID, old: str, new: str, *, keep: UUID | None, by: str
) -> None:
    """Change one's own password, and sign out everywhere else than in the session `keep`.

    Raises InvalidInputError where the old one is wrong, or the new one is refused.
    """
    row = await _user(accounts, user)
    attempt = await accounts.limits.take(row["email_key"], None)
    if not (await accounts.hashing.verify(old, row["password_hash"])).right:
        raise InvalidInputError("the password is not changed", [Fault("old_password", "is wrong")])
    await accounts.limits.take_back(attempt)
    await _set_password(accounts, row, new, by=by, keep=keep, where="new_password")


async def ask_reset(accounts: Accounts, email: str, *, by: str, deliver: Deliver = log_link) -> None:
    """Have a link sent by which a new password can be set. Nobody is told whether the address is known."""
    key = key_of(email)
    await accounts.limits.take(f"reset:{key}", None)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "SELECT * FROM users WHERE email_key = $1 AND status IN ('active', 'pending') FOR UPDATE", key
        )
        if row:
            await _send_link(accounts, connection, row, "reset", deliver)
            await note(connection, Fact.PASSWORD_RESET_ASKED, row["id"], by=by)


async def send_reset(
    accounts: Accounts, user: UUID, *, by: str, may_grant: Collection[Role], deliver: Deliver = log_link
) -> None:
    """Have a link sent to a user by which they set a new password. Raises NotFoundError, ForbiddenError, ConflictError."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        row = await connection.fetchrow("SELECT * FROM users WHERE id = $1", user)
        if row["status"] not in (Status.ACTIVE, Status.PENDING):
            raise ConflictError(f"the user is {row['status']}")
        await _send_link(accounts, connection, row, "reset", deliver)
        await note(connection, Fact.PASSWORD_RESET_ASKED, user, by=by)


async def reset_password(accounts: Accounts, token: str, password: str) -> None:
    """Set a new password by a link, and sign out everywhere. Raises LinkRefusedError, InvalidInputError, BusyError.

    A password that is refused leaves the link as it was.
    """
    row = await accounts.stores.core.fetchrow(
        """
        SELECT users.*, token_hash FROM account_links JOIN users ON users.id = user_id AND users.email_key = account_links.email_key
        WHERE token_hash = $1 AND purpose = 'reset' AND used_at IS NULL AND expires_at > $2
            AND status IN ('active', 'pending')
        """,
        hash_of(token),
        accounts.clock(),
    )
    if row is None:
        raise LinkRefusedError
    await _set_password(accounts, row, password, by=f"user:{row['id']}", link=row["token_hash"])


async def send_verification(accounts: Accounts, user: UUID, *, deliver: Deliver = log_link) -> None:
    """Have a link sent by which a user proves that the address is theirs. Raises NotFoundError, ConflictError."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "SELECT * FROM users WHERE id = $1 AND status <> 'deleted' FOR UPDATE", user
        )
        if row is None:
            raise NotFoundError(f"no user {user}")
        if row["email_verified_at"]:
            raise ConflictError("the address is verified already")
        await _send_link(accounts, connection, row, "verify", deliver)


async def verify_email(accounts: Accounts, token: str) -> UUID:
    """Take a link as proof that the address is its user's. Raises LinkRefusedError."""
    moment = accounts.clock()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        user = await _use_link(connection, hash_of(token), "verify", moment)
        await connection.execute(
            "UPDATE users SET email_verified_at = $2, version = version + 1, updated_at = now() WHERE id = $1",
            user,
            moment,
        )
        await note(connection, Fact.EMAIL_VERIFIED, user, by=f"user:{user}")
    return user


async def propose_device(accounts: Accounts, user: UUID) -> NewDevice:
    """A key for a new device, good once it is confirmed by a code. Raises ConflictError where there is a device already."""
    key = second_factor.new_key()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", user)
        if row["totp_confirmed_at"]:
            raise ConflictError("there is a second factor already; remove it first")
        locked = accounts.safe.lock(key, place=second_factor.place_of(user))
        await connection.execute("UPDATE users SET totp_key = $2, totp_step = 0 WHERE id = $1", user, locked)
    return NewDevice(b32encode(key).decode(), second_factor.uri_of(key, row["email"]))


async def confirm_device(accounts: Accounts, user: UUID, code: str, *, by: str) -> list[str]:
    """Take the proposed device as second factor, from a code of it; answers recovery codes, which are never told again.

    Raises ConflictError where none was proposed, InvalidInputError where the code is wrong.
    """
    codes = second_factor.new_recovery_codes()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", user)
        if row["totp_key"] is None or row["totp_confirmed_at"]:
            raise ConflictError("no second factor waits to be confirmed")
        if await second_factor.take_code(connection, accounts.safe, row, code, accounts.clock()) != "otp":
            raise InvalidInputError("the second factor is not confirmed", [Fault("code", "is wrong")])
        await connection.execute(
            "UPDATE users SET totp_confirmed_at = $2, version = version + 1, updated_at = now() WHERE id = $1",
            user,
            accounts.clock(),
        )
        await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user)
        await connection.executemany(
            "INSERT INTO recovery_codes (user_id, code_hash) VALUES ($1, $2)",
            [(user, hash_of(each)) for each in codes],
        )
        await note(connection, Fact.SECOND_FACTOR_SET, user, by=by)
    return codes


async def remove_device(
    accounts: Accounts, user: UUID, *, by: str, may_grant: Collection[Role], reason: str | None = None
) -> None:
    """Remove a user's second factor and recovery codes, and sign them out.

    Raises NotFoundError, ForbiddenError, ConflictError where there is none.
    """
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        row = await connection.fetchrow(
            """
            UPDATE users SET totp_key = NULL, totp_confirmed_at = NULL, version = version + 1, updated_at = now()
            WHERE id = $1 AND totp_confirmed_at IS NOT NULL RETURNING id
            """,
            user,
        )
        if row is None:
            raise ConflictError("the user has no second factor")
        await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user)
        await end_sessions(connection, user, because="the second factor was removed")
        await note(connection, Fact.SECOND_FACTOR_REMOVED, user, by=by, reason=reason)


async def allow_sign_in(
    accounts: Accounts, user: UUID, *, by: str, reason: str, may_grant: Collection[Role]
) -> None:
    """Forget a user's wrong tries. Raises NotFoundError, ForbiddenError."""
    row = await _reached(accounts, user, may_grant)
    await accounts.limits.lift(row["email_key"])
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await _forget_failures(connection, row)
        await note(connection, Fact.SIGN_IN_ALLOWED, user, by=by, reason=reason)


async def _reached(accounts: Accounts, user: UUID, may_grant: Collection[Role]) -> asyncpg.Record:
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
    return await _user(accounts, user)


async def _user(accounts: Accounts, user: UUID) -> asyncpg.Record:
    row = await accounts.stores.core.fetchrow(
        "SELECT * FROM users WHERE id = $1 AND status <> 'deleted'", user
    )
    if row is None:
        raise NotFoundError(f"no user {user}")
    return row


async def _set_password(
    accounts: Accounts,
    row: asyncpg.Record,
    password: str,
    *,
    by: str,
    keep: UUID | None = None,
    link: bytes | None = None,
    where: str = "password",
) -> None:
    """Hash and keep it, sign the user out, forget wrong tries and other links: all of it or, where a link was used, nothing."""
    _check(row, password, where)
    hashed, moment = await accounts.hashing.hash(password), accounts.clock()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        fresh = await connection.fetchrow("SELECT status FROM users WHERE id = $1 FOR UPDATE", row["id"])
        if fresh["status"] == Status.DELETED:
            raise NotFoundError(f"no user {row['id']}")
        if link:
            await _use_link(connection, link, "reset", moment)
        await connection.execute(
            """
            UPDATE users SET password_hash = $2, password_changed_at = $3, version = version + 1, updated_at = now(),
                status = CASE WHEN status = 'pending' THEN 'active' ELSE status END,
                -- Whoever has a link from the mail has the address too.
                email_verified_at = CASE WHEN $4 THEN COALESCE(email_verified_at, $3) ELSE email_verified_at END
            WHERE id = $1
            """,
            row["id"],
            hashed,
            moment,
            link is not None,
        )
        await end_sessions(connection, row["id"], because="the password was changed", keep=keep)
        await _forget_failures(connection, row)
        await connection.execute(
            "DELETE FROM account_links WHERE user_id = $1 AND purpose = 'reset'", row["id"]
        )
        await note(connection, Fact.PASSWORD_SET, row["id"], by=by)


def _check(row: asyncpg.Record, password: str, where: str) -> None:
    about = [row["email"], row["given_name"], row["family_name"]]
    if reasons := refusals(password, about=about, second_factor=row["totp_confirmed_at"] is not None):
        raise InvalidInputError("the password is refused", [Fault(where, each) for each in reasons])


async def _forget_failures(connection: asyncpg.Connection, row: asyncpg.Record) -> None:
    await connection.execute(
        "DELETE FROM sign_in_failures WHERE address_hash = $1", hash_of(row["email_key"])
    )


async def _send_link(
    accounts: Accounts,
    connection: asyncpg.Connection,
    row: asyncpg.Record,
    purpose: Purpose,
    deliver: Deliver,
) -> None:
    """Make a link in the open transaction; earlier ones for the same purpose are good no more."""
    moment, token = accounts.clock(), new_secret(_PREFIX)
    await connection.execute(
        "DELETE FROM account_links WHERE user_id = $1 AND purpose = $2", row["id"], purpose
    )
    expires_at = moment + LIFETIMES[purpose]
    await connection.execute(
        "INSERT INTO account_links (token_hash, user_id, purpose, email_key, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
        hash_of(token),
        row["id"],
        purpose,
        row["email_key"],
        moment,
        expires_at,
    )
    await deliver(connection, Link(purpose, row["id"], row["email"], token, expires_at))


async def _use_link(
    connection: asyncpg.Connection, token_hash: bytes, purpose: Purpose, moment: datetime
) -> UUID:
    """Use a link up in the open transaction; raises LinkRefusedError where it is not good any more."""
    user = await connection.fetchval(
        """
        UPDATE account_links AS link SET used_at = $3 FROM users
        WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > $3
            AND users.id = user_id AND users.email_key = link.email_key AND users.status <> 'deleted'
        RETURNING user_id
        """,
        token_hash,
        purpose,
        moment,
    )
    if user is None:
        raise LinkRefusedError
    return UUID(str(user))
