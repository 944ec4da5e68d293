"""Entries that API consumers ship."""

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from config.log_entries import MOST_BYTES
from config.redaction import REDACTED
from tests.web.logs.conftest import LOGS
from web.logs.shipping import NDJSON

SOLD = {"event": "seat.sold", "component": "shop"}


async def ship(reader: httpx.AsyncClient, *entries: Any) -> httpx.Response:
    return await reader.post(LOGS, json={"entries": entries})


async def ship_lines(reader: httpx.AsyncClient, text: str | bytes) -> httpx.Response:
    return await reader.post(LOGS, content=text, headers={"Content-Type": f"{NDJSON}; charset=utf-8"})


async def test_what_is_shipped_is_there_when_it_is_answered_with_who_sent_it(reader: httpx.AsyncClient):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    full = SOLD | {
        "level": "ERROR",
        "time": f"{yesterday:%Y-%m-%d}T13:00:00.123456+01:00",
        "request_id": "r-9",
        "message_id": "m",
        "trace_id": "b" * 32,
        "span_id": "c" * 16,
        "actor": "ada",
        "outcome": "failed",
        "duration_ms": 1.5,
        "entity": "bookings",
        "key": "9",
        "fields": {"seats": 2, "deep": {"list": [1, None, "x"]}},
        "exception": {"type": "ValueError", "message": "no", "stack": "line 1\nline 2"},
    }
    before = datetime.now(UTC)

    answer = await ship(reader, full, SOLD)

    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    later, first = (await reader.get(LOGS)).json()["items"]
    stamped = {"number": 1, "process": "client:operator", "sequence": 0, "client": "operator"}
    assert first == full | stamped | {"time": f"{yesterday:%Y-%m-%d}T12:00:00.123000Z"}
    assert later["level"] == "INFO"
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(later["time"]) <= datetime.now(UTC)


async def test_entries_may_be_shipped_one_a_line(reader: httpx.AsyncClient):
    lines = "\n".join(json.dumps(SOLD | {"fields": {"seat": seat}}) for seat in range(3))

    answer = await ship_lines(reader, f"\n{lines}\r\n\n")

    assert (answer.status_code, answer.json()) == (202, {"accepted": 3})
    items = (await reader.get(f"{LOGS}?order=oldest")).json()["items"]
    assert [item["fields"]["seat"] for item in items] == [0, 1, 2]


BAD = [
    SOLD,
    {
        "event": "Seat.Sold",
        "component": "web",
        "client": "somebody",
        "level": "info",
        "time": "2026-01-01T00:00:00",
    },
    {
        "event": "seat",
        "trace_id": "x",
        "span_id": "0",
        "duration_ms": -1,
        "fields": [],
        "exception": {"type": ""},
    },
    "no entry",
    SOLD | {"time": "0001-01-01T00:00:00+14:00", "key": "", "process": "core-1:1:0000000a"},
    SOLD | {"event": "seat.sold\n", "component": "shop\n", "time": "9999-12-31T23:59:59Z", "actor": "a\0"},
    SOLD | {"event": f"seat.{'x' * 100}"},
]
FAULTS = {
    "1/event", "1/component", "1/client", "1/level", "1/time",
    "2/event", "2/component", "2/trace_id", "2/span_id", "2/duration_ms", "2/fields", "2/exception",
    "3", "4/time", "4/key", "4/process", "5/event", "5/component", "5/time", "5/actor", "6/event",
}  # fmt: skip


async def test_every_fault_of_what_is_shipped_is_told_and_nothing_is_taken(reader: httpx.AsyncClient):
    answer = await reader.post(LOGS, json={"entries": BAD, "client": "somebody"})

    assert answer.status_code == 422
    assert {fault["where"] for fault in answer.json()["errors"]} == {
        "client",
        *(f"entries/{where}" for where in FAULTS),
    }
    assert (await reader.get(LOGS)).json()["items"] == []


