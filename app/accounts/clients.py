"""Service clients: the services that call us, what they may do, and by which credentials they prove who they are.

Two credentials of a client may be good at a time, so that one takes the place of the other without a moment in between.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from joserfc.jwk import ECKey, OKPKey, RSAKey, import_key

from app.accounts.jose import UNREADABLE
from app.accounts.permissions import Scope
from app.accounts.secrets import SECRET_PREFIX, hash_of, new_secret
from app.accounts.views import ClientView, CredentialView, NewCredential
from app.audit.entries import Fact
from app.audit.outbox import record
from app.clock import now
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.stores.connections import Stores

ENTITY = "clients"
CONSOLE = "console"
"""The client through which people sign in to the console. It is this service itself, and has no credential."""
MOST_CREDENTIALS = 2
_NAME = re.compile(r"[a-z][a-z0-9-]{1,62}")
_LEAST_RSA_BITS = 3072  # as strong as 128 bits (NIST SP 800-57, part 1, table 2)
_CURVES = ("P-256", "P-384", "P-521", "Ed25519", "Ed448")
# What else a JWK says is not needed, and may be what no database takes.
_MEMBERS = frozenset({"kty", "crv", "x", "y", "n", "e"})
_CREDENTIALS = """
    SELECT id, client, CASE WHEN secret_hash IS NULL THEN 'key' ELSE 'secret' END AS kind, created_by, created_at,
        expires_at, last_used_at, revoked_at
    FROM client_credentials
"""
_GOOD = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


async def create_client(stores: Stores, name: str, scopes: Collection[Scope], *, by: str) -> ClientView:
    """Add a client, which has no credential yet.

    Raises InvalidInputError for a name that is none, ConflictError where there is one of that name.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        return await insert_client(connection, name, scopes, by=by)


async def insert_client(
    connection: asyncpg.Connection, name: str, scopes: Collection[Scope], *, by: str
) -> ClientView:
    """See `create_client`, in the open transaction."""
    _check_name(name)
    row = await connection.fetchrow(
        """
        INSERT INTO clients (name, scopes, status, created_by) VALUES ($1, $2, 'active', $3)
        ON CONFLICT DO NOTHING RETURNING *
        """,
        name,
        _ordered(scopes),
        by,
    )
    if row is None:
        raise ConflictError(f"there is a client {name} already", f"/v1/clients/{name}")
    await _note(connection, Fact.CLIENT_CREATED, name, by=by, detail={"scopes": row["scopes"]})
    return _view(row, [])


async def list_clients(stores: Stores) -> list[ClientView]:
    """Every client, by name."""
    rows = await stores.core.fetch("SELECT * FROM clients ORDER BY name")
    credentials = await stores.core.fetch(f"{_CREDENTIALS} ORDER BY id")
    return [_view(row, [each for each in credentials if each["client"] == row["name"]]) for row in rows]


async def get_client(stores: Stores, name: str) -> ClientView:
    """One client; raises NotFoundError."""
    row = await _select(stores.core, name)
    return _view(row, await stores.core.fetch(f"{_CREDENTIALS} WHERE client = $1 ORDER BY id", name))


async def change_scopes(
    stores: Stores, name: str, scopes: Collection[Scope], *, by: str, reason: str
) -> ClientView:
    """Let a client do this and no more, at once, whatever the tokens say that it has. Raises NotFoundError."""
    wanted = _ordered(scopes)
    async with stores.core.acquire() as connection, connection.transaction():
        await _select(connection, name, "FOR UPDATE")
        await connection.execute(
            "UPDATE clients SET scopes = $2, updated_at = now() WHERE name = $1", name, wanted
        )
        await _note(connection, Fact.CLIENT_CHANGED, name, by=by, reason=reason, detail={"scopes": wanted})
    return await get_client(stores, name)


async def enable_client(stores: Stores, name: str, *, enabled: bool, by: str, reason: str) -> ClientView:
    """Let a client in, or keep it out: its tokens are refused from then on. Raises NotFoundError, ConflictError."""
    status, fact = ("active", Fact.CLIENT_ENABLED) if enabled else ("disabled", Fact.CLIENT_DISABLED)
    async with stores.core.acquire() as connection, connection.transaction():
        if (await _select(connection, name, "FOR UPDATE"))["status"] == status:
            raise ConflictError(f"client {name} is {status} already")
        await connection.execute(
            "UPDATE clients SET status = $2, updated_at = now() WHERE name = $1", name, status
        )
        await _note(connection, fact, name, by=by, reason=reason)
    return await get_client(stores, name)


