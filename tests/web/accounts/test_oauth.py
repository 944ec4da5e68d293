"""OAuth for service clients, over HTTP and against real stores."""

from base64 import b64encode
from urllib.parse import quote_plus

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from app.accounts import clients, sessions
from app.accounts.client_authentication import ASSERTION_TYPE
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, sign_in
from app.accounts.views import UserView
from tests.app.accounts.conftest import EVERY, ISSUER, PASSWORD, SHOP, Time, user_with
from tests.web.accounts.conftest import Client

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
async def anybody(caller: Client) -> httpx.AsyncClient:
    return await caller()


@pytest.fixture
async def secret(accounts: Accounts) -> str:
    await clients.create_client(accounts.stores, "jobs", [Scope.LOGS_READ, Scope.LOGS_WRITE], by="test")
    made = await clients.add_credential(accounts.stores, "jobs", by="test")
    assert made.secret
    return made.secret


def basic(name: str, secret: str) -> dict[str, str]:
    pair = f"{quote_plus(name)}:{quote_plus(secret)}"
    return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


@pytest.mark.parametrize("way", ["basic", "body"])
async def test_a_secret_gets_a_token_that_everybody_can_verify(
    anybody: httpx.AsyncClient, secret: str, way: str
) -> None:
    own = {"client_id": "jobs", "client_secret": secret}
    headers, body = (basic("jobs", secret), GRANT) if way == "basic" else ({}, GRANT | own)
    answer = await anybody.post("/oauth/token", data=body, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert (told["token_type"], told["expires_in"], told["scope"]) == ("Bearer", 300, "logs:read logs:write")
    answer = await anybody.get("/.well-known/jwks.json")
    assert answer.headers.get_list("cache-control") == ["public, max-age=300"]
    keys = KeySet.import_key_set(answer.json())
    claims = jwt.decode(told["access_token"], keys, algorithms=["ES256"]).claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == (ISSUER, "jobs", ISSUER)


async def test_an_assertion_gets_one_too_and_only_once(
    anybody: httpx.AsyncClient, accounts: Accounts, secret: str, time: Time
) -> None:
    key = ECKey.generate_key("P-256")
    await clients.add_credential(accounts.stores, "jobs", by="test", public_key=key.as_dict(private=False))
    moment = int(time().timestamp())
    claims = {"iss": "jobs", "sub": "jobs", "aud": ISSUER, "exp": moment + 60, "jti": "one"}
    body = GRANT | {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": jwt.encode({"alg": "ES256"}, claims, key),
    }
    assert (await anybody.post("/oauth/token", data=body)).status_code == 200
    again = await anybody.post("/oauth/token", data=body)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


async def test_a_token_may_be_good_for_less(anybody: httpx.AsyncClient, secret: str) -> None:
    headers = basic("jobs", secret)
    less = await anybody.post("/oauth/token", data=GRANT | {"scope": "logs:read"}, headers=headers)
    assert less.json()["scope"] == "logs:read"
    more = await anybody.post("/oauth/token", data=GRANT | {"scope": "logs:read audit:read"}, headers=headers)
    assert (more.status_code, more.json()["error"]) == (400, "invalid_scope")
    assert (
        await anybody.get("/v1/logs", headers={"Authorization": f"Bearer {less.json()['access_token']}"})
    ).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "answered"),
    [
        (GRANT, {}, (401, "invalid_client")),
        (GRANT, basic("jobs", "wrong"), (401, "invalid_client")),
        (GRANT, basic("nobody", "wrong"), (401, "invalid_client")),
        (GRANT, {"Authorization": "Basic ?"}, (401, "invalid_client")),
        (GRANT, {"Authorization": "Basic /w=="}, (401, "invalid_client")),
        (GRANT | {"client_id": "jobs", "client_secret": "\x00"}, {}, (401, "invalid_client")),
        (GRANT | {"client_id": "\x00", "client_secret": "x"}, {}, (401, "invalid_client")),
        (GRANT | {"client_secret": "x"}, basic("jobs", "x"), (400, "invalid_request")),
        (GRANT | {"client_assertion": "x"}, {}, (400, "invalid_request")),
        (
            GRANT | {"client_assertion": "x", "client_assertion_type": ASSERTION_TYPE},
            {},
            (401, "invalid_client"),
        ),
    ],
    ids=str,
)
async def test_who_does_not_prove_who_it_is_gets_none(
    anybody: httpx.AsyncClient, secret: str, body: dict, headers: dict, answered: tuple[int, str]
) -> None:
    answer = await anybody.post("/oauth/token", data=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == answered
    assert ("www-authenticate" in answer.headers) is (answered[0] == 401 and "Authorization" in headers)


@pytest.mark.parametrize(
    ("content", "kind", "error"),
    [
        ("{}", "application/json", "invalid_request"),
        ("grant_type=client_credentials&grant_type=password", None, "invalid_request"),
        ("&".join(f"a{number}=1" for number in range(50)), None, "invalid_request"),
        ("grant_type", None, "invalid_request"),
        ("grant_type=%ff%fe", None, "invalid_request"),
        ("grant_type=password", None, "unsupported_grant_type"),
        ("", None, "invalid_request"),
        ("scope=logs%3Aread", None, "invalid_request"),
        ("grant_type=client_credentials&client_id=other", None, "invalid_request"),
    ],
)
async def test_what_is_no_request_is_told_so(
    anybody: httpx.AsyncClient, secret: str, content: str, kind: str | None, error: str
) -> None:
    headers = basic("jobs", secret) | {"Content-Type": kind or "application/x-www-form-urlencoded"}
    answer = await anybody.post("/oauth/token", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_introspection_tells_what_is_true_now(
    anybody: httpx.AsyncClient, accounts: Accounts, ada: UserView
) -> None:
    signed_in = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    made = await clients.add_credential(accounts.stores, "shop", by="test")
    headers = basic("shop", made.secret or "")

    async def told() -> dict:
        data = {"token": signed_in.access_token}
        return (await anybody.post("/oauth/introspect", data=data, headers=headers)).json()

    first = await told()
    assert (first["active"], first["sub"], first["sid"]) == (True, str(ada.id), str(signed_in.session))
    await sessions.sign_out_everywhere(accounts.stores, ada.id, by="test", may_grant=EVERY)
    assert await told() == {"active": False}
    for token in ("", "nonsense", signed_in.refresh_token):
        answer = await anybody.post("/oauth/introspect", data={"token": token}, headers=headers)
        assert answer.json().get("active", False) is False
    assert (await anybody.post("/oauth/introspect", data={"token": "x"})).status_code == 401


async def test_introspection_tells_of_scopes_and_roles_what_is_left_of_them(
    anybody: httpx.AsyncClient, accounts: Accounts
) -> None:
    user = await user_with(accounts, "grace@example.com", Role.AUDITOR, Role.EMPLOYEE)
    origin = sessions.Origin("shop", ["pwd", "otp", "mfa"])
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        started = await sessions.start(connection, user.id, origin, accounts.clock())
    signed_in = await sessions.refresh(accounts, started.refresh_token, "shop", list(Scope))
    made = await clients.add_credential(accounts.stores, "shop", by="test")
    await clients.change_scopes(accounts.stores, "shop", [Scope.LOGS_READ], by="test", reason="x")
    await accounts.stores.core.execute("UPDATE users SET roles = '{auditor}' WHERE id = $1", user.id)
    told = await anybody.post(
        "/oauth/introspect",
        data={"token": signed_in.access_token},
        headers=basic("shop", made.secret or ""),
    )
    assert (told.json()["scope"], told.json()["roles"]) == ("logs:read", ["auditor"])


@pytest.mark.parametrize(("scope", "told"), [(Scope.LOGS_READ, False), (Scope.CLIENTS_ADMIN, True)])
async def test_no_client_is_told_of_the_tokens_of_another_but_one_that_looks_after_clients(
    anybody: httpx.AsyncClient, accounts: Accounts, ada: UserView, scope: Scope, told: bool
) -> None:
    signed_in = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    await clients.create_client(accounts.stores, "other", [scope], by="test")
    made = await clients.add_credential(accounts.stores, "other", by="test")
    headers = basic("other", made.secret or "")
    own = (await anybody.post("/oauth/token", data=GRANT, headers=headers)).json()["access_token"]
    for token, active in ((signed_in.access_token, told), (own, True)):
        answer = await anybody.post("/oauth/introspect", data={"token": token}, headers=headers)
        assert answer.json()["active"] is active
        assert active or len(answer.json()) == 1


async def test_revoking_a_token_of_the_client_itself_is_not_claimed_to_be_done(
    anybody: httpx.AsyncClient, secret: str
) -> None:
    headers = basic("jobs", secret)
    token = (await anybody.post("/oauth/token", data=GRANT, headers=headers)).json()["access_token"]
    answer = await anybody.post("/oauth/revoke", data={"token": token}, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_token_type")


async def test_a_client_may_name_itself_twice(anybody: httpx.AsyncClient, secret: str) -> None:
    answer = await anybody.post(
        "/oauth/token", data=GRANT | {"client_id": "jobs"}, headers=basic("jobs", secret)
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_revoking_either_token_ends_the_session(
    anybody: httpx.AsyncClient, accounts: Accounts, ada: UserView, which: str
) -> None:
    signed_in = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    made = await clients.add_credential(accounts.stores, "shop", by="test")
    headers = basic("shop", made.secret or "")
    for token in ("nonsense", getattr(signed_in, which), getattr(signed_in, which)):
        answer = await anybody.post("/oauth/revoke", data={"token": token}, headers=headers)
        assert answer.status_code == 200
    assert await sessions.list_sessions(accounts.stores, ada.id) == []


async def test_no_client_ends_the_sessions_of_another(
    anybody: httpx.AsyncClient, accounts: Accounts, secret: str, ada: UserView
) -> None:
    signed_in = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    for token in (signed_in.access_token, signed_in.refresh_token):
        await anybody.post("/oauth/revoke", data={"token": token}, headers=basic("jobs", secret))
    assert len(await sessions.list_sessions(accounts.stores, ada.id)) == 1


async def test_a_client_that_is_disabled_is_out_at_once(
    anybody: httpx.AsyncClient, accounts: Accounts, secret: str
) -> None:
    issued = (await anybody.post("/oauth/token", data=GRANT, headers=basic("jobs", secret))).json()
    bearer = {"Authorization": f"Bearer {issued['access_token']}"}
    assert (await anybody.get("/v1/logs", headers=bearer)).status_code == 200
    await clients.enable_client(accounts.stores, "jobs", enabled=False, by="test", reason="x")
    refused = await anybody.get("/v1/logs", headers=bearer)
    assert refused.status_code == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]


async def test_what_is_where_is_told(anybody: httpx.AsyncClient) -> None:
    told = (await anybody.get("/.well-known/oauth-authorization-server")).json()
    assert told["issuer"] == ISSUER
    for name in ("token_endpoint", "jwks_uri", "introspection_endpoint", "revocation_endpoint"):
        path = told[name].removeprefix(ISSUER)
        assert (await anybody.request("GET" if name == "jwks_uri" else "POST", path)).status_code in (
            200,
            400,
        )
