"""The second factor of users: proposed, confirmed, removed, and what is printed out for the day on which it is lost."""

from base64 import b32encode
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from msgspec import Struct

from app.accounts import second_factor
from app.accounts.credentials import still_open, user_of
from app.accounts.failures import tell_refusal
from app.accounts.links import Recipient, send_link
from app.accounts.mails import Notice
from app.accounts.passwords import LEAST
from app.accounts.permissions import MULTIPLE_FACTORS, Role
from app.accounts.secrets import hash_of
from app.accounts.service import Accounts
from app.accounts.sessions import Exchange, rekey
from app.accounts.users import end_sessions, lock_user, note
from app.accounts.views import Status
from app.audit.entries import Fact
from app.errors import ConflictError, Fault, InvalidInputError

PROPOSED = timedelta(minutes=10)
MOST_CODES = 5
"""So long, and for so many codes, a proposed device waits to be confirmed."""


class NewDevice(Struct, frozen=True):
    """What an authenticator app is given, as text and as the URI that a QR code shows."""

    secret: str
    uri: str


async def propose_device(accounts: Accounts, user: UUID, *, session: UUID | None, by: str) -> NewDevice:
    """A key for a new device, good once it is confirmed by a code.

    Raises ConflictError where there is a device already, or the session has ended: so with each function below.
    """
    key = second_factor.new_key()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await _asking(connection, user, session)
        if row["totp_confirmed_at"]:
            raise ConflictError("there is a second factor already; remove it first")
        await connection.execute(
            "UPDATE users SET totp_key = $2, totp_step = 0, totp_proposed_at = $3, totp_tries = 0 WHERE id = $1",
            user,
            accounts.safe.lock(key, place=second_factor.place_of(user)),
            accounts.clock(),
        )
        await note(connection, Fact.SECOND_FACTOR_PROPOSED, user, by=by)
    return NewDevice(b32encode(key).decode(), second_factor.uri_of(key, row["email"]))


async def confirm_device(
    accounts: Accounts,
    user: UUID,
    code: str,
    *,
    session: UUID | None,
    by: str,
    exchange: Exchange | None = None,
) -> list[str]:
    """Take the proposed device as second factor, from a code of it; answers recovery codes, which are never told again.

    The session in which that is done, whose token is exchanged, is one of two factors from now on, and every other one ends: none was
    used for it.
    Raises ConflictError where none was proposed, or too long ago or for too many codes; InvalidInputError where the code is
    wrong; TooManyAttemptsError.
    """
    key = (await user_of(accounts, user))["email_key"]
    attempt = await accounts.limits.take_proof(key)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row, moment = await _asking(connection, user, session), accounts.clock()
        if not _waits(row, moment):
            raise ConflictError("no second factor waits to be confirmed; propose one")
        right = await second_factor.take_code(connection, accounts.safe, row, code, moment) == "otp"
        if right:
            await rekey(connection, exchange)
            codes = await _take(connection, user, moment, session)
            await note(connection, Fact.SECOND_FACTOR_SET, user, by=by)
            await accounts.mails.send(connection, Notice("second-factor-set", user, row["email"], moment))
        else:
            await connection.execute("UPDATE users SET totp_tries = totp_tries + 1 WHERE id = $1", user)
    if not right:
        tell_refusal(accounts, key, by=by)
        raise InvalidInputError("the second factor is not confirmed", [Fault("code", "is wrong")])
    await accounts.limits.settle(attempt)
    return codes


