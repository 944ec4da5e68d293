import re
from collections.abc import Iterator

import httpx
import pytest
from litestar import Litestar

from tests.web.conftest import KEY
from web.guards import needs_operator_key

PUBLIC = {"/", "/health/live", "/health/ready", "/schema", "/schema/openapi.json"}
JOBS = "/v1/reconciliation/jobs"


def calls(app: Litestar) -> Iterator[tuple[str, str]]:
    for route in app.routes:
        path = re.sub(r"\{\w+:uuid\}", "01938f6e-0000-7000-8000-000000000000", route.path)
        path = re.sub(r"\{\w+:int\}", "7", path)
        for method in route.methods:
            yield method, re.sub(r"\{[^}]*\}", "x", path)


def test_every_route_is_behind_the_guard_or_listed_as_public(app: Litestar):
    for route in app.routes:
        for handler in route.route_handlers:
            guarded = needs_operator_key in handler.resolve_guards()
            assert guarded is (route.path not in PUBLIC), f"{route.path} {handler}"


async def test_without_a_key_no_call_but_the_public_ones_gets_in(app: Litestar, anyone: httpx.AsyncClient):
    asked = [(method, path) for method, path in calls(app) if path not in PUBLIC]

    assert len(asked) > 20
    for method, path in asked:
        answer = await anyone.request(method, path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY} {KEY}",
        "Bearer ключ".encode(),
    ],
)
async def test_a_wrong_key_does_not_get_in(anyone: httpx.AsyncClient, header: str | bytes):
    answer = await anyone.get(
        JOBS, headers={b"authorization": header if isinstance(header, bytes) else header.encode()}
    )

    assert answer.status_code == 401
    assert KEY not in answer.text


@pytest.mark.parametrize("key", [None, b""])
async def test_a_system_without_a_key_lets_nobody_in(
    app: Litestar, anyone: httpx.AsyncClient, key: bytes | None
):
    app.state.operator_key = key

    for header in ({}, {"authorization": "Bearer "}, {"authorization": f"Bearer {KEY}"}):
        answer = await anyone.get(JOBS, headers=header)
        assert answer.status_code == 503
        assert "ASTROCORE_OPERATOR_KEY" in answer.json()["detail"]


async def test_a_key_of_any_alphabet_gets_in(app: Litestar, anyone: httpx.AsyncClient):
    app.state.operator_key = "ключ-оператора".encode()

    answer = await anyone.get(f"{JOBS}?x=1", headers={b"authorization": "bearer ключ-оператора".encode()})

    assert answer.status_code == 422
