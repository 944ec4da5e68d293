"""Tokens and keys that somebody else has made: whatever they are, they are refused and nothing worse."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from app.accounts import clients
from app.accounts.client_authentication import ClientRefusedError
from app.accounts.jose import LEEWAY
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.accounts.tokens import LIFETIME, SignIn, TokenRefusedError
from app.errors import InvalidInputError
from tests.app.accounts.conftest import ISSUER, Time

MOMENT = int(LEEWAY.total_seconds())
BAD_HEADERS: list[Any] = [
    ["alg"], "alg", 7, None, {}, {"alg": 7}, {"alg": ["ES256"]}, {"alg": "ES256", "crit": 7}, {"alg": "ES256", "kid": ["x"]},
]  # fmt: skip


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return urlsafe_b64encode(raw).decode().rstrip("=")


async def test_a_token_of_any_shape_is_refused(accounts: Accounts) -> None:
    payloads = [{"sub": "shop"}, ["sub"], b"[" * 9000]
    for header, payload in product([*BAD_HEADERS, b"[" * 9000, b"\xff", b""], payloads):
        token = f"{part(header)}.{part(payload)}.{part(b'x' * 64)}"
        with pytest.raises(TokenRefusedError):
            pytest.fail(f"{header!r}: {await accounts.tokens.read(token)}")
        with pytest.raises(ClientRefusedError):
            pytest.fail(f"{header!r}: {await accounts.clients.by_assertion(token)}")


async def signed(accounts: Accounts, **claims: Any) -> str:
    """A token of ours that says something else."""
    key = await accounts.tokens.keys.signing()
    sign_in = SignIn(uuid4(), uuid4(), [], accounts.clock(), ["pwd"])
    said = msgspec.to_builtins(accounts.tokens.for_user(sign_in, "shop", [], key).claims) | claims
    given = {name: value for name, value in said.items() if value is not None}
    return jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.id}, given, key.key)


@pytest.mark.parametrize(
    "claims",
    [{"sid": "x"}, {"sid": 7}, {"sub": "ada"}, {"sid": None}, {"credential": "x", "sid": None}],
    ids=str,
)
async def test_a_token_of_ours_that_names_nobody_is_refused(
    accounts: Accounts, claims: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefusedError):
        await accounts.tokens.read(await signed(accounts, **claims))


@pytest.mark.parametrize("claim", ["iat", "nbf"])
async def test_the_clock_of_who_issued_a_token_may_be_half_a_minute_ahead(
    accounts: Accounts, time: Time, claim: str
) -> None:
    moment = int(time().timestamp())
    await accounts.tokens.read(await signed(accounts, **{claim: moment + MOMENT}))
    with pytest.raises(TokenRefusedError):
        await accounts.tokens.read(await signed(accounts, **{claim: moment + MOMENT + 1}))


async def test_what_has_expired_has_expired(accounts: Accounts, time: Time) -> None:
    token = await signed(accounts)
    time.passes(LIFETIME)
    with pytest.raises(TokenRefusedError, match="expired"):
        await accounts.tokens.read(token)


@pytest.mark.parametrize(
    ("claims", "taken"),
    [
        ({"iat": MOMENT, "nbf": MOMENT, "exp": 300 + MOMENT}, True),
        ({"iat": MOMENT + 1}, False),
        ({"nbf": MOMENT + 1}, False),
        ({"exp": 300 + MOMENT + 1}, False),
        ({"exp": 0}, False),
    ],
    ids=str,
)
async def test_so_may_the_clock_of_a_client(
    accounts: Accounts, time: Time, claims: dict[str, int], taken: bool
) -> None:
    key = ECKey.generate_key("P-256")
    await clients.add_credential(accounts.stores, "shop", by="test", public_key=key.as_dict(private=False))
    time.moment = time.moment.replace(microsecond=0)
    said = {name: int(time().timestamp()) + later for name, later in ({"exp": 60} | claims).items()}
    who: dict[str, Any] = {"iss": "shop", "sub": "shop", "aud": ISSUER, "jti": str(claims)}
    assertion = jwt.encode({"alg": "ES256"}, who | said, key)
    if taken:
        assert (await accounts.clients.by_assertion(assertion)).name == "shop"
        return
    with pytest.raises(ClientRefusedError):
        await accounts.clients.by_assertion(assertion)


async def test_a_time_that_is_none_is_refused(accounts: Accounts) -> None:
    key = ECKey.generate_key("P-256")
    await clients.add_credential(accounts.stores, "shop", by="test", public_key=key.as_dict(private=False))
    for exp in (float("inf"), float("nan"), "soon", True, 10**400):
        claims = {"iss": "shop", "sub": "shop", "aud": ISSUER, "jti": repr(exp), "exp": exp}
        with pytest.raises(ClientRefusedError):
            await accounts.clients.by_assertion(jwt.encode({"alg": "ES256"}, claims, key))


EC = ECKey.generate_key("P-256").as_dict(private=False)


NO_KEYS: list[dict[str, Any]] = [
    {"kty": "OKP", "crv": "X"},
    {"kty": "OKP", "crv": "X", "x": "AA"},
    {"kty": "EC", "crv": "X", "x": "AA", "y": "AA"},
    {"kty": "EC", "crv": "secp256k1", "x": EC["x"], "y": EC["y"]},
    {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
    {"kty": ["x"]},
    {"kty": "RSA", "n": "", "e": ""},
    {**EC, "x": "é"},
    {**EC, "d": 7},
    {},
]


async def test_what_is_no_public_key_is_refused(accounts: Accounts) -> None:
    for key in NO_KEYS:
        with pytest.raises(InvalidInputError) as raised:
            pytest.fail(f"{await clients.add_credential(accounts.stores, 'shop', by='test', public_key=key)}")
        assert [fault.where for fault in raised.value.faults] == ["public_key"], key


async def test_of_a_key_only_the_key_is_kept(accounts: Accounts) -> None:
    await clients.add_credential(
        accounts.stores, "shop", by="test", public_key={**EC, "kid": "mine", "note": "\0"}
    )
    kept = msgspec.json.decode(
        await accounts.stores.core.fetchval("SELECT public_key FROM client_credentials")
    )
    assert kept.keys() == {"kty", "crv", "x", "y", "kid"}
    assert kept["kid"] != "mine"


@pytest.mark.parametrize("spelled", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_credential_expires_at_a_time_that_there_is(accounts: Accounts, spelled: str) -> None:
    with pytest.raises(InvalidInputError):
        await clients.add_credential(
            accounts.stores, "shop", by="test", expires_at=datetime.fromisoformat(spelled)
        )
    later = datetime.now(UTC) + timedelta(days=1)
    made = await clients.add_credential(accounts.stores, "shop", by="test", expires_at=later)
    assert made.credential.expires_at == later


@pytest.mark.parametrize("name", ["abcdef12-3456-7890-abcd-ef1234567890", "a" * 32])
async def test_no_client_is_named_like_a_user(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidInputError, match="no name"):
        await clients.create_client(accounts.stores, name, [Scope.LOGS_READ], by="test")
