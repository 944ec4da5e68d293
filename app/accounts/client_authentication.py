"""How a client proves who it is: by a secret, or by an assertion signed with its private key (RFC 7523, `private_key_jwt`)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from joserfc import jwt
from joserfc.jwk import import_key
from joserfc.jws import extract_compact
from loguru import logger
from msgspec import Struct

from app.accounts.jose import LEEWAY, UNREADABLE, check_claims
from app.accounts.permissions import Scope
from app.accounts.secrets import hash_of
from app.clock import Clock, now
from app.errors import CoreError

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS = ["ES256", "ES384", "ES512", "PS256", "Ed25519", "EdDSA"]
MOST_LIFETIME = timedelta(minutes=5)
# That a credential was used is noted once a minute, not with each call.
_NOTED = timedelta(minutes=1)


class Client(Struct, frozen=True):
    """A client, and what it may do."""

    name: str
    scopes: Collection[Scope]


class ProvenClient(Client, frozen=True):
    """A client that has just proven who it is, by this credential of its."""

    credential: UUID


_HOLDER = """
    SELECT credential.id, credential.last_used_at, name, scopes FROM client_credentials AS credential
    JOIN clients ON name = client WHERE secret_hash = $1 AND name = $2
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $3) AND status = 'active'
"""
_KEYS = """
    SELECT credential.id, credential.last_used_at, public_key, name, scopes FROM client_credentials AS credential
    JOIN clients ON name = client WHERE public_key IS NOT NULL AND name = $1
        AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) AND status = 'active'
"""


class ClientRefusedError(CoreError):
    """The client is unknown, disabled, or did not prove who it is: nobody is told which."""

    def __init__(self, why: str) -> None:
        super().__init__("the client is not known, or did not prove who it is")
        self.why = why


@dataclass(frozen=True)
class ClientDesk:
    """Knows clients by their credentials. `audiences` are what assertions may be addressed to: the issuer, the token endpoint."""

    core: asyncpg.Pool
    audiences: tuple[str, ...]
    clock: Clock = now

    async def by_secret(self, name: str, secret: str) -> ProvenClient:
        """The client with this secret; raises ClientRefusedError."""
        if not _is_text(name):
            raise _refused(name, "no name")
        row = await self.core.fetchrow(_HOLDER, hash_of(secret), name, self.clock())
        if row is None:
            raise _refused(name, "no such secret")
        return await self._known(row)

    async def by_assertion(self, assertion: str, name: str | None = None) -> ProvenClient:
        """The client that has signed this assertion, which is good once; raises ClientRefusedError."""
        claimed = name or _subject(assertion)
        if claimed is None or not _is_text(claimed):
            raise _refused(claimed, "no assertion")
        for row in await self.core.fetch(_KEYS, claimed, self.clock()):
            claims = self._verified(assertion, row["public_key"], claimed)
            if claims is not None:
                await self._use_up(claimed, claims)
                return await self._known(row)
        raise _refused(claimed, "signed with none of its keys, or not for us, or not now")

    def _verified(self, assertion: str, public_key: str, name: str) -> dict[str, Any] | None:
        """What it says, where this key has signed it and it is for us, and now."""
        moment, itself = self.clock(), {"essential": True, "value": name}
        audiences = {"essential": True, "values": list(self.audiences)}
        try:
            key = import_key(msgspec.json.decode(public_key))
            claims = jwt.decode(assertion, key, algorithms=ALGORITHMS).claims
            check_claims(claims, moment, iss=itself, sub=itself, aud=audiences, jti={"essential": True})
            lifetime = timedelta(seconds=int(claims["exp"]) - int(moment.timestamp()))
            in_time = lifetime <= MOST_LIFETIME + LEEWAY
        except UNREADABLE:
            return None
        return claims if in_time and isinstance(claims["jti"], str) and _is_text(claims["jti"]) else None

    async def _use_up(self, name: str, claims: dict[str, Any]) -> None:
        taken = await self.core.fetchval(
            "INSERT INTO client_assertions (client, jti, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING jti",
            name,
            hash_of(claims["jti"]).hex(),
            datetime.fromtimestamp(int(claims["exp"]), UTC),
        )
        if taken is None:
            raise _refused(name, "an assertion was used twice")

    async def _known(self, row: asyncpg.Record) -> ProvenClient:
        moment = self.clock()
        if row["last_used_at"] is None or moment - row["last_used_at"] > _NOTED:
            await self.core.execute(
                "UPDATE client_credentials SET last_used_at = $2 WHERE id = $1", row["id"], moment
            )
        return ProvenClient(row["name"], [Scope(each) for each in row["scopes"]], row["id"])


def _subject(assertion: str) -> str | None:
    """Whom the assertion claims to be from; nothing is believed yet."""
    try:
        claims = msgspec.json.decode(extract_compact(assertion.encode()).payload)
    except UNREADABLE:
        return None
    subject = claims.get("sub") if isinstance(claims, dict) else None
    return subject if isinstance(subject, str) else None


def _is_text(text: str) -> bool:
    """Whether a database takes it."""
    return "\0" not in text and text.encode(errors="ignore").decode() == text


def _refused(name: str | None, why: str) -> ClientRefusedError:
    logger.bind(client=name, reason=why).warning("client.refused")
    return ClientRefusedError(why)
