from typing import Annotated

import httpx
import pytest
from msgspec import Meta, Struct

from app.pages import encode_cursor
from app.stores.connections import Stores
from web.validation import FAULT, faults_in

EVENTS = "/v1/reconciliation/events"
RUNS = "/v1/reconciliation/runs"
JOB = "/v1/reconciliation/jobs/customers-full"


class Inner(Struct, forbid_unknown_fields=True):
    number: int
    name: Annotated[str, Meta(pattern=r"\S", extra={FAULT: "must not be blank"})] = "x"


class Outer(Struct):
    inner: Inner
    items: Annotated[list[Inner], Meta(max_length=3)]
    flag: bool | None = None


def wheres(kind: type, value: object) -> list[str]:
    return sorted(fault.where for fault in faults_in(kind, value))


def test_what_is_right_has_no_fault():
    assert wheres(Outer, {"inner": {"number": 1}, "items": [{"number": 2, "name": "a"}], "flag": None}) == []


def test_every_fault_is_found_at_any_depth():
    value = {
        "inner": {"name": " ", "colour": 1},
        "items": [{"number": "1"}, {"number": 2}, 3],
        "flag": "yes",
        "ignored": True,
    }

    assert wheres(Outer, value) == [
        "flag",
        "inner/colour",
        "inner/name",
        "inner/number",
        "items/0/number",
        "items/2",
    ]


def test_a_list_that_is_too_long_is_one_fault_whatever_it_holds():
    assert wheres(Outer, {"inner": {"number": 1}, "items": [None] * 4}) == ["items"]


def test_a_field_may_say_in_its_own_words_what_is_wrong():
    [fault] = faults_in(Inner, {"number": 1, "name": " "})

    assert fault.message == "must not be blank"


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_text_that_no_store_takes_is_a_fault(text: str):
    assert wheres(Inner, {"number": 1, "name": text}) == ["name"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b'{"events": [NaN]}', 400),
        (b'{"events": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b"{}", 422),
        (b'{"events": []}', 422),
        (b'{"events": null}', 422),
        (b'{"events": {}}', 422),
        (b"{}" + b" " * 1_000_000, 413),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else str(value),
)
async def test_a_bad_body_is_told_by_its_status(operator: httpx.AsyncClient, body: bytes, status: int):
    answer = await operator.post(EVENTS, content=body)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("errors" in answer.json()) is (status == 422)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/msgpack"])
async def test_a_body_of_another_type_is_refused(operator: httpx.AsyncClient, kind: str):
    answer = await operator.post(EVENTS, content=b'{"events": []}', headers={"content-type": kind})

    assert answer.status_code == 415
    assert kind in answer.json()["detail"]


async def test_a_call_with_many_faults_hears_of_all_of_them(operator: httpx.AsyncClient):
    events = [
        {"entity": "customers"},
        {"id": "1", "occurred_at": "yesterday"},
        "no event",
        {"entity": 1, "id": "", "colour": "red"},
        {"entity": "customers", "id": "1", "occurred_at": "2026-01-01T00:00:00"},
    ]

    answer = await operator.post(f"{EVENTS}?dry=1", json={"events": events, "more": 1})

    assert answer.status_code == 422
    assert sorted(fault["where"] for fault in answer.json()["errors"]) == [
        "dry",
        "events/0/id",
        "events/1/entity",
        "events/1/occurred_at",
        "events/2",
        "events/3/colour",
        "events/3/entity",
        "events/3/id",
        "events/4/occurred_at",
        "more",
    ]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "colour=red",
        "entity=null",
        "entity=a%00b",
        "mode=sideways",
        "status=lost",
    ],
)
async def test_a_bad_query_is_invalid(operator: httpx.AsyncClient, query: str):
    answer = await operator.get(f"{RUNS}?{query}")

    assert answer.status_code == 422, answer.text
    assert {fault["where"] for fault in answer.json()["errors"]} == {query.split("=", maxsplit=1)[0]}


PLACES = ("no uuid", "9" * 20, str(2**63), " 7 ", "1_000", "-5", "²", "[]", '["0001-01-01", "a", "\\ud800"]')


async def test_a_cursor_that_nobody_gave_is_invalid(real: httpx.AsyncClient, stores: Stores):
    run = (await real.post(RUNS, json={"entity": "customers"})).json()["id"]
    undo = await stores.core.fetchval(
        "INSERT INTO undos (reason, requested_by) VALUES ('why', 'test') RETURNING id"
    )
    lists = ("runs", "diffs", "changes", f"runs/{run}/partitions", "undos", f"undos/{undo}/items", "holds")
    for path in lists:
        for cursor in ("x", "%F0%9F%9A%80", "a" * 500, *map(encode_cursor, PLACES)):
            answer = await real.get(f"/v1/reconciliation/{path}?cursor={cursor}")
            assert answer.status_code == 422, (path, cursor, answer.text)
            assert [fault["where"] for fault in answer.json()["errors"]] == ["cursor"]


async def test_a_path_that_no_store_could_hold_is_not_found(operator: httpx.AsyncClient):
    assert (await operator.patch("/v1/reconciliation/jobs/a%00b", json={})).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"reason": "why"},
        {"reason": "", "paused": True},
        {"reason": " \n", "paused": True},
        {"reason": "x" * 1001, "paused": True},
        {"reason": "why", "paused": None},
        {"reason": "why", "paused": 1},
        {"reason": "why", "paused": "true"},
        {"reason": None, "paused": True},
    ],
)
async def test_a_change_of_a_job_without_a_change_or_a_reason_is_invalid(
    operator: httpx.AsyncClient, change: object
):
    assert (await operator.patch(JOB, json=change)).status_code == 422
