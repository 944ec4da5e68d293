"""Passwords of users: chosen, changed, set anew by a link. Whoever sets one is told of to the audit."""

from collections.abc import Collection, Iterable
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg
from msgspec import Struct

from app.accounts import failures
from app.accounts.failures import count_failure, failures_of, forget_failures
from app.accounts.hashing import HashingRoom
from app.accounts.links import Recipient, find_link, send_link, use_link
from app.accounts.mails import Notice
from app.accounts.passwords import is_short, refusals
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.sessions import Exchange, rekey
from app.accounts.signing_in import key_of
from app.accounts.users import (
    Profile,
    add_user,
    bring_user,
    drop_links,
    end_sessions,
    lock_user,
    note,
    view_of,
)
from app.accounts.views import Status, UserView
from app.audit.entries import Fact
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError


class Chosen(Struct, frozen=True):
    """A password that is accepted: its hash, and whether it is too short to be the only factor."""

    hashed: str
    short: bool


async def choose(
    hashing: HashingRoom,
    password: str,
    *,
    about: Iterable[str],
    second_factor: bool = False,
    where: str = "password",
) -> Chosen:
    """Look at a password that somebody wants. Raises InvalidInputError with every reason against it, BusyError."""
    look = partial(refusals, password, about=list(about), second_factor=second_factor)
    if reasons := await hashing.work(look):
        raise InvalidInputError("the password is refused", [Fault(where, each) for each in reasons])
    return Chosen(await hashing.hash(password), is_short(password))


async def invite(
    accounts: Accounts,
    profile: Profile,
    password: str | None,
    *,
    by: str,
    may_grant: Collection[Role],
) -> UserView:
    """Add a user, with a password or with a link to set one.

    Raises InvalidInputError with every reason, ConflictError where the address is taken, BusyError, StoreUnavailableError
    where the mail cannot be had sent; nobody is added then.
    """
    chosen = None if password is None else await first_password(accounts.hashing, profile, password)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        if chosen is not None:
            return await add_with(connection, profile, chosen, accounts.clock(), by=by, may_grant=may_grant)
        user = await add_user(connection, profile, by=by, may_grant=may_grant)
        to = Recipient(key_of(profile.email), user.id, user.email)
        await send_link(accounts, connection, "reset", to)
        await note(connection, Fact.PASSWORD_RESET_ASKED, user.id, by=by)
        return user


async def add_with(
    connection: asyncpg.Connection,
    profile: Profile,
    chosen: Chosen,
    moment: datetime,
    *,
    by: str,
    may_grant: Collection[Role],
) -> UserView:
    """Add a user with a password, who may sign in at once, in the open transaction; raises what `add_user` raises."""
    user = await add_user(connection, profile, by=by, may_grant=may_grant)
    await keep(connection, user.id, chosen, moment, by=by)
    return await view_of(connection, user.id)


async def first_password(hashing: HashingRoom, profile: Profile, password: str) -> Chosen:
    """The password of a user who is still to be added; see `choose`."""
    return await choose(hashing, password, about=_words_of(profile))


async def change_password(
    accounts: Accounts,
    user: UUID,
    old: str,
    new: str,
    *,
    keep: UUID | None,
    by: str,
    exchange: Exchange | None = None,
) -> None:
    """Change one's own password, and sign out everywhere else than in the session `keep`, whose token is exchanged.

    Raises InvalidInputError where the old one is wrong, or the new one is refused; TooManyAttemptsError, BusyError;
    ConflictError where the user or the session has changed meanwhile: whoever has set another password has the last word.
    """
    row = await user_of(accounts, user)
    await prove(accounts, row, old, by=by, where="old_password")
    chosen = await _choose_for(accounts, row, new, "new_password")
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        fresh = await unchanged(connection, row, ("totp_confirmed_at", "password_hash", "status"))
        await still_open(connection, user, keep)
        await rekey(connection, exchange)
        await _replace(accounts, connection, fresh, chosen, by=by, keep_session=keep)


async def prove(accounts: Accounts, row: asyncpg.Record, password: str, *, by: str, where: str) -> None:
    """Hold a password to that of a user who has signed in and is asked once more.

    Raises InvalidInputError, which counts as a wrong try; TooManyAttemptsError, BusyError, which do not.
    """
    attempt = await accounts.limits.take_proof(row["email_key"])
    try:
        failed = await failures_of(accounts, row["email_key"])
        verdict = await accounts.hashing.verify(password, row["password_hash"])
    except BaseException:
        await accounts.limits.take_back(attempt)  # nothing was judged
        raise
    if not verdict.right or failed >= failures.MOST:
        await count_failure(accounts, row["email_key"], by=by)
        raise InvalidInputError("the password is not the one that is set", [Fault(where, "is wrong")])
    await accounts.limits.take_back(attempt)


async def ask_reset(accounts: Accounts, email: str, *, client_ip: str | None, by: str) -> None:
    """Have a link sent by which a new password can be set. Nobody is told whether the address is known.

    The same is written for one that nobody has, so that time tells nothing either. Raises TooManyAttemptsError.
    """
    key = key_of(email)
    await accounts.limits.take_reset(key, client_ip)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            """
            SELECT id, email FROM (SELECT $1::text AS key) AS given
            LEFT JOIN users ON email_key = key AND status IN ('active', 'pending')
            """,
            key,
        )
        await send_link(accounts, connection, "reset", Recipient(key, row["id"], row["email"]))
        await note(connection, Fact.PASSWORD_RESET_ASKED, row["id"], by=by)


