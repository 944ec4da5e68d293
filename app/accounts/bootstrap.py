"""The first admin and the first client of a system, made straight in the core DB while there is nobody who could be asked."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import asyncpg
from msgspec import Struct

from app.accounts import clients, credentials
from app.accounts.addresses import address
from app.accounts.clients import CONSOLE, ENTITY
from app.accounts.credentials import Chosen
from app.accounts.passwords import is_short
from app.accounts.permissions import Role, Scope, scopes_of
from app.accounts.secrets import SECRET_PREFIX, hash_of
from app.accounts.service import hasher_of, hashing_of
from app.accounts.users import Profile
from app.accounts.views import Status, UserView
from app.audit.entries import Fact
from app.audit.outbox import record
from app.clock import now
from app.errors import ConflictError
from app.stores.connections import Stores
from config.settings import Settings

# Any constant will do, as long as everybody takes the same one.
_LOCK = 4_205_504
BY = "bootstrap"
COMMANDS = "astrocore"
"""The client as which the commands call."""


class FirstAdmin(Struct, frozen=True):
    """The first admin, and the client through which they sign in; its secret where it was made now: it is told this once."""

    user: UserView
    client: str
    secret: str | None


async def first_admin(stores: Stores, profile: Profile, password: str) -> FirstAdmin:
    """Make the first admin, who may sign in at once, and a client to sign in through where there is none.

    All of it, or nothing. Raises ConflictError while there is another admin who may sign in, InvalidInputError for an address
    or a password that is refused.
    """
    hashing = hashing_of(stores.settings)
    try:
        chosen = await credentials.first_password(hashing, profile, password)
    finally:
        hashing.close()
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        there = await connection.fetchval(
            "SELECT id FROM users WHERE roles @> ARRAY['admin'] AND status = 'active' LIMIT 1"
        )
        if there:
            raise ConflictError(
                f"there is an admin already, {there}: sign in as one, or have one make you one"
            )
        user = await _add(connection, profile, chosen)
        there = await connection.fetchval(
            "SELECT name FROM clients WHERE name <> $1 ORDER BY created_at LIMIT 1", CONSOLE
        )
        if there:
            return FirstAdmin(user, there, None)
        await clients.insert_client(connection, COMMANDS, list(Scope), by=BY)
        secret = (await clients.insert_credential(connection, COMMANDS, by=BY)).secret
    return FirstAdmin(user, COMMANDS, secret)


async def ensure_client(settings: Settings, name: str, secret: str, scopes: Iterable[Scope]) -> None:
    """See that there is a client of this name, with this secret and these scopes: that of an embedded system's commands."""
    if not secret.startswith(SECRET_PREFIX):
        raise ValueError(f"a client's secret begins with {SECRET_PREFIX}")
    given = frozenset(scopes)
    wanted = [each.value for each in Scope if each in given]
    connection = await asyncpg.connect(settings.url("core_database_url"))
    try:
        async with connection.transaction():
            await _ensure(connection, name, hash_of(secret), wanted)
    finally:
        await connection.close()


async def ensure_console(stores: Stores) -> None:
    """See that there is the client through which people sign in to the console; what an admin has made of it stays."""
    with suppress(ConflictError):
        await clients.create_client(stores, CONSOLE, scopes_of(list(Role), list(Scope)), by=BY)


async def ensure_operator(settings: Settings, email: str, password: str) -> bool:
    """See that there is an operator of this address, that of an embedded system; answers whether they sign in with this password.

    Whoever is there already stays as they are.
    """
    hasher = await asyncio.to_thread(hasher_of, settings)
    connection = await asyncpg.connect(settings.url("core_database_url"))
    try:
        known = await connection.fetchrow(
            "SELECT password_hash, status FROM users WHERE email_key = $1", address(email).key
        )
        if known is None:
            chosen = Chosen(await asyncio.to_thread(hasher.hash, password), is_short(password))
            async with connection.transaction():
                await _add(connection, Profile(email, roles=[Role.OPERATOR]), chosen)
            return True
    finally:
        await connection.close()
    verdict = await asyncio.to_thread(hasher.verify, password, known["password_hash"])
    return verdict.right and known["status"] == Status.ACTIVE


async def _add(connection: asyncpg.Connection, profile: Profile, chosen: Chosen) -> UserView:
    """Nobody is there yet who could give roles."""
    return await credentials.add_with(connection, profile, chosen, now(), by=BY, may_grant=frozenset(Role))


async def _ensure(connection: asyncpg.Connection, name: str, secret_hash: bytes, wanted: list[str]) -> None:
    made = await connection.fetchval(
        """
        INSERT INTO clients (name, scopes, status, created_by) VALUES ($1, $2, 'active', $3)
        ON CONFLICT (name) DO UPDATE SET scopes = excluded.scopes, updated_at = now()
        WHERE clients.scopes <> excluded.scopes RETURNING name
        """,
        name,
        wanted,
        BY,
    )
    known = await connection.fetchval(
        """
        INSERT INTO client_credentials (client, secret_hash, created_by) VALUES ($1, $2, $3)
        ON CONFLICT DO NOTHING RETURNING id
        """,
        name,
        secret_hash,
        BY,
    )
    if made or known:
        await record(
            connection,
            Fact.CLIENT_CREATED,
            by=BY,
            target=name,
            detail={"scopes": wanted},
            entity=ENTITY,
            key=name,
        )