async def add_credential(
    stores: Stores,
    name: str,
    *,
    by: str,
    public_key: dict[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> NewCredential:
    """Give a client a secret, or take its public key, a JWK.

    Raises NotFoundError, InvalidInputError for a key that is none or a time that is over, ConflictError where it has two,
    or is the console.
    """
    if name == CONSOLE:
        raise ConflictError(
            "the console is part of this service: it has no credential, and nobody calls as it"
        )
    key = None if public_key is None else _checked_key(public_key)
    _check_expiry(expires_at)
    async with stores.core.acquire() as connection, connection.transaction():
        return await insert_credential(connection, name, by=by, key=key, expires_at=expires_at)


async def insert_credential(
    connection: asyncpg.Connection,
    name: str,
    *,
    by: str,
    key: dict[str, Any] | None = None,
    expires_at: datetime | None = None,
) -> NewCredential:
    """Give a client a secret, or this public key, which was looked at, in the open transaction; see `add_credential`."""
    secret = new_secret(SECRET_PREFIX) if key is None else None
    await _select(connection, name, "FOR UPDATE")
    await _check_room(connection, name)
    made = await connection.fetchval(
        """
        INSERT INTO client_credentials (client, secret_hash, public_key, created_by, expires_at)
        VALUES ($1, $2, $3, $4, $5) RETURNING id
        """,
        name,
        hash_of(secret) if secret else None,
        msgspec.json.encode(key).decode() if key else None,
        by,
        expires_at,
    )
    row = await connection.fetchrow(f"{_CREDENTIALS} WHERE id = $1", made)
    detail = {"credential": str(made), "kind": row["kind"]}
    await _note(connection, Fact.CREDENTIAL_ADDED, name, by=by, detail=detail)
    return NewCredential(_credential(row), secret)


async def revoke_credential(
    stores: Stores, name: str, credential: UUID, *, by: str, reason: str
) -> ClientView:
    """Let a credential be good no more. Raises NotFoundError, ConflictError where it is revoked already."""
    async with stores.core.acquire() as connection, connection.transaction():
        await _select(connection, name, "FOR UPDATE")
        row = await connection.fetchrow(
            "SELECT revoked_at FROM client_credentials WHERE client = $1 AND id = $2", name, credential
        )
        if row is None:
            raise NotFoundError(f"client {name} has no credential {credential}")
        if row["revoked_at"]:
            raise ConflictError(f"credential {credential} is revoked already")
        await connection.execute("UPDATE client_credentials SET revoked_at = now() WHERE id = $1", credential)
        detail = {"credential": str(credential)}
        await _note(connection, Fact.CREDENTIAL_REVOKED, name, by=by, reason=reason, detail=detail)
    return await get_client(stores, name)


async def _check_room(connection: asyncpg.Connection, name: str) -> None:
    good = await connection.fetchval(
        f"SELECT count(*) FROM client_credentials WHERE client = $1 AND {_GOOD}", name
    )
    if good >= MOST_CREDENTIALS:
        raise ConflictError(
            f"client {name} has {good} credentials that are good; revoke one first", f"/v1/clients/{name}"
        )


def _checked_key(given: dict[str, Any]) -> dict[str, Any]:
    """The public key as it is kept. Nobody hands us a private one unnoticed."""
    try:
        key = import_key(given)
    except UNREADABLE as error:
        raise InvalidInputError("no public key", [Fault("public_key", f"is no JWK: {error}")]) from error
    if not isinstance(key, ECKey | OKPKey | RSAKey):
        raise InvalidInputError(
            "no public key", [Fault("public_key", "is a shared secret: give the JWK of a key pair")]
        )
    if key.is_private:
        message = "is a private key: make a new pair, for this one has been shown, and give its public half"
        raise InvalidInputError("no public key", [Fault("public_key", message)])
    if not isinstance(key, RSAKey) and key.curve_name not in _CURVES:
        raise InvalidInputError(
            "no public key", [Fault("public_key", f"is of none of the curves {', '.join(_CURVES)}")]
        )
    if isinstance(key, RSAKey) and key.public_key.key_size < _LEAST_RSA_BITS:
        raise InvalidInputError("a weak key", [Fault("public_key", f"has fewer than {_LEAST_RSA_BITS} bits")])
    kept = {name: value for name, value in key.as_dict(private=False).items() if name in _MEMBERS}
    return {**kept, "kid": key.thumbprint()}


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        message = "is 2 to 63 small letters, digits and hyphens, and begins with a letter"
        raise InvalidInputError("no name for a client", [Fault("name", message)])
    # The subject of a token is a client's name or a user's id: one must not be taken for the other (RFC 9068, section 5).
    if _is_id(name):
        raise InvalidInputError("no name for a client", [Fault("name", "is spelled like the id of a user")])


def _is_id(name: str) -> bool:
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is None:
        return
    try:
        over = expires_at.astimezone(UTC) <= now()
    except OverflowError:
        fault = Fault("expires_at", "is a time that there is not in UTC")
        raise InvalidInputError("no time to expire at", [fault]) from None
    if over:
        raise InvalidInputError("it has expired already", [Fault("expires_at", "lies in the past")])


def _ordered(scopes: Collection[Scope]) -> list[str]:
    return [each.value for each in Scope if each in scopes]


async def _select(connection: asyncpg.Connection | asyncpg.Pool, name: str, lock: str = "") -> asyncpg.Record:
    row = await connection.fetchrow(f"SELECT * FROM clients WHERE name = $1 {lock}", name)
    if row is None:
        raise NotFoundError(f"no client {name}")
    return row


async def _note(
    connection: asyncpg.Connection,
    fact: Fact,
    name: str,
    *,
    by: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    await record(connection, fact, by=by, target=name, reason=reason, detail=detail, entity=ENTITY, key=name)


def _view(row: asyncpg.Record, credentials: Sequence[asyncpg.Record]) -> ClientView:
    scopes = [Scope(each) for each in row["scopes"]]
    return ClientView(**{**row, "scopes": scopes, "credentials": [_credential(each) for each in credentials]})


def _credential(row: asyncpg.Record) -> CredentialView:
    return CredentialView(**{name: value for name, value in row.items() if name != "client"})
