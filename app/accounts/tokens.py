"""Access tokens: JWTs as RFC 9068 profiles them, signed with ES256, five minutes long.

What verifies them follows RFC 8725: one algorithm, one type, issuer and audience always asked for.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey
from joserfc.jws import extract_compact
from msgspec import Struct

from app.accounts.jose import UNREADABLE, check_claims
from app.accounts.permissions import Role, Scope, spelled
from app.accounts.token_keys import TokenKey, TokenKeys
from app.clock import Clock, now
from app.errors import CoreError

LIFETIME = timedelta(minutes=5)
ALGORITHM = "ES256"
TYPE = "at+jwt"


class TokenRefusedError(CoreError):
    """The token is none of ours, has expired, or is for somebody else. Why is for the log, not for the caller."""


class Claims(Struct, frozen=True, omit_defaults=True):
    """What an access token says (RFC 9068, section 2.2).

    `sid` is there where a user signed in; `credential`, a claim of our own, where a client got it for itself: by which one.
    """

    iss: str
    sub: str
    aud: str
    client_id: str
    exp: int
    iat: int
    jti: str
    scope: str = ""
    sid: UUID | None = None
    credential: UUID | None = None
    roles: list[Role] = []
    auth_time: int | None = None
    amr: list[str] = []

    @property
    def user(self) -> UUID | None:
        """Who signed in, where somebody did."""
        return UUID(self.sub) if self.sid else None


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise TokenRefusedError(f"the access token is refused: {error}") from error


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

    async def for_client(self, client: str, credential: UUID, scopes: Sequence[Scope]) -> Issued:
        """A token by which a client calls this service, for as long as this credential of it is good."""
        return self._issue(
            await self.keys.signing(),
            sub=client,
            aud=self.issuer,
            client_id=client,
            credential=credential,
            scope=spelled(scopes),
        )

    def for_user(self, sign_in: SignIn, client: str, scopes: Sequence[Scope], key: TokenKey) -> Issued:
        """A token that tells a client who has signed in through it, and by which it calls this service for them."""
        return self._issue(
            key,
            sub=str(sign_in.user),
            aud=client,
            client_id=client,
            scope=spelled(scopes),
            sid=sign_in.session,
            roles=sorted(sign_in.roles),
            auth_time=int(sign_in.at.timestamp()),
            amr=list(sign_in.methods),
        )

    async def read(self, token: str) -> Claims:
        """What a token of ours says. Raises TokenRefusedError; whether its session goes on is not looked at."""
        with _refusing():
            name = str(extract_compact(token.encode()).headers().get("kid"))
        key = await self.keys.verifying(name)
        with _refusing():
            return self._verified(token, key)

    def _issue(self, key: TokenKey, **said: Any) -> Issued:
        moment = int(self.clock().timestamp())
        claims = Claims(
            iss=self.issuer, iat=moment, exp=moment + int(LIFETIME.total_seconds()), jti=str(uuid4()), **said
        )
        header = {"alg": ALGORITHM, "typ": TYPE, "kid": key.id}
        return Issued(
            jwt.encode(header, msgspec.to_builtins(claims), key.key, algorithms=[ALGORITHM]), claims
        )

    def _verified(self, token: str, key: ECKey | None) -> Claims:
        if key is None:
            raise ValueError("no key of ours has signed it")
        read = jwt.decode(token, key, algorithms=[ALGORITHM])
        if read.header.get("typ") != TYPE:
            raise ValueError("it is no access token")
        issuer = {"essential": True, "value": self.issuer}
        check_claims(read.claims, self.clock(), iss=issuer, iat={"essential": True})
        claims = msgspec.convert(read.claims, Claims)
        if claims.aud not in (self.issuer, claims.client_id):
            raise ValueError("it is for somebody else")
        if claims.user is None and claims.credential is None:
            raise ValueError("it is neither a user's nor a client's")
        return claims
