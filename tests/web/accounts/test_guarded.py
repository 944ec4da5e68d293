"""What accounts ask of callers beyond a scope: a machine, a fresh sign-in, a reason; and what is told of it."""

from base64 import b32decode
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from litestar import Litestar

from app.accounts.admission import admit
from app.accounts.limits import SignInLimits
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.views import UserView
from tests.app.accounts.conftest import PASSWORD, Time, user_with
from tests.web.accounts.conftest import Client
from tests.web.accounts.test_accounts import FROM, login

ADA = "ada@example.com"


@pytest.mark.parametrize("path", ["/v1/auth/login", "/v1/auth/password-reset"])
@pytest.mark.parametrize("machine", [None, "here", "fe80::1%0", "::1%" + "a" * 900, 7])
async def test_a_service_tells_from_which_machine(
    shop: httpx.AsyncClient, accounts: Accounts, path: str, machine: object
) -> None:
    body: dict[str, object] = {"email": ADA} | ({"client_ip": machine} if machine else {})
    answer = await shop.post(path, json=body | ({"password": PASSWORD} if path.endswith("login") else {}))
    assert answer.status_code == 422
    assert [each["where"] for each in answer.json()["errors"]] == ["client_ip"]
    assert await accounts.stores.broker.keys(f"{accounts.stores.settings.namespace}:*") == []


async def test_an_address_is_neither_kept_nor_logged_as_what_can_be_tried(
    shop: httpx.AsyncClient, accounts: Accounts, logged: list[dict[str, Any]]
) -> None:
    await login(shop, password="wrong")
    kept = await accounts.stores.core.fetchval("SELECT address_hash FROM sign_in_failures")
    assert kept == accounts.hashing.pseudonym(ADA) != sha256(ADA.encode()).digest()
    (told,) = [each for each in logged if each["event"] == "signin.refused"]
    assert (told["account"], told["by"]) == (kept.hex()[:16], "client:shop")
    assert told["machine"] == accounts.hashing.pseudonym(FROM["client_ip"]).hex()[:16]
    assert FROM["client_ip"] not in str(told)


async def test_why_a_token_is_refused_is_logged_and_not_told(
    caller: Client, logged: list[dict[str, Any]]
) -> None:
    answer = await (await caller(token="no.such.token")).get("/v1/me")
    assert answer.status_code == 401
    (told,) = [each for each in logged if each["event"] == "token.refused"]
    assert told["reason"]
    assert told["reason"] not in answer.text


async def admin_of(
    shop: httpx.AsyncClient, accounts: Accounts, caller: Client, time: Time
) -> tuple[UserView, httpx.AsyncClient]:
    """An admin with a second factor, whose sign-in is eleven minutes old."""
    user = await user_with(accounts, "boss@example.com", Role.ADMIN)
    tokens = (await login(shop, "boss@example.com")).json()
    me = await caller(token=tokens["access_token"])
    key = b32decode((await me.post("/v1/me/second-factor")).json()["secret"])
    code = TOTP(key, 6, SHA1(), 30).generate(int(time().timestamp())).decode()
    assert (await me.post("/v1/me/second-factor/confirm", json={"code": code})).status_code == 200
    await accounts.stores.core.execute("UPDATE sessions SET created_at = created_at - interval '11 minutes'")
    fresh = await shop.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    return user, await caller(token=fresh.json()["access_token"])