async def send_reset(accounts: Accounts, user: UUID, *, by: str, may_grant: Collection[Role]) -> None:
    """Have a link sent to a user by which they set a new password. Raises NotFoundError, ForbiddenError, ConflictError."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        row = await connection.fetchrow("SELECT * FROM users WHERE id = $1", user)
        if row["status"] not in (Status.ACTIVE, Status.PENDING):
            raise ConflictError(f"the user is {row['status']}")
        to = Recipient(row["email_key"], user, row["email"])
        await send_link(accounts, connection, "reset", to)
        await note(connection, Fact.PASSWORD_RESET_ASKED, user, by=by)


async def reset_password(accounts: Accounts, token: str, password: str, *, by: str) -> None:
    """Set a new password by a link that `by` has brought, and sign out everywhere.

    Raises LinkRefusedError, InvalidInputError, BusyError, ConflictError; a password that is refused leaves the link as it was.
    """
    row = await find_link(accounts.stores.core, token, "reset", accounts.clock())
    chosen = await _choose_for(accounts, row, password, "password")
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await use_link(connection, token, "reset", accounts.clock())
        fresh = await unchanged(connection, row, ("totp_confirmed_at",))
        await _replace(accounts, connection, fresh, chosen, by=by)
        # Whoever has a link from the mail has the address too.
        await connection.execute(
            "UPDATE users SET email_verified_at = COALESCE(email_verified_at, $2) WHERE id = $1",
            row["id"],
            accounts.clock(),
        )


async def allow_sign_in(
    accounts: Accounts, user: UUID, *, by: str, reason: str, may_grant: Collection[Role]
) -> None:
    """Forget a user's wrong tries. Raises NotFoundError, ForbiddenError."""
    row = await _reached(accounts, user, may_grant)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await forget_failures(accounts, connection, row)
        await note(connection, Fact.SIGN_IN_ALLOWED, user, by=by, reason=reason)
    await accounts.limits.lift(row["email_key"])


async def unlock(
    accounts: Accounts, user: UUID, *, by: str, reason: str, may_grant: Collection[Role]
) -> UserView:
    """Let a locked or disabled user in again, and forget their wrong tries: both or neither.

    Raises as `move_user`, and StoreUnavailableError.
    """
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        view = await bring_user(connection, user, Status.ACTIVE, by=by, reason=reason, may_grant=may_grant)
        await accounts.limits.lift(key_of(view.email or ""))
    return view


async def user_of(accounts: Accounts, user: UUID) -> asyncpg.Record:
    """A user's row. Raises NotFoundError where there is none, or it is deleted."""
    row = await accounts.stores.core.fetchrow(
        "SELECT * FROM users WHERE id = $1 AND status <> 'deleted'", user
    )
    if row is None:
        raise NotFoundError(f"no user {user}")
    return row


async def keep(
    connection: asyncpg.Connection, user: UUID, chosen: Chosen, moment: datetime, *, by: str
) -> None:
    """Keep a password in the open transaction; who waited for one is active."""
    await connection.execute(
        """
        UPDATE users SET password_hash = $2, password_short = $3, password_changed_at = $4, version = version + 1,
            updated_at = now(), status = CASE WHEN status = 'pending' THEN 'active' ELSE status END
        WHERE id = $1
        """,
        user,
        chosen.hashed,
        chosen.short,
        moment,
    )
    await note(connection, Fact.PASSWORD_SET, user, by=by)


async def _reached(accounts: Accounts, user: UUID, may_grant: Collection[Role]) -> asyncpg.Record:
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
    return await user_of(accounts, user)


async def _choose_for(accounts: Accounts, row: asyncpg.Record, password: str, where: str) -> Chosen:
    about = [row["email"], row["given_name"], row["family_name"]]
    beside = row["totp_confirmed_at"] is not None
    return await choose(accounts.hashing, password, about=about, second_factor=beside, where=where)


async def unchanged(
    connection: asyncpg.Connection, row: asyncpg.Record, names: Collection[str]
) -> asyncpg.Record:
    """Lock the user, who must be as they were when the password was looked at: that took its time."""
    fresh = await connection.fetchrow("SELECT * FROM users WHERE id = $1 FOR UPDATE", row["id"])
    if any(fresh[name] != row[name] for name in names):
        raise ConflictError("the user has changed meanwhile; nothing was changed by this call")
    return fresh


async def still_open(connection: asyncpg.Connection, user: UUID, session: UUID | None) -> None:
    """See that the session goes on in which the locked user asks for something. Raises ConflictError."""
    ended = await connection.fetchval(
        "SELECT ended_at FROM sessions WHERE id = $1 AND user_id = $2", session, user
    )
    if ended:
        raise ConflictError("the session has ended meanwhile; nothing was changed by this call")


async def _replace(
    accounts: Accounts,
    connection: asyncpg.Connection,
    row: asyncpg.Record,
    chosen: Chosen,
    *,
    by: str,
    keep_session: UUID | None = None,
) -> None:
    """Keep it, sign the user out, forget wrong tries and other links, tell them: all of it in the open transaction."""
    moment = accounts.clock()
    await keep(connection, row["id"], chosen, moment, by=by)
    await end_sessions(connection, row["id"], because="the password was changed", keep=keep_session)
    await forget_failures(accounts, connection, row)
    await drop_links(connection, row["id"])
    await accounts.mails.send(connection, Notice("password", row["id"], row["email"], moment))


def _words_of(profile: Profile) -> list[str]:
    return [profile.email, profile.given_name, profile.family_name]