async def test_of_lines_every_fault_is_told_with_its_line(reader: httpx.AsyncClient):
    answer = await ship_lines(reader, "\n{\n" + "\n".join(map(json.dumps, BAD)))

    assert answer.status_code == 422
    assert {fault["where"] for fault in answer.json()["errors"]} == {
        "lines/2",
        *(f"lines/{int(where[0]) + 3}{where[1:]}" for where in FAULTS),
    }
    assert (await reader.get(LOGS)).json()["items"] == []


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ({"actor": "a\0"}, "actor"),
        ({"time": "1999-12-31T23:59:59Z"}, "time"),
        ({"time": f"{datetime.now(UTC) - timedelta(days=30, minutes=1):%Y-%m-%dT%H:%M:%SZ}"}, "time"),
        ({"time": f"{datetime.now(UTC) + timedelta(days=1, hours=1):%Y-%m-%dT%H:%M:%SZ}"}, "time"),
        ({"time": "9999-01-01T00:00:00Z"}, "time"),
    ],
)
async def test_a_fault_of_what_only_looks_sound_is_told_too(
    reader: httpx.AsyncClient, fault: dict[str, str], where: str
):
    body = json.dumps(SOLD | fault)

    document = await reader.post(LOGS, content=f'{{"entries": [{body}]}}')
    lines = await ship_lines(reader, body)

    assert [each["where"] for each in document.json()["errors"]] == [f"entries/0/{where}"]
    assert [each["where"] for each in lines.json()["errors"]] == [f"lines/1/{where}"]


@pytest.mark.parametrize("count", [0, 1001])
async def test_one_to_a_thousand_entries_are_taken_at_once(reader: httpx.AsyncClient, count: int):
    document = await ship(reader, *[SOLD] * count)
    lines = await ship_lines(reader, "\n".join([json.dumps(SOLD)] * count) or " ")

    assert [fault["where"] for fault in document.json()["errors"]] == ["entries"]
    assert [fault["where"] for fault in lines.json()["errors"]] == ["body"]
    assert (await ship(reader, *[SOLD] * 1000)).json() == {"accepted": 1000}


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"entries": {}}', "application/json", 422),
        (b"\xff", NDJSON, 422),
        (b"[" * 100_000, NDJSON, 422),
        (b"x", "text/plain", 415),
        (b" " * 1_000_001, NDJSON, 413),
    ],
)
async def test_a_body_that_holds_no_entries_is_told_by_its_status(
    reader: httpx.AsyncClient, body: bytes, kind: str, status: int
):
    answer = await reader.post(LOGS, content=body, headers={"Content-Type": kind})

    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("component", ["web", "worker", "scheduler", "up", "cli"])
async def test_nobody_ships_in_the_name_of_a_part_of_ours(reader: httpx.AsyncClient, component: str):
    refused = await ship(reader, SOLD | {"component": component})

    assert refused.status_code == 422
    assert (await ship(reader, SOLD | {"component": f"{component}-of-the-shop"})).status_code == 202


async def test_secrets_of_others_are_redacted_as_ours_are(reader: httpx.AsyncClient):
    secret = "hunter2-and-more"
    await ship(
        reader,
        SOLD
        | {
            "request_id": f"token={secret}",
            "fields": {
                "password": secret,
                "deep": [{"Authorization": f"Bearer {secret}"}],
                f"password={secret}": 1,
            },
            "exception": {
                "type": "E",
                "message": f"password={secret}",
                "stack": f"postgres://a:{secret}@host/b",
            },
        },
    )

    text = (await reader.get(LOGS)).text
    assert secret not in text
    assert text.count(REDACTED) >= 5


async def test_an_entry_is_bounded_as_ours_are(reader: httpx.AsyncClient):
    assert (
        await ship(reader, SOLD | {"fields": {str(at): "x" * 5000 for at in range(100)}})
    ).status_code == 202

    assert len((await reader.get(LOGS)).content) < MOST_BYTES + 200


async def test_a_time_is_taken_for_as_long_as_entries_are_kept(
    reader: httpx.AsyncClient, logs: SimpleNamespace
):
    logs.settings = logs.settings.model_copy(update={"log_days": 3})
    at = datetime.now(UTC)

    taken = await ship(
        reader, *[SOLD | {"time": (at - timedelta(hours=hours)).isoformat()} for hours in (71, -23)]
    )
    refused = await ship(reader, SOLD | {"time": (at - timedelta(hours=73)).isoformat()})

    assert taken.json() == {"accepted": 2}
    [fault] = refused.json()["errors"]
    assert (fault["where"], "last 3 days" in fault["message"]) == ("entries/0/time", True)
