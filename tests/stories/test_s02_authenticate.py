"""S2: services prove who they are, and let their users sign in."""

import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from app.accounts.client_authentication import ASSERTION_TYPE
from tests.stories.conftest import System
from tests.stories.test_s01_credentials import PASSWORD, login, made

GRANT = {"grant_type": "client_credentials"}


@pytest.fixture
def email() -> str:
    return f"bob-{uuid4().hex[:8]}@example.com"


@pytest.fixture
def service(system: System) -> tuple[str, str]:
    """A service that may authenticate users, by name and secret, as an operator makes it."""
    name = f"shop-{uuid4().hex[:8]}"
    told = system.cli_json("clients", "create", name, "--scope", "users:authenticate")
    return name, told["secret"]


def anybody(system: System) -> httpx.Client:
    return httpx.Client(base_url=system.api.base_url, timeout=20)


def calling(system: System, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=system.api.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=20
    )


def granted(system: System, service: tuple[str, str]) -> httpx.Client:
    with anybody(system) as http:
        answer = http.post("/oauth/token", data=GRANT, auth=service)
    assert answer.status_code == 200, answer.text
    return calling(system, answer.json()["access_token"])


def test_a_service_signs_a_user_in_and_anybody_can_verify_who_it_is(
    system: System, service: tuple[str, str], email: str
) -> None:
    user = made(system, email, roles=["customer"])
    with granted(system, service) as shop, anybody(system) as http:
        signed_in = shop.post("/v1/auth/login", json={"email": email, "password": PASSWORD}).json()
        where = http.get("/.well-known/oauth-authorization-server").json()
        keys = KeySet.import_key_set(httpx.get(where["jwks_uri"]).json())
        token = jwt.decode(signed_in["access_token"], keys, algorithms=["ES256"])
        registry = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": where["issuer"]}, aud={"essential": True, "value": service[0]}
        )
        registry.validate(token.claims)
        assert (token.header["typ"], token.claims["sub"]) == ("at+jwt", user["id"])
        assert token.claims["roles"] == ["customer"]
        assert token.claims["exp"] - token.claims["iat"] <= 300


def test_a_service_does_what_its_scopes_say_and_no_more(system: System, service: tuple[str, str]) -> None:
    with granted(system, service) as shop:
        for path in ("/v1/logs", "/v1/audit", "/v1/users", "/v1/clients", "/v1/reconciliation/runs"):
            refused = shop.get(path)
            assert refused.status_code == 403
            assert "insufficient_scope" in refused.headers["www-authenticate"]


def test_a_service_proves_itself_by_a_key_that_never_leaves_it(system: System, tmp_path: Any) -> None:
    key, name = ECKey.generate_key("P-256"), f"jobs-{uuid4().hex[:8]}"
    file = tmp_path / "key.jwk"
    file.write_text(httpx.Response(200, json=dict(key.as_dict(private=False))).text)
    system.cli("clients", "create", name, "--scope", "schedules:write", "--public-key", str(file))
    issuer = f"http://{system.settings.web_host}:{system.settings.web_port}"
    claims = {"iss": name, "sub": name, "aud": issuer, "exp": int(time.time()) + 60, "jti": uuid4().hex}
    body = GRANT | {
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": jwt.encode({"alg": "ES256"}, claims, key),
    }
    with anybody(system) as http:
        assert http.post("/oauth/token", data=body).json()["scope"] == "schedules:write"
        assert http.post("/oauth/token", data=body).json()["error"] == "invalid_client"


def test_a_secret_is_rotated_without_a_moment_in_between(system: System, service: tuple[str, str]) -> None:
    name, old = service
    new = system.cli_json("clients", "add-credential", name)["secret"]
    with anybody(system) as http:
        for secret in (old, new):
            assert http.post("/oauth/token", data=GRANT, auth=(name, secret)).status_code == 200
        first = system.cli_json("clients", "show", name)["credentials"][0]
        assert first["last_used_at"]
        system.cli("clients", "revoke-credential", name, first["id"], "--reason", "rotated")
        assert http.post("/oauth/token", data=GRANT, auth=(name, old)).status_code == 401
        assert http.post("/oauth/token", data=GRANT, auth=(name, new)).status_code == 200


def test_a_stolen_refresh_token_ends_the_session_for_thief_and_victim(
    system: System, service: tuple[str, str], email: str
) -> None:
    made(system, email)
    with granted(system, service) as shop:
        first = shop.post("/v1/auth/login", json={"email": email, "password": PASSWORD}).json()

        def refresh(token: str) -> httpx.Response:
            return shop.post("/v1/auth/refresh", json={"refresh_token": token})

        second = refresh(first["refresh_token"]).json()
        assert (
            refresh(first["refresh_token"]).json()["refresh_token"] == second["refresh_token"]
        )  # an answer was lost
        third = refresh(second["refresh_token"]).json()
        assert refresh(first["refresh_token"]).status_code == 401
        with calling(system, third["access_token"]) as victim:
            assert victim.get("/v1/me").status_code == 401
        assert refresh(third["refresh_token"]).status_code == 401


@pytest.mark.parametrize("what", ["disable", "lock", "password"])
def test_who_may_not_go_on_is_out_everywhere_within_a_second(
    system: System, service: tuple[str, str], email: str, what: str
) -> None:
    user = made(system, email)
    with granted(system, service) as shop, anybody(system) as http:
        sessions = [
            shop.post("/v1/auth/login", json={"email": email, "password": PASSWORD}).json(),
            login(system, email).json(),
        ]
        if what == "password":
            with calling(system, sessions[0]["access_token"]) as me:
                body = {"old_password": PASSWORD, "new_password": "another long enough secret"}
                assert me.post("/v1/me/password", json=body).status_code == 204
            sessions = sessions[1:]  # the one in which it was changed goes on
        else:
            system.api.post(f"/v1/users/{user['id']}/{what}", json={"reason": "has left"})
        ended = time.monotonic()
        for session in sessions:
            with calling(system, session["access_token"]) as me:
                assert me.get("/v1/me").status_code == 401
            told = http.post(
                "/oauth/introspect", data={"token": session["access_token"]}, auth=service
            ).json()
            assert told == {"active": False}
        assert time.monotonic() - ended < 1


def test_a_service_tells_nobody_which_addresses_are_known(
    system: System, service: tuple[str, str], email: str
) -> None:
    made(system, email)
    with granted(system, service) as shop:
        answers = {
            shop.post("/v1/auth/login", json={"email": each, "password": "wrong"}).text
            for each in (email, f"nobody-{uuid4().hex}@example.com")
        }
        resets = {
            shop.post("/v1/auth/password-reset", json={"email": each}).status_code
            for each in (email, f"nobody-{uuid4().hex}@example.com")
        }
    assert len(answers) == 1
    assert resets == {204}


def test_guessing_is_slowed_down_and_an_operator_lifts_it(
    system: System, service: tuple[str, str], email: str
) -> None:
    made(system, email)
    with granted(system, service) as shop:
        body = {"email": email, "password": "wrong"}
        codes = [shop.post("/v1/auth/login", json=body).status_code for _ in range(4)]
        assert codes == [401] * 4
        throttled = shop.post("/v1/auth/login", json=body)
        assert (throttled.status_code, int(throttled.headers["retry-after"]) >= 1) == (429, True)
        system.cli("users", "allow", email, "--reason", "it was a script of theirs")
        assert shop.post("/v1/auth/login", json=body | {"password": PASSWORD}).status_code == 200
