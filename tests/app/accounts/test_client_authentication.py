"""Clients prove who they are, against a real core DB."""

from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from app.accounts import clients
from app.accounts.client_authentication import ClientDesk, ClientRefusedError
from app.accounts.permissions import Scope
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time

AUDIENCE = "https://core.example"


@pytest.fixture
def desk(stores: Stores, time: Time) -> ClientDesk:
    return ClientDesk(stores.core, (AUDIENCE, f"{AUDIENCE}/oauth/token"), time)


@pytest.fixture
async def shop(stores: Stores) -> str:
    for name in ("shop", "other"):
        await clients.create_client(stores, name, [Scope.LOGS_WRITE], by="test")
    return "shop"


async def secret_of(stores: Stores, name: str) -> str:
    made = await clients.add_credential(stores, name, by="test")
    assert made.secret
    return made.secret


async def test_the_secret_of_a_client_lets_it_in(
    stores: Stores, desk: ClientDesk, shop: str, time: Time
) -> None:
    client = await desk.by_secret(shop, await secret_of(stores, shop))
    assert (client.name, client.scopes) == ("shop", [Scope.LOGS_WRITE])
    (credential,) = (await clients.get_client(stores, shop)).credentials
    assert credential.last_used_at == time()


async def test_both_secrets_are_good_while_one_takes_the_place_of_the_other(
    stores: Stores, desk: ClientDesk, shop: str
) -> None:
    old, new = await secret_of(stores, shop), await secret_of(stores, shop)
    for secret in (old, new):
        await desk.by_secret(shop, secret)
    credential = (await clients.get_client(stores, shop)).credentials[0]
    await clients.revoke_credential(stores, shop, credential.id, by="test", reason="rotated")
    await desk.by_secret(shop, new)
    with pytest.raises(ClientRefusedError):
        await desk.by_secret(shop, old)


@pytest.mark.parametrize("what", ["another's", "wrong", "empty", "disabled", "over", "\x00", "\ud800"])
async def test_any_other_secret_does_not(
    stores: Stores, desk: ClientDesk, shop: str, time: Time, what: str
) -> None:
    end = time() + timedelta(hours=1)
    made = await clients.add_credential(stores, shop, by="test", expires_at=end)
    name, secret = shop, made.secret or ""
    match what:
        case "another's":
            secret = await secret_of(stores, "other")
        case "wrong":
            secret = secret[:-1]
        case "empty":
            secret = ""
        case "disabled":
            await clients.enable_client(stores, shop, enabled=False, by="test", reason="x")
        case "over":
            time.passes(timedelta(hours=1))
        case _:
            name = what
    with pytest.raises(ClientRefusedError) as told:
        await desk.by_secret(name, secret)
    assert str(told.value) == "the client is not known, or did not prove who it is"


def assertion(key: ECKey | OKPKey | RSAKey, time: Time, algorithm: str = "ES256", **claims: object) -> str:
    moment = int(time().timestamp())
    told = {
        "iss": "shop",
        "sub": "shop",
        "aud": AUDIENCE,
        "exp": moment + 60,
        "iat": moment,
        "jti": str(uuid4()),
    }
    told = {name: value for name, value in (told | claims).items() if value is not None}
    return jwt.encode({"alg": algorithm}, told, key, algorithms=[algorithm])


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", ECKey.generate_key("P-256")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
        ("PS256", RSAKey.generate_key(3072)),
    ],
    ids=["ES256", "Ed25519", "PS256"],
)
async def test_an_assertion_of_its_key_lets_a_client_in_once(
    desk: ClientDesk, shop: str, time: Time, algorithm: str, key: ECKey
) -> None:
    stores = SimpleNamespace(core=desk.core)
    await clients.add_credential(stores, shop, by="test", public_key=key.as_dict(private=False))
    told = assertion(key, time, algorithm, aud=f"{AUDIENCE}/oauth/token")
    assert (await desk.by_assertion(told)).name == "shop"
    with pytest.raises(ClientRefusedError) as refused:
        await desk.by_assertion(told)
    assert refused.value.why == "an assertion was used twice"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://elsewhere.example"},
        {"aud": None},
        {"iss": "other"},
        {"sub": "other"},
        {"sub": None},
        {"exp": None},
        {"exp": 0},
        {"exp": 10**11},
        {"exp": "soon"},
        {"jti": None},
        {"jti": 7},
        {"jti": "\x00"},
        {"nbf": 10**11},
    ],
    ids=str,
)
async def test_an_assertion_that_says_something_else_does_not(
    stores: Stores, desk: ClientDesk, shop: str, time: Time, claims: dict[str, object]
) -> None:
    key = ECKey.generate_key("P-256")
    await clients.add_credential(stores, shop, by="test", public_key=key.as_dict(private=False))
    with pytest.raises(ClientRefusedError):
        await desk.by_assertion(assertion(key, time, **claims))


async def test_nor_does_one_of_another_key_or_of_another_client(
    stores: Stores, desk: ClientDesk, shop: str, time: Time
) -> None:
    own, foreign = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    await clients.add_credential(stores, shop, by="test", public_key=own.as_dict(private=False))
    await clients.add_credential(stores, "other", by="test", public_key=foreign.as_dict(private=False))
    with pytest.raises(ClientRefusedError):
        await desk.by_assertion(assertion(foreign, time))
    with pytest.raises(ClientRefusedError):
        await desk.by_assertion(assertion(own, time), "other")
    for nonsense in ("", "a.b.c", "e30.e30.", "é"):
        with pytest.raises(ClientRefusedError):
            await desk.by_assertion(nonsense)
