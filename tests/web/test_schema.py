import re

import httpx
import msgspec
from litestar import Litestar

from app.reconciliation import resolve
from app.reconciliation.ledger import diffs, runs
from app.reconciliation.scanning.compare import FindingKind
from web.inputs import DiffStatus, Kind, RunStatus
from web.problems import Problem
from web.schema import PROBLEM_SCHEMA

WITHOUT_TOKEN = {"/v1/notifications/callbacks", "/v1/notifications/unsubscribe/{token}"}


async def test_the_schema_describes_every_guarded_route(app: Litestar, anyone: httpx.AsyncClient):
    schema = (await anyone.get("/schema")).json()

    described = {
        (method.upper(), path)
        for path, operations in schema["paths"].items()
        for method in operations
        if path[:3] == "/v1"
    }
    served = {
        (method, route.path_format)
        for route in app.routes
        for method in route.methods - {"OPTIONS"}
        if route.path.startswith("/v1")
    }
    assert described == served
    assert schema["openapi"].startswith("3.1")


async def test_the_schema_says_of_every_call_whether_it_needs_a_token_and_that_it_may_fail(
    anyone: httpx.AsyncClient,
):
    schema = (await anyone.get("/schema/openapi.json")).json()

    for path, operations in schema["paths"].items():
        for operation in operations.values():
            guarded = path.startswith("/v1") and path not in WITHOUT_TOKEN
            assert operation.get("security") == ([{"accessToken": []}] if guarded else None), path
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            assert operation["summary"]


async def test_the_schema_declares_every_part_of_a_path(anyone: httpx.AsyncClient):
    schema = (await anyone.get("/schema/openapi.json")).json()

    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert declared == set(re.findall(r"{(\w+)", path)), (method, path)


async def test_the_schema_tells_what_calls_about_mail_answer_and_take(anyone: httpx.AsyncClient):
    paths = (await anyone.get("/schema/openapi.json")).json()["paths"]

    for path in ("/v1/notifications", "/v1/schedules/{name}/trigger"):
        call = paths[path]["post"]
        assert set(call["responses"]["202"]["headers"]) == {"Location", "Idempotency-Replayed"}
        assert "Idempotency-Key" in [each["name"] for each in call["parameters"] if each["required"]]
    assert {"200", "201"} <= set(paths["/v1/notifications/suppressions"]["post"]["responses"])
    page = paths["/v1/notifications/unsubscribe/{token}"]
    for call in page.values():
        assert {*call["responses"]["404"]["content"], *call["responses"]["409"]["content"]} == {"text/html"}
    forms = page["post"]["requestBody"]["content"]
    assert set(forms) == {"application/x-www-form-urlencoded", "multipart/form-data"}
    assert {tuple(each["schema"]["required"]) for each in forms.values()} == {("List-Unsubscribe",)}


async def test_the_schema_refers_to_nothing_that_it_does_not_hold(anyone: httpx.AsyncClient):
    text = (await anyone.get("/schema")).text
    schema = msgspec.json.decode(text)

    for reference in {part.split('"')[0] for part in text.split('"$ref":"')[1:]}:
        node = schema
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]
    assert "http" not in text.replace('"http"', "")


def test_the_schema_of_a_problem_lists_its_fields():
    assert list(PROBLEM_SCHEMA["properties"]) == list(Problem.__struct_fields__)


def test_every_status_can_be_asked_for():
    assert set(RunStatus.__args__) == {*runs.STATUSES, "active"}
    assert set(DiffStatus.__args__) == {*diffs.STATUSES, "pending"}


def test_every_kind_of_diff_can_be_asked_for():
    seldom = {resolve.Kind.EQUAL, resolve.Kind.MISSING_BOTH}  # which make no diff
    assert set(Kind.__args__) == {*resolve.Kind, *FindingKind} - seldom


async def test_the_root_says_where_to_go_on(anyone: httpx.AsyncClient):
    index = (await anyone.get("/")).json()

    assert (await anyone.get(index["schema"])).status_code == 200
