"""Signing in: one function for whoever asks for it, a service on behalf of a user or a page of ours.

Whatever is wrong, the answer is the same and takes as long: an address that nobody has, a wrong password, a user who is locked. Each of
these costs one hash, one look into the core DB and one row written to it.
"""

import asyncio
import unicodedata
from datetime import datetime
from typing import NoReturn

import asyncpg
from loguru import logger
from msgspec import Struct

from app.accounts import failures, sessions
from app.accounts.addresses import address
from app.accounts.client_authentication import Client
from app.accounts.failures import count_failure, forget_failures
from app.accounts.hashing import Verdict
from app.accounts.permissions import MULTIPLE_FACTORS
from app.accounts.second_factor import take_code
from app.accounts.service import Accounts
from app.accounts.sessions import SignedIn
from app.accounts.users import note
from app.accounts.views import Status
from app.audit.entries import Fact
from app.errors import BusyError, CoreError, InvalidInputError

_USER = """
    SELECT users.*, COALESCE(failures, 0) AS failures FROM (SELECT $1::text AS key, $2::bytea AS hash) AS given
    LEFT JOIN users ON email_key = key LEFT JOIN sign_in_failures
        ON address_hash = hash AND sign_in_failures.user_id IS NOT DISTINCT FROM users.id
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
    key, began = key_of(given.email), asyncio.get_running_loop().time()
    attempt = await accounts.limits.take(key, given.client_ip)
    try:
        row, verdict = await _verdict(accounts, key, given, began)
    except BaseException:
        await accounts.limits.take_back(attempt)  # nothing was judged
        raise
    if not _may_enter(row, verdict):
        await _fail(accounts, key, given, client)
    if row["totp_confirmed_at"] and not given.code:
        await accounts.limits.hold(attempt)
        await _ask_code(accounts, row, given, client)
    renewed = await _renewed(accounts, given) if verdict.stale else None
    signed_in = await _enter(accounts, row, given, client, renewed)
    if signed_in is None:
        await _fail(accounts, key, given, client)
    await accounts.limits.settle(attempt)
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


async def _verdict(
    accounts: Accounts, key: str, given: Credentials, began: float
) -> tuple[asyncpg.Record, Verdict]:
    row = await accounts.stores.core.fetchrow(_USER, key, accounts.hashing.pseudonym(key))
    return row, await accounts.hashing.verify(given.password, row["password_hash"], since=began)


async def _renewed(accounts: Accounts, given: Credentials) -> str | None:
    """The hash as it is made now; None where there is no room for it: there will be at another sign-in."""
    try:
        return await accounts.hashing.hash(given.password)
    except BusyError:
        return None


def _may_enter(row: asyncpg.Record, verdict: Verdict) -> bool:
    return verdict.right and row["status"] == Status.ACTIVE and row["failures"] < failures.MOST


async def _fail(accounts: Accounts, key: str, given: Credentials, client: Client) -> NoReturn:
    """Count a wrong try, and say no."""
    await count_failure(accounts, key, by=f"client:{client.name}", client_ip=given.client_ip)
    raise SignInRefusedError


async def _ask_code(accounts: Accounts, row: asyncpg.Record, given: Credentials, client: Client) -> NoReturn:
    """Say that a code is needed, and tell of it: whoever comes so far has the password."""
    by, shown = f"client:{client.name}", accounts.limits.shown
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await note(connection, Fact.SECOND_FACTOR_ASKED, row["id"], by=by)
    told = logger.bind(account=shown(row["email_key"]), machine=shown(given.client_ip), by=by)
    told.info("code.asked")
    raise SecondFactorNeededError


async def _enter(
    accounts: Accounts, row: asyncpg.Record, given: Credentials, client: Client, renewed: str | None
) -> SignedIn | None:
    """Start the session; None where the code is wrong, or the user has changed while the password was looked at."""
    # Before the session begins: a key that cannot be read then would leave one that nobody is told of.
    moment, key = accounts.clock(), await accounts.tokens.keys.signing()
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        fresh = await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", row["id"])
        if any(fresh[name] != row[name] for name in ("status", "password_hash", "totp_confirmed_at")):
            return None
        methods = await _methods(connection, accounts, fresh, given, moment)
        if methods is None:
            return None
        if renewed:
            await connection.execute("UPDATE users SET password_hash = $2 WHERE id = $1", row["id"], renewed)
        await forget_failures(accounts, connection, row)
        origin = sessions.Origin(client.name, methods, given.client_ip, given.device)
        started = await sessions.start(connection, fresh["id"], origin, moment)
    return sessions.tokens_of(accounts, started, fresh, client.scopes, key)


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
    return ["pwd", method, MULTIPLE_FACTORS] if method else None