async def renew_recovery_codes(accounts: Accounts, user: UUID, *, session: UUID | None, by: str) -> list[str]:
    """Other recovery codes: those of before are good no more. Raises ConflictError where there is no second factor."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await _asking(connection, user, session)
        if row["totp_confirmed_at"] is None:
            raise ConflictError("there is no second factor")
        codes = await _new_codes(connection, user)
        await note(connection, Fact.RECOVERY_CODES_RENEWED, user, by=by)
        await accounts.mails.send(connection, Notice("recovery-codes", user, row["email"], accounts.clock()))
    return codes


async def remove_own_device(accounts: Accounts, user: UUID, *, session: UUID | None, by: str) -> None:
    """Remove one's second factor and recovery codes, and sign out everywhere.

    Raises ConflictError where there is none, or the password is too short to be the only factor.
    """
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await _asking(connection, user, session)
        if row["password_short"]:
            raise ConflictError(
                f"your password has fewer than {LEAST} characters, which is enough beside a second factor only: "
                "change it first"
            )
        await _remove(accounts, connection, row)
        await note(connection, Fact.SECOND_FACTOR_REMOVED, user, by=by)


async def remove_device(
    accounts: Accounts,
    user: UUID,
    *,
    by: str,
    may_grant: Collection[Role],
    reason: str,
) -> None:
    """Remove another user's second factor and recovery codes, and sign them out.

    A password that is too short to be the only factor goes too, and a link to set another is sent. Raises NotFoundError,
    ForbiddenError, ConflictError where there is none.
    """
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        row = await _locked(connection, user)
        await _remove(accounts, connection, row)
        await note(connection, Fact.SECOND_FACTOR_REMOVED, user, by=by, reason=reason)
        if row["password_short"]:
            await _remove_password(accounts, connection, row)
            await note(connection, Fact.PASSWORD_REMOVED, user, by=by, reason=reason)


async def _locked(connection: asyncpg.Connection, user: UUID) -> asyncpg.Record:
    return await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", user)


async def _asking(connection: asyncpg.Connection, user: UUID, session: UUID | None) -> asyncpg.Record:
    """The user, locked, who asks for something in a session that goes on."""
    row = await _locked(connection, user)
    await still_open(connection, user, session)
    return row


def _waits(row: asyncpg.Record, moment: datetime) -> bool:
    """Whether a device was proposed a short while ago, and may be confirmed still."""
    if row["totp_key"] is None or row["totp_confirmed_at"] or row["totp_proposed_at"] is None:
        return False
    return bool(moment < row["totp_proposed_at"] + PROPOSED and row["totp_tries"] < MOST_CODES)


async def _take(
    connection: asyncpg.Connection, user: UUID, moment: datetime, session: UUID | None
) -> list[str]:
    await connection.execute(
        "UPDATE users SET totp_confirmed_at = $2, version = version + 1, updated_at = now() WHERE id = $1",
        user,
        moment,
    )
    await end_sessions(connection, user, because="a second factor was set up", keep=session)
    await connection.execute(
        "UPDATE sessions SET methods = $3 WHERE id = $1 AND user_id = $2 AND ended_at IS NULL",
        session,
        user,
        ["pwd", "otp", MULTIPLE_FACTORS],
    )
    return await _new_codes(connection, user)


async def _new_codes(connection: asyncpg.Connection, user: UUID) -> list[str]:
    codes = second_factor.new_recovery_codes()
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user)
    await connection.executemany(
        "INSERT INTO recovery_codes (user_id, code_hash) VALUES ($1, $2)",
        [(user, hash_of(each)) for each in codes],
    )
    return codes


async def _remove(accounts: Accounts, connection: asyncpg.Connection, row: asyncpg.Record) -> None:
    if row["totp_confirmed_at"] is None:
        raise ConflictError("the user has no second factor")
    await connection.execute(
        """
        UPDATE users SET totp_key = NULL, totp_confirmed_at = NULL, version = version + 1, updated_at = now()
        WHERE id = $1
        """,
        row["id"],
    )
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", row["id"])
    await end_sessions(connection, row["id"], because="the second factor was removed")
    notice = Notice("second-factor-removed", row["id"], row["email"], accounts.clock())
    await accounts.mails.send(connection, notice)


async def _remove_password(accounts: Accounts, connection: asyncpg.Connection, row: asyncpg.Record) -> None:
    await connection.execute(
        """
        UPDATE users SET password_hash = NULL, password_changed_at = NULL, password_short = false,
            status = CASE WHEN status = 'active' THEN 'pending' ELSE status END
        WHERE id = $1
        """,
        row["id"],
    )
    if row["status"] in (Status.ACTIVE, Status.PENDING):
        to = Recipient(row["email_key"], row["id"], row["email"])
        await send_link(accounts, connection, "reset", to)
