"""Access tokens: JWTs as RFC 9068 profiles them, signed with ES256, five minutes long.

What verifies them follows RFC 8725: one algorithm, one type, issuer and audience always asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import extract_compact
from msgspec import Struct

from app.accounts.permissions import Role, Scope
from app.accounts.token_keys import TokenKeys
from app.clock import Clock, now
from app.errors import CoreError

LIFETIME = timedelta(minutes=5)
ALGORITHM = "ES256"
TYPE = "at+jwt"


class TokenRefusedError(CoreError):
    """The token is none of ours, has expired, or is for somebody else. Why is for the log, not for the caller."""


class Claims(Struct, frozen=True, omit_defaults=True):
    """What an access token says (RFC 9068, section 2.2). `sid` is there where a user signed in."""

    iss: str
    sub: str
    aud: str
    client_id: str
    exp: int
    iat: int
    jti: str
    scope: str = ""
    sid: str | None = None
    roles: list[Role] = []
    auth_time: int | None = None
    amr: list[str] = []

    @property
    def scopes(self) -> list[str]:
        return self.scope.split()

    @property
    def user(self) -> UUID:
        """Who signed in, where somebody did."""
        return UUID(self.sub)

    @property
    def session(self) -> UUID | None:
        return UUID(self.sid) if self.sid else None


class SignIn(Struct, frozen=True):
    """Who signed in, when and how (RFC 8176 names the methods)."""

    session: UUID
    user: UUID
    roles: Sequence[Role]
    at: datetime
    methods: Sequence[str]


class Issued(Struct, frozen=True):
    """A token and what it says."""

    token: str
    claims: Claims


@dataclass(frozen=True)
class Tokens:
    """Issues and verifies; `issuer` is the URL of this service."""

    keys: TokenKeys
    issuer: str
    clock: Clock = now

    async def for_client(self, client: str, scopes: Sequence[Scope]) -> Issued:
        """A token by which a client calls this service."""
        return await self._issue(sub=client, aud=self.issuer, client_id=client, scope=" ".join(scopes))

    async def for_user(self, sign_in: SignIn, client: str, scopes: Sequence[Scope]) -> Issued:
        """A token that tells a client who has signed in through it, and by which it calls this service for them."""
        return await self._issue(
            sub=str(sign_in.user),
            aud=client,
            client_id=client,
            scope=" ".join(scopes),
            sid=str(sign_in.session),
            roles=sorted(sign_in.roles),
            auth_time=int(sign_in.at.timestamp()),
            amr=list(sign_in.methods),
        )

    async def read(self, token: str) -> Claims:
        """What a token of ours says. Raises TokenRefusedError; whether its session goes on is not looked at."""
        try:
            return await self._read(token)
        except (JoseError, msgspec.ValidationError, ValueError) as error:
            raise TokenRefusedError(f"the access token is refused: {error}") from error

    async def _issue(self, **said: Any) -> Issued:
        key, moment = await self.keys.signing(), int(self.clock().timestamp())
        claims = Claims(
            iss=self.issuer, iat=moment, exp=moment + int(LIFETIME.total_seconds()), jti=str(uuid4()), **said
        )
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.id}
        return Issued(
            jwt.encode(header, msgspec.to_builtins(claims), key.key, algorithms=[ALGORITHM]), claims
        )

    async def _read(self, token: str) -> Claims:
        header = extract_compact(token.encode()).headers()
        key = await self.keys.verifying(str(header.get("kid")))
        if key is None:
            raise ValueError("no key of ours has signed it")
        read = jwt.decode(token, key, algorithms=[ALGORITHM])
        if read.header.get("typ") != TYPE:
            raise ValueError("it is no access token")
        self._registry().validate(read.claims)
        claims = msgspec.convert(read.claims, Claims)
        if claims.aud not in (self.issuer, claims.client_id):
            raise ValueError("it is for somebody else")
        return claims

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self.clock().timestamp()),
            iss={"essential": True, "value": self.issuer},
            exp={"essential": True},
            iat={"essential": True},
        )
