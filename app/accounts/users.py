"""Users in the core DB: who they are, what they are to us, and whether they may sign in.

Each change and the fact that tells of it commit together.
"""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import asyncpg
from msgspec import UNSET, Struct, UnsetType

from app.accounts.addresses import Address, address
from app.accounts.mails import Notice
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.views import Status, UserView
from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, Fault, ForbiddenError, InvalidInputError, NotFoundError
from app.locales import NO_LOCALE, is_locale
from app.pages import Page, check_limit, decode_cursor_id, encode_cursor
from app.stores.connections import Stores

ENTITY = "users"
NOBODY = "nobody"
"""The key in facts about an address that nobody has."""

_FIELDS = """
    id, email, email_verified_at, given_name, family_name, locale, roles, status, totp_confirmed_at IS NOT NULL AS second_factor,
    password_changed_at, version, created_at, updated_at
"""
# What a deleted user has instead.
_EMPTIED: dict[str, Any] = {
    **dict.fromkeys(("email", "email_key", "email_verified_at", "locale")),
    **dict.fromkeys(("password_hash", "totp_key", "totp_confirmed_at")),
    "given_name": "",
    "family_name": "",
    "roles": [],
}
# From which states an operator may bring a user to another one.
_MOVES: dict[Status, tuple[Fact, frozenset[Status]]] = {
    Status.LOCKED: (Fact.USER_LOCKED, frozenset({Status.ACTIVE, Status.PENDING})),
    Status.ACTIVE: (Fact.USER_UNLOCKED, frozenset({Status.LOCKED, Status.DISABLED})),
    Status.DISABLED: (Fact.USER_DISABLED, frozenset({Status.ACTIVE, Status.PENDING, Status.LOCKED})),
}


class Profile(Struct, frozen=True):
    """What a new user is. Without roles nobody may do anything but sign in; without a locale their mails are in English."""

    email: str
    given_name: str = ""
    family_name: str = ""
    roles: list[Role] = []
    locale: str | None = None


class ProfileChange(Struct, frozen=True):
    """What changes of a user; what is left out stays."""

    email: str | UnsetType = UNSET
    given_name: str | UnsetType = UNSET
    family_name: str | UnsetType = UNSET
    roles: list[Role] | UnsetType = UNSET
    locale: str | UnsetType | None = UNSET


async def add_user(
    connection: asyncpg.Connection, profile: Profile, *, by: str, may_grant: Collection[Role]
) -> UserView:
    """Add a user, who has no password yet, in the open transaction.

    Raises InvalidInputError, ConflictError where the address is taken.
    """
    given = address(profile.email)
    _check_roles(profile.roles, may_grant)
    _check_locale(profile.locale)
    row = await connection.fetchrow(
        f"""
        INSERT INTO users (email, email_key, given_name, family_name, roles, locale, status)
        VALUES ($1, $2, $3, $4, $5, $6, 'pending') ON CONFLICT (email_key) DO NOTHING RETURNING {_FIELDS}
        """,
        *given,
        profile.given_name,
        profile.family_name,
        sorted(set(profile.roles)),
        profile.locale,
    )
    if row is None:
        raise _taken()
    await note(connection, Fact.USER_CREATED, row["id"], by=by, detail={"roles": row["roles"]})
    return _view(row)


