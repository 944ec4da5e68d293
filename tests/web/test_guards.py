"""Who may call what."""

import re
from collections.abc import Iterator
from uuid import uuid4

import httpx
import msgspec
import pytest
from litestar import Litestar

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from tests.web.conftest import OPERATOR, TOKEN
from web.console.guard import needs_session
from web.guards import SELF, needs_permission

PUBLIC = {
    "/",
    "/health/live",
    "/health/ready",
    "/schema",
    "/schema/openapi.json",
    "/.well-known/jwks.json",
    "/.well-known/oauth-authorization-server",
    "/console/style.css",
    "/console/forgot",
}
# Here a client proves who it is itself.
BY_CREDENTIALS = {"/oauth/token", "/oauth/introspect", "/oauth/revoke", "/console/sign-in"}
# Here a signature does: of the provider, or of ours in the link of a mail.
BY_SIGNATURE = {"/v1/notifications/callbacks", "/v1/notifications/unsubscribe/{token:str}"}
# Here the secret in the link of a mail.
BY_LINK = {"/console/reset", "/console/verify", "/console/change"}
OPEN = PUBLIC | BY_CREDENTIALS | BY_SIGNATURE | BY_LINK
OPEN_CALLS = {re.sub(r"\{[^}]*\}", "x", each) for each in OPEN}
JOBS = "/v1/reconciliation/jobs"
READING = {each for each in Scope if each.endswith(":read")}


def calls(app: Litestar) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        path = re.sub(r"\{\w+:uuid\}", "01938f6e-0000-7000-8000-000000000000", route.path)
        path = re.sub(r"\{\w+:int\}", "7", path)
        for method in route.methods:
            yield method, re.sub(r"\{[^}]*\}", "x", path)


def test_every_route_says_what_it_needs_or_is_listed_as_open(app: Litestar):
    for route in app.routes:
        for handler in route.route_handlers:
            guard = needs_session if route.path.startswith("/console") else needs_permission
            guarded = guard in handler.resolve_guards()
            assert guarded is (route.path not in OPEN), f"{route.path} {handler}"
            if guarded and handler.http_methods != {"OPTIONS"}:
                assert handler.opt.get("needs") in {*Scope, SELF}, f"{route.path} {handler}"


def test_what_changes_something_needs_more_than_the_right_to_read(app: Litestar):
    changing = [
        (route.path, handler)
        for route in app.routes
        for handler in route.route_handlers
        if route.path not in OPEN and not {"GET", "HEAD", "OPTIONS"} >= set(handler.http_methods)
    ]
    assert len(changing) > 30
    telling = {"/v1/audit/archives/preview", "/v1/notification-templates/{name:str}/preview"}
    assert not [path for path, handler in changing if handler.opt["needs"] in READING and path not in telling]


def test_every_scope_that_reads_or_writes_here_is_asked_for_somewhere(app: Litestar):
    asked = {handler.opt.get("needs") for route in app.routes for handler in route.route_handlers}
    assert not [each for each in Scope if each not in asked]


async def test_without_a_token_no_call_but_the_open_ones_gets_in(app: Litestar, anyone: httpx.AsyncClient):
    asked = [(method, path) for method, path in calls(app) if path not in OPEN_CALLS]

    assert len(asked) > 60
    for method, path in asked:
        answer = await anyone.request(method, path)
        if path.startswith("/console"):
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith("/console/sign-in")
            continue
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_with_a_token_that_is_good_for_nothing_no_call_gets_in_either(
    app: Litestar, operator: httpx.AsyncClient, callers: dict[str, Caller]
):
    callers[TOKEN] = Caller("client:poor", "poor", frozenset())
    for method, path in calls(app):
        if path in OPEN_CALLS or method == "OPTIONS" or path.startswith("/console"):
            continue
        answer = await operator.request(method, path)
        assert answer.status_code == 403, (method, path, answer.text)
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_what_is_missing_is_named(operator: httpx.AsyncClient, callers: dict[str, Caller]):
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, scopes=frozenset(Scope) - {Scope.RECONCILIATION_READ})
    answer = await operator.get(JOBS)
    assert answer.status_code == 403
    assert answer.json()["detail"] == "this call needs the scope reconciliation:read"
    assert 'scope="reconciliation:read"' in answer.headers["www-authenticate"]


async def test_what_users_do_about_themselves_no_service_does(operator: httpx.AsyncClient):
    assert (await operator.get("/v1/me")).status_code == 403


async def test_a_user_acts_under_their_own_name(
    operator: httpx.AsyncClient, callers: dict[str, Caller], logged: list[dict[str, object]]
):
    user = uuid4()
    callers[TOKEN] = msgspec.structs.replace(OPERATOR, name=f"user:{user}", user=user)
    await operator.get(f"{JOBS}?x=1")
    assert [each["actor"] for each in logged if each["event"] == "request.served"] == [f"user:{user}"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        "Bearer ключ".encode(),
    ],
)
async def test_a_wrong_token_does_not_get_in(anyone: httpx.AsyncClient, header: str | bytes):
    answer = await anyone.get(
        JOBS, headers={b"authorization": header if isinstance(header, bytes) else header.encode()}
    )

    assert answer.status_code == 401
    assert TOKEN not in answer.text
