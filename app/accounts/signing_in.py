"""Signing in: one function for whoever asks for it, a service on behalf of a user or a page of ours.

Whatever is wrong, the answer is the same and takes as long: an address that nobody has, a wrong password, a user who is locked. Each of
these costs one hash, one look into the core DB and one row written to it.
"""

import unicodedata
from datetime import datetime
from typing import NoReturn

import asyncpg
from loguru import logger
from msgspec import Struct

from app.accounts import sessions
from app.accounts.addresses import address
from app.accounts.client_authentication import Client
from app.accounts.hashing import Verdict
from app.accounts.limits import Attempt, TooManyAttemptsError
from app.accounts.second_factor import take_code
from app.accounts.secrets import hash_of
from app.accounts.service import Accounts
from app.accounts.sessions import SignedIn
from app.accounts.users import note
from app.accounts.views import Status
from app.audit.entries import Fact
from app.errors import CoreError, InvalidInputError

MOST_FAILURES = 100
"""In a row; then only a new password helps (NIST SP 800-63B-4, section 3.2.2)."""

_USER = """
    SELECT users.*, COALESCE(failures, 0) AS failures FROM (SELECT $1::text AS key, $2::bytea AS hash) AS given
    LEFT JOIN users ON email_key = key LEFT JOIN sign_in_failures ON address_hash = hash
"""
_FAILED = """
    INSERT INTO sign_in_failures AS known (address_hash, failures, last_at) VALUES ($1, 1, $2)
    ON CONFLICT (address_hash) DO UPDATE SET failures = known.failures + 1, last_at = excluded.last_at
    RETURNING failures
"""


class SignInRefusedError(CoreError):
    """The address or the password is wrong, or the user may not sign in: nobody is told which."""

    def __init__(self) -> None:
        super().__init__("the address or the password is wrong")


class SecondFactorNeededError(CoreError):
    """The password is right, and a code of the second factor is needed too."""

    def __init__(self) -> None:
        super().__init__("a code of the second factor is needed")


class Credentials(Struct, frozen=True):
    """What somebody signs in with, and from where: `client_ip` and `device` are what the client says."""

    email: str
    password: str
    code: str | None = None
    client_ip: str | None = None
    device: str | None = None


async def sign_in(accounts: Accounts, given: Credentials, client: Client) -> SignedIn:
    """Start a session.

    Raises SignInRefusedError, SecondFactorNeededError, TooManyAttemptsError, BusyError; StoreUnavailableError where
    attempts cannot be counted.
    """
    key = key_of(given.email)
    attempt = await _attempt(accounts, key, given)
    try:
        row, verdict = await _verdict(accounts, key, given)
    except BaseException:
        await accounts.limits.take_back(attempt)  # nothing was judged
        raise
    if not _may_enter(row, verdict):
        await _fail(accounts, key, client)
    if row["totp_confirmed_at"] and not given.code:
        await accounts.limits.take_back(attempt)
        raise SecondFactorNeededError
    renewed = await accounts.hashing.hash(given.password) if verdict.stale else None
    signed_in = await _enter(accounts, row, given, client, renewed)
    if signed_in is None:
        await _fail(accounts, key, client)
    await accounts.limits.take_back(attempt)
    return signed_in


def key_of(email: str) -> str:
    """What attempts are counted under, and users are found by, whatever was submitted."""
    try:
        return address(email).key
    except InvalidInputError:
        # Nobody has it; and no text of ours holds what a database does not take.
        return (
            unicodedata.normalize("NFC", email.casefold())
            .encode(errors="replace")
            .decode()
            .replace("\0", "?")
        )


async def _attempt(accounts: Accounts, key: str, given: Credentials) -> Attempt:
    try:
        return await accounts.limits.take(key, given.client_ip)
    except TooManyAttemptsError as error:
        logger.bind(account=hash_of(key).hex()[:16], seconds=error.retry_after).warning("signin.throttled")
        raise


async def _verdict(accounts: Accounts, key: str, given: Credentials) -> tuple[asyncpg.Record, Verdict]:
    row = await accounts.stores.core.fetchrow(_USER, key, hash_of(key))
    return row, await accounts.hashing.verify(given.password, row["password_hash"])


def _may_enter(row: asyncpg.Record, verdict: Verdict) -> bool:
    return verdict.right and row["status"] == Status.ACTIVE and row["failures"] < MOST_FAILURES


async def _fail(accounts: Accounts, key: str, client: Client) -> NoReturn:
    """Count a wrong try, and say no."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        count = await connection.fetchval(_FAILED, hash_of(key), accounts.clock())
        if count == MOST_FAILURES:
            await _tell_blocked(connection, key, client)
    logger.bind(account=hash_of(key).hex()[:16], client=client.name).info("signin.refused")
    raise SignInRefusedError


async def _tell_blocked(connection: asyncpg.Connection, key: str, client: Client) -> None:
    user = await connection.fetchval("SELECT id FROM users WHERE email_key = $1", key)
    if user:
        await note(connection, Fact.SIGN_IN_BLOCKED, user, by=f"client:{client.name}")


async def _enter(
    accounts: Accounts, row: asyncpg.Record, given: Credentials, client: Client, renewed: str | None
) -> SignedIn | None:
    """Start the session; None where the code is wrong, or the user has changed while the password was looked at."""
    moment = accounts.clock()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        fresh = await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", row["id"])
        if any(fresh[name] != row[name] for name in ("status", "password_hash", "totp_confirmed_at")):
            return None
        methods = await _methods(connection, accounts, fresh, given, moment)
        if methods is None:
            return None
        if renewed:
            await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", row["id"], renewed)
        await connection.execute(
            "DELETE FROM sign_in_failures WHERE address_hash = $1", hash_of(row["email_key"])
        )
        origin = sessions.Origin(client.name, methods, given.client_ip, given.device)
        started = await sessions.start(connection, fresh["id"], origin, moment)
    return await sessions.tokens_of(accounts, started, fresh, client.scopes)


async def _methods(
    connection: asyncpg.Connection,
    accounts: Accounts,
    row: asyncpg.Record,
    given: Credentials,
    moment: datetime,
) -> list[str] | None:
    """How the user has proven who they are (RFC 8176); None where the code is wrong."""
    if not row["totp_confirmed_at"]:
        return ["pwd"]
    method = await take_code(connection, accounts.safe, row, given.code or "", moment)
    if method == "recovery":
        await note(connection, Fact.RECOVERY_CODE_USED, row["id"], by=f"user:{row['id']}")
    return ["pwd", method, "mfa"] if method else None
