"""Access tokens and the keys that sign them, against a real core DB."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey

from app.accounts.encryption import Safe
from app.accounts.permissions import Role, Scope, scopes_of
from app.accounts.token_keys import AHEAD, USED, TokenKeys
from app.accounts.tokens import LIFETIME, SignIn, TokenRefusedError, Tokens
from app.stores.connections import Stores

SAFE = Safe({"a": b"1" * 32}, current="a")
ISSUER = "https://core.example"
SCOPES = [Scope.LOGS_READ, Scope.LOGS_WRITE]
CREDENTIAL = uuid4()


@dataclass
class Time:
    """A clock that the test turns."""

    moment: datetime = datetime(2026, 11, 23, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.moment

    def passes(self, time: timedelta) -> None:
        self.moment += time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def keys(stores: Stores, time: Time) -> TokenKeys:
    return TokenKeys(stores.core, SAFE, time)


@pytest.fixture
def tokens(keys: TokenKeys, time: Time) -> Tokens:
    return Tokens(keys, ISSUER, time)


def changed(token: str, part: int, **claims: object) -> str:
    parts = token.split(".")
    held = msgspec.json.decode(urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    parts[part] = urlsafe_b64encode(msgspec.json.encode(held | claims)).decode().rstrip("=")
    return ".".join(parts)


async def test_a_token_says_what_it_was_issued_for(tokens: Tokens, time: Time) -> None:
    sign_in = SignIn(uuid4(), uuid4(), [Role.OPERATOR], time(), ["pwd", "otp"])
    issued = tokens.for_user(sign_in, "console", SCOPES, await tokens.keys.signing())
    claims = await tokens.read(issued.token)
    assert claims == issued.claims
    assert (claims.iss, claims.aud, claims.sub) == (ISSUER, "console", str(sign_in.user))
    assert (claims.sid, claims.scope.split(), claims.amr) == (sign_in.session, SCOPES, ["pwd", "otp"])
    assert claims.exp - claims.iat <= 300


async def test_anybody_can_verify_it_by_the_published_keys(tokens: Tokens, keys: TokenKeys) -> None:
    issued = await tokens.for_client("shop", CREDENTIAL, SCOPES)
    published = msgspec.json.decode(msgspec.json.encode({"keys": await keys.public()}))
    assert not [each for each in published["keys"] if "d" in each]
    read = jwt.decode(issued.token, KeySet.import_key_set(published), algorithms=["ES256"])
    assert (read.header["typ"], read.claims["sub"]) == ("at+jwt", "shop")


async def test_it_is_good_for_five_minutes(tokens: Tokens, time: Time) -> None:
    issued = await tokens.for_client("shop", CREDENTIAL, SCOPES)
    time.passes(LIFETIME - timedelta(seconds=1))
    await tokens.read(issued.token)
    time.passes(timedelta(seconds=2))
    with pytest.raises(TokenRefusedError, match="expired"):
        await tokens.read(issued.token)


async def test_what_was_changed_or_signed_by_others_is_refused(tokens: Tokens, keys: TokenKeys) -> None:
    issued = await tokens.for_client("shop", CREDENTIAL, SCOPES)
    known, claims = (await keys.signing()).id, msgspec.to_builtins(issued.claims)
    foreign = ECKey.generate_key("P-256")
    public = (await keys.public())[0]
    secret = OctKey.import_key(msgspec.json.encode(public))
    forged = {
        "other claims": changed(issued.token, 1, sub="admin"),
        "no algorithm": changed(issued.token, 0, alg="none"),
        "no signature": issued.token.rpartition(".")[0] + ".",
        "another key": jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": known}, claims, foreign),
        "an unknown key": jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "x"}, claims, foreign),
        "the public key as a secret": jwt.encode(
            {"alg": "HS256", "typ": "at+jwt", "kid": known}, claims, secret
        ),
        "nothing": "",
        "no token": "a.b.c",
        "no ASCII": "é.é.é",
    }
    for name, token in forged.items():
        with pytest.raises(TokenRefusedError):
            pytest.fail(f"{name}: {await tokens.read(token)}")


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"typ": "JWT"}, {}),
        ({}, {"iss": "https://other.example"}),
        ({}, {"aud": "another client"}),
        ({}, {"exp": None}),
        ({}, {"sub": 7}),
        ({}, {"iss": None}),
    ],
)
async def test_a_token_of_ours_for_something_else_is_refused(
    tokens: Tokens, keys: TokenKeys, header: dict[str, str], claims: dict[str, object]
) -> None:
    issued = await tokens.for_client("shop", CREDENTIAL, SCOPES)
    key = await keys.signing()
    told = {
        each: value
        for each, value in (msgspec.to_builtins(issued.claims) | claims).items()
        if value is not None
    }
    token = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": key.id} | header, told, key.key)
    with pytest.raises(TokenRefusedError):
        await tokens.read(token)


async def test_the_next_key_is_published_a_day_before_it_signs(
    keys: TokenKeys, tokens: Tokens, time: Time
) -> None:
    first = await keys.signing()
    time.passes(USED - AHEAD + timedelta(minutes=2))
    assert (await keys.signing()).id == first.id
    published = [each["kid"] for each in await keys.public()]
    assert len(published) == 2

    time.passes(AHEAD - timedelta(minutes=4))
    last = await tokens.for_client("shop", CREDENTIAL, SCOPES)
    time.passes(timedelta(minutes=4))
    assert (await keys.signing()).id == published[1]
    assert (await tokens.read(last.token)).sub == "shop"  # of the key before
    time.passes(timedelta(hours=2))
    assert [each["kid"] for each in await keys.public()] == [published[1]]


async def test_a_process_that_slept_for_months_signs_with_a_fresh_key(keys: TokenKeys, time: Time) -> None:
    first = await keys.signing()
    time.passes(3 * USED)
    later = await keys.signing()
    assert later.id != first.id
    assert later.used_until - time() > AHEAD


async def test_two_processes_share_their_keys(stores: Stores, time: Time) -> None:
    here, there = (Tokens(TokenKeys(stores.core, SAFE, time), ISSUER, time) for _ in range(2))
    for one, other in ((here, there), (there, here)):
        time.passes(timedelta(seconds=2))
        assert (await other.read((await one.for_client("shop", CREDENTIAL, SCOPES)).token)).sub == "shop"
    assert await stores.core.fetchval("SELECT count(*) FROM token_keys") == 1


async def test_the_core_db_has_no_private_key_in_clear(keys: TokenKeys, stores: Stores) -> None:
    key = await keys.signing()
    private = key.key.as_dict(private=True)["d"]
    kept = await stores.core.fetchval("SELECT token_keys::text FROM token_keys")
    assert private not in kept
    assert key.id in kept


def test_a_user_may_no_more_than_the_client_they_signed_in_through() -> None:
    assert scopes_of([Role.ADMIN], [Scope.USERS_AUTHENTICATE]) == []
    assert scopes_of([Role.CUSTOMER], list(Scope)) == []
    assert scopes_of([Role.AUDITOR], [Scope.AUDIT_READ, Scope.USERS_WRITE]) == [Scope.AUDIT_READ]
    assert set(scopes_of([Role.ADMIN], list(Scope))) >= set(
        scopes_of([Role.OPERATOR, Role.AUDITOR], list(Scope))
    )