async def test_an_admin_whose_sign_in_is_old_changes_nothing_by_which_somebody_gets_in(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView, caller: Client, time: Time
) -> None:
    boss, me = await admin_of(shop, accounts, caller, time)
    assert (await me.get("/v1/users")).status_code == 200
    other = {"email": "x@example.com"}
    for call in (
        me.patch(f"/v1/users/{boss.id}", json=other),
        me.patch(f"/v1/users/{ada.id}", json=other),
        me.patch(f"/v1/users/{ada.id}", json={"roles": ["admin"]}),
        me.post("/v1/users", json=other | {"roles": ["admin"], "password": PASSWORD}),
        me.delete(f"/v1/users/{boss.id}/second-factor", params={"reason": "x"}),
        me.delete(f"/v1/users/{ada.id}", params={"reason": "x"}),
        me.post(f"/v1/users/{ada.id}/unlock", json={"reason": "x"}),
        me.post("/v1/clients", json={"name": "evil", "scopes": []}),
        me.post("/v1/clients/shop/enable", json={"reason": "x"}),
        me.patch("/v1/clients/shop", json={"scopes": [], "reason": "x"}),
        me.post("/v1/clients/shop/credentials", json={}),
    ):
        answer = await call
        assert answer.status_code == 403, answer.request.url
        assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    changed = await me.patch(f"/v1/users/{ada.id}", json={"given_name": "Ada"})
    assert changed.json()["given_name"] == "Ada"
    assert (
        await shop.patch(f"/v1/users/{ada.id}", json=other)
    ).status_code == 200  # a service has no sign-in


async def test_an_operator_lets_users_in_and_reaches_nobody_who_has_more_rights(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView, caller: Client, web: Litestar
) -> None:
    relaxed = replace(accounts, strict=False)  # a second factor is not what this is about
    web.state.accounts, web.state.admit = relaxed, partial(admit, relaxed)
    await user_with(accounts, "operator@example.com", Role.OPERATOR)
    boss = await user_with(accounts, "boss@example.com", Role.ADMIN)
    me = await caller(token=(await login(shop, "operator@example.com")).json()["access_token"])
    why = {"reason": "seen abroad"}
    for user, statuses in ((ada, [200, 200, 204]), (boss, [403] * 3)):
        calls = [
            me.post(f"/v1/users/{user.id}/{each}", json=why) for each in ("lock", "unlock", "allow-sign-in")
        ]
        assert [(await call).status_code for call in calls] == statuses
    assert (
        await me.post("/v1/users", json={"email": "x@example.com", "roles": ["operator"]})
    ).status_code == 422


@pytest.mark.parametrize("reason", ["", "   ", "x" * 1001])
async def test_a_reason_says_why(shop: httpx.AsyncClient, ada: UserView, reason: str) -> None:
    for path in (
        f"/v1/users/{ada.id}",
        f"/v1/users/{ada.id}/second-factor",
        f"/v1/clients/shop/credentials/{ada.id}",
    ):
        answer = await shop.delete(path, params={"reason": reason})
        assert answer.status_code == 422, path
        assert [each["where"] for each in answer.json()["errors"]] == ["reason"]
    assert (await shop.get(f"/v1/users/{ada.id}")).status_code == 200


async def test_an_address_is_changed_by_whoever_reads_its_mail(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView, caller: Client, web: Litestar
) -> None:
    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, accounts.hashing.pseudonym
    )
    web.state.accounts = replace(accounts, limits=limits)
    await user_with(accounts, "bob@example.com")
    me = await caller(token=(await login(shop)).json()["access_token"])
    assert (await me.patch("/v1/me", json={"email": "x@example.com"})).status_code == 422
    wrong = await me.post("/v1/me/email", json={"email": "x@example.com", "password": "wrong"})
    assert (wrong.status_code, wrong.json()["errors"][0]["where"]) == (422, "password")
    for email in ("bob@example.com", "free@example.com"):
        await accounts.stores.broker.flushdb()
        answer = await me.post("/v1/me/email", json={"email": email, "password": PASSWORD})
        assert (answer.status_code, answer.content) == (204, b"")
    again = await me.post("/v1/me/email", json={"email": "free@example.com", "password": PASSWORD})
    assert again.status_code == 429
    refused = await shop.post("/v1/auth/email-change/confirm", json={"token": "acl_x"})
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "token")
    assert (await me.get("/v1/me")).json()["email"] == ADA
