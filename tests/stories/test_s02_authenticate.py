"""S2: services prove who they are, and let their users sign in: by clients and verifiers that are not ours."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import jwt
import pytest
from authlib.integrations.base_client import OAuthError
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey

from tests.stories.conftest import System, wait_for
from tests.stories.services import GRANT, Service, ServiceSession, Verifier
from tests.stories.test_s01_credentials import PASSWORD, calling, login, made, somewhere

LOGIN, REFRESH = "/v1/auth/login", "/v1/auth/refresh"
FROM = somewhere()


class SignedIn(NamedTuple):
    """A user, and what their service got when they signed in."""

    user: dict[str, Any]
    tokens: dict[str, Any]


@pytest.fixture
def email() -> str:
    return f"bob-{uuid4().hex[:8]}@example.com"


@pytest.fixture(scope="module")
def where(system: System) -> Any:
    """The discovery document (RFC 8414): all that a client is told beside its name and its secret."""
    return system.api.get("/.well-known/oauth-authorization-server").json()


@pytest.fixture(scope="module")
def service(system: System, where: Any) -> Service:
    """A shop, as an operator makes it."""
    name = f"shop-{uuid4().hex[:8]}"
    scopes = ("--scope", "users:authenticate", "--scope", "reconciliation:event")
    return Service(name, system.cli_json("clients", "create", name, *scopes)["secret"], where)


@pytest.fixture(scope="module")
def shop(service: Service) -> Iterator[ServiceSession]:
    with service.granted() as session:
        yield session


@pytest.fixture(scope="module")
def verifier(where: Any) -> Verifier:
    return Verifier(where, jwt.PyJWKClient(where["jwks_uri"]))


@pytest.fixture(scope="module")
def bob(system: System, shop: ServiceSession) -> SignedIn:
    """Somebody whom tests leave as they are, signed in through the shop."""
    user = made(system, f"bob-{uuid4().hex[:8]}@example.com", roles=["customer"])
    return SignedIn(user, signed_in(shop, user["email"]))


def signed_in(shop: ServiceSession, email: Any) -> dict[str, Any]:
    answer = shop.post(LOGIN, json=somewhere() | {"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


def refreshed(shop: ServiceSession, token: str) -> Any:
    return shop.post(REFRESH, json={"refresh_token": token})


def is_let_in(system: System, token: str) -> bool:
    with calling(system, token) as me:
        return me.get("/v1/me").status_code == 200


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post"])
def test_a_service_proves_itself_by_its_secret(service: Service, verifier: Verifier, way: str) -> None:
    with service.session(way) as session:
        granted = session.fetch_token(grant_type=GRANT)
        assert granted["token_type"] == "Bearer"
        claims = verifier.claims(granted["access_token"], audience=service.where["issuer"])
        assert claims["sub"] == claims["client_id"] == service.name
        assert session.post("/v1/auth/logout", json={"refresh_token": "none"}).status_code == 204
    with (
        Service(service.name, "acs_wrong", service.where).session(way) as session,
        pytest.raises(OAuthError, match="invalid_client"),
    ):
        session.fetch_token(grant_type=GRANT)


def test_a_service_proves_itself_by_a_key_that_never_leaves_it(
    system: System, where: Any, tmp_path: Any
) -> None:
    key, name = ECKey.generate_key("P-256"), f"jobs-{uuid4().hex[:8]}"
    file = tmp_path / "key.jwk"
    file.write_text(json.dumps(key.as_dict(private=False)))
    system.cli("clients", "create", name, "--scope", "schedules:write", "--public-key", str(file))

    sent: list[str] = []
    for _ in range(2):
        with Service(name, key, where).session("private_key_jwt") as session:
            session.hooks["response"].append(lambda answer, **_: sent.append(answer.request.body))
            assert session.fetch_token(grant_type=GRANT)["scope"] == "schedules:write"
    assert "client_secret" not in sent[0]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    replayed = httpx.post(where["token_endpoint"], content=sent[0], headers=form)
    assert (replayed.status_code, replayed.json()["error"]) == (401, "invalid_client")


def test_a_service_does_what_its_scopes_say_and_no_more(
    system: System, service: Service, shop: ServiceSession
) -> None:
    paths = ("/v1/logs", "/v1/audit", "/v1/users", "/v1/clients", "/v1/reconciliation/runs")
    for path in paths:
        refused = shop.get(path)
        assert refused.status_code == 403
        assert "insufficient_scope" in refused.headers["www-authenticate"]
    logged = logs(
        system, len(paths), event="request.served", actor=f"client:{service.name}", text="status:403"
    )
    assert {each["fields"]["path"] for each in logged} == set(paths)


def logs(system: System, count: int, **query: str) -> Any:
    """The entries of the log that fit, once there are so many."""
    found = wait_for(
        lambda: system.api.get("/v1/logs", params=query).json()["items"], lambda found: len(found) >= count
    )
    assert len(found) == count
    return found


def test_a_service_may_ask_for_less_than_it_may_and_not_for_more(service: Service) -> None:
    with service.granted("reconciliation:event") as poorer:
        assert poorer.token["scope"] == "reconciliation:event"
        refused = poorer.post(LOGIN, json=FROM | {"email": "nobody@example.com", "password": "x"})
        assert (refused.status_code, "users:authenticate" in refused.json()["detail"]) == (403, True)
    with pytest.raises(OAuthError, match="invalid_scope"):
        service.granted("clients:admin")


def test_a_secret_is_rotated_without_a_moment_in_between(system: System, where: Any) -> None:
    name = f"mail-{uuid4().hex[:8]}"
    old = Service(name, system.cli_json("clients", "create", name, "--scope", "logs:write")["secret"], where)
    new = Service(name, system.cli_json("clients", "add-credential", name)["secret"], where)
    for each in (old, new):
        each.granted().close()
    first = system.api.get(f"/v1/clients/{name}").json()["credentials"][0]
    assert first["last_used_at"]
    system.cli("clients", "revoke-credential", name, first["id"], "--reason", "rotated")
    with pytest.raises(OAuthError, match="invalid_client"):
        old.granted()
    new.granted().close()


def test_anybody_can_verify_who_signed_in_and_through_whom(
    service: Service, verifier: Verifier, bob: SignedIn
) -> None:
    token = bob.tokens["access_token"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = verifier.claims(token, audience=service.name)
    assert (claims["sub"], claims["sid"]) == (bob.user["id"], bob.tokens["session"])
    assert (claims["roles"], claims["amr"]) == (["customer"], ["pwd"])
    assert claims["exp"] - claims["iat"] <= 300
    with pytest.raises(jwt.InvalidAudienceError):
        verifier.claims(token, audience="another-service")
    with pytest.raises(jwt.InvalidSignatureError):
        verifier.claims(changed(token, 1, sub=str(uuid4())), audience=service.name)


def changed(token: str, part: int, **claims: object) -> str:
    """The token with other claims, or with another header, and the signature that it had."""
    parts = token.split(".")
    held = json.loads(urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    parts[part] = urlsafe_b64encode(json.dumps(held | claims).encode()).decode().rstrip("=")
    return ".".join(parts)


def forged(token: str, public: bytes) -> str:
    """The token signed with HMAC under the public key, which whoever takes the algorithm from the header would believe."""
    said = changed(token, 0, alg="HS256").rpartition(".")[0]
    signature = urlsafe_b64encode(hmac.digest(public, said.encode(), sha256)).decode().rstrip("=")
    return f"{said}.{signature}"


def test_what_was_not_signed_by_us_gets_nobody_in(system: System, where: Any, bob: SignedIn) -> None:
    token = bob.tokens["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    header = {name: jwt.get_unverified_header(token)[name] for name in ("typ", "kid")}
    (public,) = [
        each for each in jwt.PyJWKClient(where["jwks_uri"]).get_signing_keys() if each.key_id == header["kid"]
    ]
    pem = public.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    foreign = ec.generate_private_key(ec.SECP256R1())
    tokens = {
        "other claims": changed(token, 1, sub=str(uuid4())),
        "no signature": jwt.encode(claims, None, "none", headers=header),
        "the public key as a secret": forged(token, pem),
        "the key set's entry as a secret": forged(
            token, json.dumps(system.api.get("/.well-known/jwks.json").json()["keys"][0]).encode()
        ),
        "another key": jwt.encode(claims, foreign, "ES256", headers=header),
        "a key that came along": jwt.encode(
            claims,
            foreign,
            "ES256",
            headers=header | {"jwk": json.loads(jwt.algorithms.ECAlgorithm.to_jwk(foreign.public_key()))},
        ),
    }
    assert is_let_in(system, token)
    for name, each in tokens.items():
        with calling(system, each) as nobody:
            refused = nobody.get("/v1/me")
        assert refused.status_code == 401, name
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_a_service_asks_whether_a_token_is_good_and_ends_its_session(
    system: System, service: Service, shop: ServiceSession, bob: SignedIn
) -> None:
    other = signed_in(shop, bob.user["email"])
    told = service.introspected(other["access_token"])
    assert (told["active"], told["sub"], told["client_id"]) == (True, bob.user["id"], service.name)
    shop.revoke_token(service.where["revocation_endpoint"], other["refresh_token"]).raise_for_status()
    assert service.introspected(other["access_token"]) == {"active": False}
    assert not is_let_in(system, other["access_token"])
    assert is_let_in(system, bob.tokens["access_token"])  # in another session


def test_a_stolen_refresh_token_ends_the_session_for_thief_and_victim(
    system: System, shop: ServiceSession, bob: SignedIn
) -> None:
    first = signed_in(shop, bob.user["email"])
    second = refreshed(shop, first["refresh_token"]).json()
    again = refreshed(shop, first["refresh_token"]).json()
    assert again["refresh_token"] == second["refresh_token"]  # an answer was lost
    third = refreshed(shop, second["refresh_token"]).json()
    assert is_let_in(system, third["access_token"])

    assert refreshed(shop, first["refresh_token"]).status_code == 401
    assert not is_let_in(system, third["access_token"])
    assert refreshed(shop, third["refresh_token"]).status_code == 401


async def test_however_many_refresh_at_once_there_is_one_successor(
    system: System, shop: ServiceSession, bob: SignedIn
) -> None:
    first = signed_in(shop, bob.user["email"])
    bearer = {"Authorization": f"Bearer {shop.token['access_token']}"}
    async with httpx.AsyncClient(base_url=system.api.base_url, headers=bearer, timeout=20) as http:
        body = {"refresh_token": first["refresh_token"]}
        answers = await asyncio.gather(*(http.post(REFRESH, json=body) for _ in range(20)))
    assert {each.status_code for each in answers} == {200}
    (successor,) = {each.json()["refresh_token"] for each in answers}
    assert refreshed(shop, successor).status_code == 200
    assert refreshed(shop, first["refresh_token"]).status_code == 401


@pytest.mark.parametrize("what", ["disable", "lock", "password"])
def test_who_may_not_go_on_is_out_everywhere_within_a_second(
    system: System, service: Service, shop: ServiceSession, email: str, what: str
) -> None:
    user = made(system, email)
    sessions = [signed_in(shop, email), login(system, email).json()]
    if what == "password":
        with calling(system, sessions[0]["access_token"]) as me:
            body = {"old_password": PASSWORD, "new_password": "another long enough secret"}
            assert me.post("/v1/me/password", json=body).status_code == 204
        sessions = sessions[1:]  # the one in which it was changed goes on
    else:
        system.api.post(f"/v1/users/{user['id']}/{what}", json={"reason": "has left"})
    ended = time.monotonic()
    for session in sessions:
        assert not is_let_in(system, session["access_token"])
        assert service.introspected(session["access_token"]) == {"active": False}
    assert time.monotonic() - ended < 1


def test_a_service_tells_nobody_which_addresses_are_known(shop: ServiceSession, bob: SignedIn) -> None:
    addresses = (bob.user["email"], f"nobody-{uuid4().hex}@example.com")
    answers = {shop.post(LOGIN, json=FROM | {"email": each, "password": "wrong"}).text for each in addresses}
    resets = {
        shop.post("/v1/auth/password-reset", json=FROM | {"email": each}).status_code for each in addresses
    }
    assert len(answers) == 1
    assert resets == {204}


def test_guessing_is_slowed_down_logged_and_lifted_by_an_operator(
    system: System, service: Service, shop: ServiceSession, email: str
) -> None:
    made(system, email)
    body = FROM | {"email": email, "password": "wrong"}
    codes = [shop.post(LOGIN, json=body).status_code for _ in range(4)]
    assert codes == [401] * 4
    throttled = shop.post(LOGIN, json=body)
    assert (throttled.status_code, int(throttled.headers["retry-after"]) >= 1) == (429, True)
    (told,) = logs(system, 1, event="signin.throttled")
    assert told["level"] == "WARNING"
    refused = logs(system, 4, event="signin.refused", text=f"account:{told['fields']['account']}")
    assert {each["fields"]["by"] for each in refused} == {f"client:{service.name}"}
    system.cli("users", "allow", email, "--reason", "it was a script of theirs")
    signed_in(shop, email)
