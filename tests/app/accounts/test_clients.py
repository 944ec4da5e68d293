"""Service clients, against a real core DB."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from app.accounts import clients
from app.accounts.permissions import Scope
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.stores.connections import Stores
from tests.app.accounts.conftest import facts

SCOPES = [Scope.LOGS_WRITE, Scope.USERS_AUTHENTICATE]


@pytest.fixture
async def shop(stores: Stores) -> str:
    await clients.create_client(stores, "shop", SCOPES, by="test")
    return "shop"


async def test_a_client_has_its_scopes_and_no_credential_yet(stores: Stores, shop: str) -> None:
    client = await clients.get_client(stores, shop)
    assert (client.scopes, client.credentials) == ([Scope.USERS_AUTHENTICATE, Scope.LOGS_WRITE], [])
    assert [each.name for each in await clients.list_clients(stores)] == ["shop"]
    with pytest.raises(ConflictError):
        await clients.create_client(stores, shop, [], by="test")


@pytest.mark.parametrize("name", ["", "a", "Shop", "1shop", "shop shop", "x" * 64, "sh\x00p"])
async def test_what_is_no_name_is_refused(stores: Stores, name: str) -> None:
    with pytest.raises(InvalidInputError):
        await clients.create_client(stores, name, [], by="test")


async def test_a_secret_is_told_once_and_kept_as_a_hash(stores: Stores, shop: str) -> None:
    made = await clients.add_credential(stores, shop, by="test")
    assert made.secret
    assert made.secret.startswith("acs_")
    kept = await stores.core.fetchval("SELECT client_credentials::text FROM client_credentials")
    kept += await stores.core.fetchval("SELECT string_agg(entry::text, ' ') FROM audit_outbox")
    assert made.secret not in kept
    assert (await clients.get_client(stores, shop)).credentials == [made.credential]


async def test_two_credentials_are_good_at_a_time(stores: Stores, shop: str) -> None:
    first = await clients.add_credential(stores, shop, by="test")
    await clients.add_credential(stores, shop, by="test")
    with pytest.raises(ConflictError, match="revoke one first"):
        await clients.add_credential(stores, shop, by="test")
    await clients.revoke_credential(stores, shop, first.credential.id, by="test", reason="rotated")
    await clients.add_credential(stores, shop, by="test")
    with pytest.raises(ConflictError, match="revoked already"):
        await clients.revoke_credential(stores, shop, first.credential.id, by="test", reason="again")
    assert (await facts(stores))[-2:] == ["credential:revoke", "credential:add"]


async def test_a_public_key_is_taken_and_its_private_half_is_not(stores: Stores, shop: str) -> None:
    key = ECKey.generate_key("P-256")
    made = await clients.add_credential(stores, shop, by="test", public_key=key.as_dict(private=False))
    assert (made.secret, made.credential.kind) == (None, "key")
    bad = {
        "private": key.as_dict(private=True),
        "a shared secret": OctKey.generate_key(256).as_dict(private=True),
        "weak": RSAKey.generate_key(2048).as_dict(private=False),
        "nothing": {},
        "nonsense": {"kty": "EC", "crv": "P-256", "x": "?", "y": 7},
    }
    for name, given in bad.items():
        with pytest.raises(InvalidInputError) as told:
            pytest.fail(f"{name}: {await clients.add_credential(stores, shop, by='test', public_key=given)}")
        assert [each.where for each in told.value.faults] == ["public_key"]


async def test_a_credential_may_have_an_end_but_not_one_that_is_over(stores: Stores, shop: str) -> None:
    end = datetime.now(UTC) + timedelta(days=90)
    made = await clients.add_credential(stores, shop, by="test", expires_at=end)
    assert made.credential.expires_at == end
    with pytest.raises(InvalidInputError):
        await clients.add_credential(stores, shop, by="test", expires_at=datetime.now(UTC))


async def test_scopes_and_admission_change_with_a_reason(stores: Stores, shop: str) -> None:
    changed = await clients.change_scopes(stores, shop, [Scope.LOGS_READ], by="test", reason="less is enough")
    assert changed.scopes == [Scope.LOGS_READ]
    assert (
        await clients.enable_client(stores, shop, enabled=False, by="test", reason="x")
    ).status == "disabled"
    with pytest.raises(ConflictError):
        await clients.enable_client(stores, shop, enabled=False, by="test", reason="x")
    assert (await clients.enable_client(stores, shop, enabled=True, by="test", reason="x")).status == "active"
    assert (await facts(stores))[-3:] == ["client:change", "client:disable", "client:enable"]


async def test_unknown_clients_are_not_found(stores: Stores, shop: str) -> None:
    for call in (
        clients.get_client(stores, "nobody"),
        clients.change_scopes(stores, "nobody", [], by="test", reason="x"),
        clients.enable_client(stores, "nobody", enabled=False, by="test", reason="x"),
        clients.add_credential(stores, "nobody", by="test"),
        clients.revoke_credential(stores, shop, uuid4(), by="test", reason="x"),
    ):
        with pytest.raises(NotFoundError):
            await call