async def list_users(
    stores: Stores,
    *,
    email: str | None = None,
    role: Role | None = None,
    status: Status | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[UserView]:
    """Users from the newest to the oldest. Deleted ones are listed only where their status is asked for."""
    rows = await stores.core.fetch(
        f"""
        SELECT {_FIELDS} FROM users WHERE ($1::text IS NULL OR email_key = $1) AND ($2::text IS NULL OR roles @> ARRAY[$2])
            AND CASE WHEN $3::text IS NULL THEN status <> 'deleted' ELSE status = $3 END
            AND ($4::uuid IS NULL OR id < $4) ORDER BY id DESC LIMIT $5
        """,
        None if email is None else address(email).key,
        role,
        status,
        decode_cursor_id(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["id"])) if len(rows) > limit else None
    return Page([_view(row) for row in rows[:limit]], more)


async def get_user(stores: Stores, user: UUID) -> UserView:
    """One user; raises NotFoundError."""
    return _view(await _select(stores.core, user))


async def view_of(connection: asyncpg.Connection, user: UUID) -> UserView:
    """One user as the open transaction sees them; raises NotFoundError."""
    return _view(await _select(connection, user))


async def change_user(
    accounts: Accounts,
    user: UUID,
    change: ProfileChange,
    *,
    by: str,
    may_grant: Collection[Role],
    version: int | None = None,
) -> UserView:
    """Change names, the locale, roles or the address, which is not verified then; links that went to another one are good no more, and it is told.

    `version` is the one that the caller has seen, where that matters. Raises NotFoundError, ForbiddenError, InvalidInputError, ConflictError.
    """
    given = address(change.email) if change.email is not UNSET else None
    _check_locale(change.locale)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        before = await lock_user(connection, user, may_grant)
        _check_version(before, version)
        if change.roles is not UNSET:
            _check_roles(set(change.roles) ^ set(map(Role, before["roles"])), may_grant)
        values = _values(before, change, given)
        if not values:
            return _view(before)
        row = await _update(connection, user, values)
        if "email" in values:
            await drop_links(connection, user)
            await accounts.mails.send(connection, Notice("email", user, before["email"], accounts.clock()))
        await note(connection, Fact.USER_CHANGED, user, by=by, detail=_told(values))
    return _view(row)


async def move_user(
    stores: Stores, user: UUID, status: Status, *, by: str, reason: str, may_grant: Collection[Role]
) -> UserView:
    """Lock, unlock or disable a user. Whoever may not sign in any more is signed out everywhere; whoever may again starts anew.

    Raises NotFoundError, ForbiddenError, ConflictError where that is no way from the status they have.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        return await bring_user(connection, user, status, by=by, reason=reason, may_grant=may_grant)


async def bring_user(
    connection: asyncpg.Connection,
    user: UUID,
    status: Status,
    *,
    by: str,
    reason: str,
    may_grant: Collection[Role],
) -> UserView:
    """See `move_user`, in the open transaction."""
    fact, origins = _MOVES[status]
    before = await lock_user(connection, user, may_grant)
    if before["status"] not in origins:
        raise ConflictError(f"the user is {before['status']}, and cannot become {status}")
    # Who never had a password waits for one again.
    becomes = status if status is not Status.ACTIVE or before["password_changed_at"] else Status.PENDING
    row = await _update(connection, user, {"status": becomes})
    if status is Status.ACTIVE:
        await _forget_failures(connection, user)
    else:
        await end_sessions(connection, user, because=f"the user is {status}")
    await note(connection, fact, user, by=by, reason=reason)
    return _view(row)


async def delete_user(
    accounts: Accounts, user: UUID, *, by: str, reason: str, may_grant: Collection[Role]
) -> None:
    """Remove a user's personal data and everything that lets them in; the id stays. Their mails are forgotten too.

    Raises NotFoundError, ForbiddenError.
    """
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await lock_user(connection, user, may_grant)
        await accounts.mails.forget(connection, user)
        await end_sessions(connection, user, because="the user is deleted")
        await connection.execute(
            "UPDATE sessions SET client_ip = NULL, device = NULL WHERE user_id = $1", user
        )
        await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user)
        await connection.execute("DELETE FROM account_links WHERE user_id = $1", user)
        await _forget_failures(connection, user)
        await _update(connection, user, {**_EMPTIED, "status": Status.DELETED})
        await note(connection, Fact.USER_DELETED, user, by=by, reason=reason)


async def lock_user(
    connection: asyncpg.Connection, user: UUID, may_grant: Collection[Role]
) -> asyncpg.Record:
    """The user's row, locked until the transaction ends, for a caller who may give and take these roles.

    Raises NotFoundError where there is none, or it is deleted; ForbiddenError where the user has a role beyond the caller's
    reach: whoever could change an admin's address or password would be one.
    """
    row = await _select(connection, user, "FOR UPDATE")
    if not {Role(each) for each in row["roles"]} <= set(may_grant):
        raise ForbiddenError("this user's roles are not yours to give, so the user is not yours to change")
    return row


async def end_sessions(
    connection: asyncpg.Connection, user: UUID, *, because: str, keep: UUID | None = None
) -> int:
    """Sign a user out everywhere but in the session `keep`, in the open transaction; answers how many sessions ended."""
    ended = await connection.execute(
        """
        UPDATE sessions SET ended_at = now(), ended_because = $2
        WHERE user_id = $1 AND ended_at IS NULL AND id IS DISTINCT FROM $3
        """,
        user,
        because,
        keep,
    )
    return int(ended.rpartition(" ")[2])


async def drop_links(connection: asyncpg.Connection, user: UUID) -> None:
    """Take every link from a user that is not used yet, in the open transaction: whoever asked for it may have been another."""
    await connection.execute("DELETE FROM account_links WHERE user_id = $1 AND used_at IS NULL", user)


async def note(
    connection: asyncpg.Connection,
    fact: Fact,
    user: UUID | None,
    *,
    by: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Record a fact about a user, or about nobody, in the open transaction. Neither address nor names are among it."""
    key = str(user or NOBODY)
    await record(connection, fact, by=by, target=key, reason=reason, detail=detail, entity=ENTITY, key=key)


async def _forget_failures(connection: asyncpg.Connection, user: UUID) -> None:
    await connection.execute("DELETE FROM sign_in_failures WHERE user_id = $1", user)


def _values(before: asyncpg.Record, change: ProfileChange, given: Address | None) -> dict[str, Any]:
    """The columns that become others."""
    wanted: dict[str, Any] = {
        name: value
        for name in ("given_name", "family_name", "locale")
        if (value := getattr(change, name)) is not UNSET and value != before[name]
    }
    if change.roles is not UNSET and set(change.roles) != set(before["roles"]):
        wanted["roles"] = sorted(set(change.roles))
    if given and given.spelled != before["email"]:
        wanted |= {"email": given.spelled, "email_key": given.key, "email_verified_at": None}
    return wanted


def _told(values: dict[str, Any]) -> dict[str, Any]:
    """What the audit is told of a change: roles, and which of the personal fields have changed."""
    changed = [name for name in values if name in ("email", "given_name", "family_name", "locale")]
    return {
        **({"changed": changed} if changed else {}),
        **({"roles": values["roles"]} if "roles" in values else {}),
    }


async def _update(connection: asyncpg.Connection, user: UUID, values: dict[str, Any]) -> asyncpg.Record:
    assigned = ", ".join(f"{name} = ${place}" for place, name in enumerate(values, 2))
    try:
        return await connection.fetchrow(
            f"UPDATE users SET {assigned}, version = version + 1, updated_at = now() WHERE id = $1 RETURNING {_FIELDS}",
            user,
            *values.values(),
        )
    except asyncpg.UniqueViolationError:
        raise _taken() from None


async def _select(
    connection: asyncpg.Connection | asyncpg.Pool, user: UUID, lock: str = ""
) -> asyncpg.Record:
    row = await connection.fetchrow(
        f"SELECT {_FIELDS} FROM users WHERE id = $1 AND status <> 'deleted' {lock}", user
    )
    if row is None:
        raise NotFoundError(f"no user {user}")
    return row


def _check_roles(roles: Collection[Role], may_grant: Collection[Role]) -> None:
    if refused := sorted(set(roles) - set(may_grant)):
        raise InvalidInputError(
            "roles that you cannot give or take",
            [Fault("roles", f"{each} is not yours to give") for each in refused],
        )


def _check_locale(locale: str | UnsetType | None) -> None:
    if isinstance(locale, str) and not is_locale(locale):
        raise InvalidInputError("no language that we know", [Fault("locale", NO_LOCALE)])


def _check_version(row: asyncpg.Record, version: int | None) -> None:
    if version is not None and version != row["version"]:
        raise ConflictError(f"the user has changed meanwhile: version {row['version']}, not {version}")


def _taken() -> ConflictError:
    return ConflictError("another user has this address", faults=[Fault("email", "is taken")])


def _view(row: asyncpg.Record) -> UserView:
    values = {**row, "roles": [Role(each) for each in row["roles"]], "status": Status(row["status"])}
    return UserView(**values)
