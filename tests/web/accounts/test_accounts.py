"""Users, clients and sign-ins over HTTP, against real stores."""

from base64 import b32decode
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from litestar import Litestar

from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.views import UserView
from tests.app.accounts.conftest import PASSWORD, Time, user_with
from tests.web.accounts.conftest import Client

NEW = "another long enough secret"
NOBODY = uuid4()
FROM = {"client_ip": "192.0.2.1"}


async def login(shop: httpx.AsyncClient, email: str = "ada@example.com", **more: object) -> httpx.Response:
    return await shop.post("/v1/auth/login", json=FROM | {"email": email, "password": PASSWORD} | more)


async def test_a_user_signs_in_stays_and_leaves(
    shop: httpx.AsyncClient, ada: UserView, caller: Client
) -> None:
    answer = await login(shop, client_ip="2001:DB8::1", device="a phone")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    signed_in = answer.json()
    me = await caller(token=signed_in["access_token"])
    assert (await me.get("/v1/me")).json()["email"] == "ada@example.com"
    (session,) = (await me.get("/v1/me/sessions")).json()
    assert (session["client_ip"], session["device"], session["client"]) == ("2001:db8::1", "a phone", "shop")

    fresh = await shop.post("/v1/auth/refresh", json={"refresh_token": signed_in["refresh_token"]})
    assert fresh.json()["session"] == signed_in["session"]
    gone = await shop.post("/v1/auth/logout", json={"refresh_token": fresh.json()["refresh_token"]})
    assert gone.status_code == 204
    assert (await me.get("/v1/me")).status_code == 401
    refused = await shop.post("/v1/auth/refresh", json={"refresh_token": fresh.json()["refresh_token"]})
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:astrobookings:problem:refresh-refused")


async def test_whatever_is_wrong_status_body_and_headers_are_the_same(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView
) -> None:
    for status in ("lock", "disable"):
        user = await user_with(accounts, f"{status}@example.com")
        await shop.post(f"/v1/users/{user.id}/{status}", json={"reason": "x"})
    seen = set()
    for email, password in [
        ("ada@example.com", "wrong"), ("ada@example.com", ""), ("nobody@example.com", PASSWORD),
        ("no address", ""), ("lock@example.com", PASSWORD), ("disable@example.com", PASSWORD),
    ]:  # fmt: skip
        answer = await shop.post("/v1/auth/login", json=FROM | {"email": email, "password": password})
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        seen.add((answer.status_code, answer.text, str(headers)))
    assert len(seen) == 1
    (told,) = seen
    assert told[0] == 401
    assert "urn:astrobookings:problem:sign-in-refused" in told[1]


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["client_ip", "email", "password"]),
        (FROM | {"email": 7, "password": PASSWORD}, ["email"]),
        (FROM | {"email": "ada@example.com", "password": "x" * 10_001}, ["password"]),
        ({"email": "ada@example.com", "password": PASSWORD, "client_ip": "here"}, ["client_ip"]),
        (FROM | {"email": "ada@example.com", "password": PASSWORD, "remember": True}, ["remember"]),
    ],
)
async def test_what_is_no_login_is_told_so(
    shop: httpx.AsyncClient, ada: UserView, body: dict, where: list[str]
) -> None:
    answer = await shop.post("/v1/auth/login", json=body)
    assert answer.status_code == 422
    assert sorted(each["where"] for each in answer.json()["errors"]) == where
    assert PASSWORD not in answer.text


async def test_too_many_tries_are_told_when_to_come_again(
    shop: httpx.AsyncClient, web: Litestar, accounts: Accounts
) -> None:
    from dataclasses import replace

    from app.accounts.limits import SignInLimits

    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, accounts.hashing.pseudonym
    )
    web.state.accounts = replace(accounts, limits=limits)
    answers = [await login(shop, "nobody@example.com") for _ in range(5)]
    assert [each.status_code for each in answers] == [401] * 4 + [429]
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_the_password_of_a_user_is_theirs_to_change(
    shop: httpx.AsyncClient, ada: UserView, caller: Client
) -> None:
    me = await caller(token=(await login(shop)).json()["access_token"])
    other = await caller(token=(await login(shop)).json()["access_token"])
    refused = await me.post("/v1/me/password", json={"old_password": "wrong", "new_password": NEW})
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "old_password")
    weak = await me.post(
        "/v1/me/password", json={"old_password": PASSWORD, "new_password": "passwordpassword"}
    )
    assert "repeats" in weak.json()["errors"][0]["message"]
    done = await me.post("/v1/me/password", json={"old_password": PASSWORD, "new_password": NEW})
    assert done.status_code == 204
    assert [(await each.get("/v1/me")).status_code for each in (me, other)] == [200, 401]
    assert (await login(shop)).status_code == 401
    assert (await login(shop, password=NEW)).status_code == 200


