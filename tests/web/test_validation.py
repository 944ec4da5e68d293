from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

import httpx
import pytest
from litestar.exceptions import ClientException
from msgspec import UNSET, Meta, Struct, UnsetType

from app.errors import FAULT
from app.locales import NO_LOCALE, Locale
from app.pages import encode_cursor
from app.stores.connections import Stores
from web.validation import MOST_DEPTH, decode_json, faults_in

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


class Mood(StrEnum):
    GOOD = "good"
    BAD = "bad"


class Members(Struct):
    inner: dict[str, Inner] = {}
    notes: Annotated[
        dict[Annotated[str, Meta(max_length=5)], Annotated[str, Meta(max_length=3)]], Meta(max_length=3)
    ] = {}
    anything: dict[str, Any] = {}


class Choices(Struct):
    mood: Mood | None = None
    side: Literal["left", "right"] | UnsetType = UNSET
    id: UUID | None = None
    ids: list[UUID] = []
    locale: Locale | None = None


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


def test_every_fault_of_a_dict_is_found_at_its_member():
    value = {
        "inner": {"a": {"number": 1}, "b": {}, "c": {"number": 1, "name": " "}, "d": 3},
        "notes": {"a": "x", "b": "long", "c": "a\0"},
        "anything": {"a": {"b": [None]}},
    }

    assert wheres(Members, value) == ["inner/b/number", "inner/c/name", "inner/d", "notes/b", "notes/c"]


def test_the_names_and_the_number_of_members_are_looked_at_too():
    assert wheres(Members, {"notes": {"too long": "x", "\0": "x"}}) == ["notes/\0", "notes/too long"]
    assert wheres(Members, {"notes": dict.fromkeys("abcd", "long"), "inner": [1]}) == ["inner", "notes"]


def test_what_is_none_of_what_there_is_to_choose_from_is_told_in_words():
    value = {"mood": "bogus", "side": "up", "id": "x", "ids": "x", "locale": "e"}

    assert {fault.where: fault.message for fault in faults_in(Choices, value)} == {
        "mood": "is none of good, bad",
        "side": "is none of left, right",
        "id": "is no UUID",
        "ids": "Expected `array`, got `str`",
        "locale": NO_LOCALE,
    }


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


async def test_a_body_that_is_nested_too_deep_is_told_however_deep_it_is(operator: httpx.AsyncClient):
    """At some 950 levels it is decoded here, and no more by the framework, further down the stack."""
    for depth in (MOST_DEPTH, *range(900, 1000)):
        nested = b"[" * depth + b"]" * depth
        body = b'{"data": {"x": ' + nested + b"}}"
        answer = await operator.post("/v1/notification-templates/x/preview", content=body)
        assert answer.status_code == 400, depth


def test_a_body_may_be_nested_and_long():
    deepest = b"[" * MOST_DEPTH + b"]" * MOST_DEPTH
    for body in (deepest, b'["' + deepest * 3 + b'"]', b"[" + b"[]," * 3 * MOST_DEPTH + b"{}]", b"7"):
        decode_json(body, "application/json")
    for body in (b"[" + deepest + b"]", b'[1, {"a": 2, "b": ' + deepest[:-1] + b", []]}]"):
        with pytest.raises(ClientException, match="more than 100 deep"):
            decode_json(body, "application/json")


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


NOTIFICATIONS = "/v1/notifications"


@pytest.mark.parametrize("name", ["batch", "status", "recipient"])
@pytest.mark.parametrize("null", ["null", "NULL", "Null"])
async def test_null_is_not_the_same_as_nothing(operator: httpx.AsyncClient, name: str, null: str):
    answer = await operator.get(f"{NOTIFICATIONS}?{name}={null}")

    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"] == [{"where": name, "message": "is null; leave the parameter out instead"}]


async def test_a_text_may_be_null_in_capitals(operator: httpx.AsyncClient):
    answer = await operator.get(f"{NOTIFICATIONS}?template=NULL&schedule=Null&limit=0")

    assert [fault["where"] for fault in answer.json()["errors"]] == ["limit"]


async def test_a_query_hears_in_words_what_it_may_ask_for(operator: httpx.AsyncClient):
    answer = await operator.get(f"{NOTIFICATIONS}?status=bogus&recipient=7")

    told = {fault["where"]: fault["message"] for fault in answer.json()["errors"]}
    assert told["status"].startswith("is none of scheduled, pending, sending, ")
    assert told["recipient"] == "is no UUID"


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