async def test_a_second_factor_is_set_up_used_and_removed(
    shop: httpx.AsyncClient, ada: UserView, caller: Client, time: Time
) -> None:
    me = await caller(token=(await login(shop)).json()["access_token"])
    proposed = (await me.post("/v1/me/second-factor")).json()
    totp = TOTP(b32decode(proposed["secret"]), 6, SHA1(), 30)

    def code() -> str:
        return totp.generate(int(time().timestamp())).decode()

    wrong = await me.post("/v1/me/second-factor/confirm", json={"code": "000000"})
    assert wrong.status_code == 422
    codes = (await me.post("/v1/me/second-factor/confirm", json={"code": code()})).json()["recovery_codes"]
    assert len(codes) == 10

    asked = await login(shop)
    assert (asked.status_code, asked.json()["type"]) == (
        401,
        "urn:astrobookings:problem:second-factor-needed",
    )
    time.passes(timedelta(minutes=1))
    assert (await login(shop, code=code())).status_code == 200
    again = await caller(token=(await login(shop, code=codes[0])).json()["access_token"])
    assert (await again.delete("/v1/me/second-factor")).status_code == 204
    assert (await login(shop)).status_code == 200


async def test_what_a_stolen_session_must_not_do_asks_for_a_fresh_sign_in(
    shop: httpx.AsyncClient, ada: UserView, caller: Client, time: Time
) -> None:
    time.passes(-timedelta(minutes=11))
    signed_in = (await login(await caller("shop"))).json()
    time.passes(timedelta(minutes=11))
    fresh = (await shop.post("/v1/auth/refresh", json={"refresh_token": signed_in["refresh_token"]})).json()
    me = await caller(token=fresh["access_token"])
    for call in (
        me.post("/v1/me/second-factor"),
        me.delete("/v1/me/second-factor"),
        me.post("/v1/me/second-factor/confirm", json={"code": "123456"}),
        me.post("/v1/me/recovery-codes"),
    ):
        answer = await call
        assert answer.status_code == 403
        assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    mine = (await me.patch("/v1/me", json={"given_name": "Ada", "locale": "es"})).json()
    assert (mine["given_name"], mine["locale"]) == ("Ada", "es")
    assert (await me.patch("/v1/me", json={"locale": None})).json()["locale"] is None
    for name in ("a\nb", "a\n", "a\u2028b", "\x1b[31m", "x" * 201):
        refused = await me.patch("/v1/me", json={"given_name": name})
        assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "given_name")


async def test_users_are_added_found_changed_and_deleted(shop: httpx.AsyncClient, ada: UserView) -> None:
    body = {"email": "Bob@Example.com", "given_name": "Bob", "roles": ["supplier"], "password": NEW}
    added = await shop.post("/v1/users", json=body)
    assert added.status_code == 201
    assert NEW not in added.text
    bob = added.json()
    assert (await shop.get(added.headers["location"])).json() == bob
    assert (await login(shop, "bob@example.com", password=NEW)).status_code == 200
    taken = await shop.post("/v1/users", json=body)
    assert (taken.status_code, taken.json()["errors"][0]["where"]) == (409, "email")
    found = (await shop.get("/v1/users", params={"role": "supplier", "email": "BOB@example.com"})).json()[
        "items"
    ]
    assert [each["id"] for each in found] == [bob["id"]]

    path = f"/v1/users/{bob['id']}"
    changed = await shop.patch(path, json={"family_name": "Kahn", "version": bob["version"]})
    assert changed.json()["family_name"] == "Kahn"
    for unknown in (
        shop.patch(path, json={"locale": "xx"}),
        shop.post("/v1/users", json=body | {"locale": "xx"}),
    ):
        answer = await unknown
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "locale")
    stale = await shop.patch(path, json={"family_name": "Other", "version": bob["version"]})
    assert stale.status_code == 409
    assert (await shop.delete(path)).status_code == 422  # without a reason
    assert (await shop.delete(path, params={"reason": "asked for it"})).status_code == 204
    assert (await shop.get(path)).status_code == 404
    assert (await login(shop, "bob@example.com", password=NEW)).status_code == 401


async def test_a_user_without_a_password_is_sent_a_link(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView
) -> None:
    assert (await shop.post("/v1/users", json={"email": "bob@example.com"})).json()["status"] == "pending"
    assert (
        await accounts.stores.core.fetchval("SELECT count(*) FROM account_links WHERE purpose = 'reset'") == 1
    )
    for email in ("ada@example.com", "nobody@example.com"):
        answer = await shop.post("/v1/auth/password-reset", json=FROM | {"email": email})
        assert (answer.status_code, answer.text) == (204, "")
    for path, body in {
        "/v1/auth/password-reset/confirm": {"token": "acl_x", "password": NEW},
        "/v1/auth/email-verification/confirm": {"token": "acl_x"},
    }.items():
        answer = await shop.post(path, json=body)
        assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "token")


async def test_a_bad_password_adds_nobody(shop: httpx.AsyncClient) -> None:
    answer = await shop.post("/v1/users", json={"email": "bob@example.com", "password": "bob@example.com1"})
    assert answer.status_code == 422
    assert (await shop.get("/v1/users")).json()["items"] == []


async def test_a_service_does_not_touch_those_who_have_more_rights(
    caller: Client, accounts: Accounts, shop: httpx.AsyncClient
) -> None:
    admin = await user_with(accounts, "admin@example.com", Role.ADMIN)
    writer = await caller("writer", Scope.USERS_WRITE, Scope.USERS_READ)
    path = f"/v1/users/{admin.id}"
    for call in (
        writer.patch(path, json={"email": "mine@example.com"}),
        writer.post(f"{path}/lock", json={"reason": "x"}),
        writer.post(f"{path}/password-reset"),
        writer.post(f"{path}/allow-sign-in", json={"reason": "x"}),
        writer.delete(path, params={"reason": "x"}),
        writer.delete(f"{path}/second-factor", params={"reason": "x"}),
    ):
        assert (await call).status_code == 403
    refused = await writer.post("/v1/users", json={"email": "eve@example.com", "roles": ["admin"]})
    assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "roles")
    assert (
        await shop.post(f"{path}/lock", json={"reason": "x"})
    ).status_code == 200  # may admit clients: may all


async def test_clients_are_added_given_secrets_and_disabled(shop: httpx.AsyncClient) -> None:
    added = await shop.post("/v1/clients", json={"name": "jobs", "scopes": ["schedules:write"]})
    assert (added.status_code, added.headers["location"]) == (201, "/v1/clients/jobs")
    credentials = "/v1/clients/jobs/credentials"
    made = await shop.post(credentials, json={})
    assert made.headers["cache-control"] == "no-store"
    secret, first = made.json()["secret"], made.json()["credential"]["id"]
    assert secret not in (await shop.get("/v1/clients/jobs")).text
    await shop.post(credentials, json={"expires_at": "2090-01-01T00:00:00Z"})
    assert (await shop.post(credentials, json={})).status_code == 409
    revoked = await shop.delete(f"{credentials}/{first}", params={"reason": "rotated"})
    assert revoked.json()["credentials"][0]["revoked_at"]
    changed = await shop.patch("/v1/clients/jobs", json={"scopes": [], "reason": "none needed"})
    assert changed.json()["scopes"] == []
    assert (await shop.post("/v1/clients/jobs/disable", json={"reason": "x"})).json()["status"] == "disabled"
    assert (await shop.post("/v1/clients/jobs/enable", json={"reason": "x"})).json()["status"] == "active"
    assert [each["name"] for each in (await shop.get("/v1/clients")).json()] == ["jobs", "shop"]
    for body in ({"name": "Jobs", "scopes": []}, {"name": "x", "scopes": ["all"]}, {"name": "other"}):
        assert (await shop.post("/v1/clients", json=body)).status_code == 422


async def test_what_is_not_there_is_not_found(shop: httpx.AsyncClient) -> None:
    for call in (
        shop.get(f"/v1/users/{NOBODY}"),
        shop.get(f"/v1/users/{NOBODY}/sessions"),
        shop.delete(f"/v1/users/{NOBODY}/sessions"),
        shop.post(f"/v1/users/{NOBODY}/lock", json={"reason": "x"}),
        shop.get("/v1/clients/nobody"),
        shop.post("/v1/clients/nobody/credentials", json={}),
        shop.delete(f"/v1/clients/shop/credentials/{NOBODY}", params={"reason": "x"}),
    ):
        assert (await call).status_code == 404
