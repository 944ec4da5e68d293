from typing import Any
from unittest.mock import Mock
from urllib.parse import quote
from uuid import UUID, uuid4

import dramatiq
import httpx
import pytest
import redis.exceptions

from actors import reconciliation as actors
from app.reconciliation.deciding import history
from app.reconciliation.ledger.views import RecordView

BASE = "/v1/reconciliation"


async def start(caller: httpx.AsyncClient, **order: object) -> httpx.Response:
    return await caller.post(f"{BASE}/runs", json={"entity": "customers", **order})


async def test_a_run_is_started_announced_and_found_at_its_location(
    real: httpx.AsyncClient, woken: list[Any]
):
    answer = await start(real, dry_run=True)

    assert answer.status_code == 201
    run = answer.json()
    assert (run["entity"], run["mode"], run["dry_run"], run["requested_by"]) == (
        "customers",
        "full",
        True,
        "client:operator",
    )
    assert woken == [UUID(run["id"])]
    assert (await real.get(answer.headers["location"])).json() == run
    assert (await real.get(f"{BASE}/runs?entity=customers&status=active&mode=full")).json()["items"] == [run]


async def test_while_a_run_is_active_a_second_one_is_refused_with_its_path(
    real: httpx.AsyncClient, woken: list[Any]
):
    location = (await start(real)).headers["location"]
    woken.clear()

    answer = await start(real)

    assert answer.status_code == 409
    assert answer.json()["instance"] == location
    assert woken == []
    assert (await start(real, mode="incremental")).status_code == 201


async def test_a_run_is_cancelled_with_or_without_a_reason(real: httpx.AsyncClient):
    for body, reason in ((None, "no reason given"), ({"reason": "enough"}, "enough")):
        location = (await start(real)).headers["location"]
        answer = await real.post(f"{location}/cancel", **({} if body is None else {"json": body}))
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["reason"]) == ("cancelled", reason)
        assert (await real.post(f"{location}/cancel")).status_code == 409


async def test_only_a_held_run_is_approved(real: httpx.AsyncClient, woken: list[Any]):
    location = (await start(real)).headers["location"]
    woken.clear()

    assert (await real.post(f"{location}/approve", json={"reason": "fine"})).status_code == 409
    assert woken == []


async def test_a_run_is_started_though_the_broker_is_away(
    real: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, logged
):
    errors = [
        redis.exceptions.ConnectionError("away"),
        redis.exceptions.TimeoutError("frozen"),
        dramatiq.errors.ConnectionClosed("gone"),
        ConnectionResetError(),
    ]
    for error in errors:
        monkeypatch.setattr(actors, "wake_run", Mock(side_effect=error))
        answer = await start(real)
        assert answer.status_code == 201
        await real.post(f"{answer.headers['location']}/cancel")

    assert [entry["level"] for entry in logged if entry["event"] == "wake.failed"] == ["WARNING"] * len(
        errors
    )


async def test_a_job_is_changed_field_by_field(real: httpx.AsyncClient, woken: list[Any]):
    path = f"{BASE}/jobs/bookings-full"

    first = (await real.patch(path, json={"repairs": True, "reason": "ready"})).json()
    second = (await real.patch(path, json={"paused": True, "reason": "upgrade"})).json()

    assert (first["repairs"], first["paused"]) == (True, False)
    assert (second["repairs"], second["paused"]) == (True, True)
    assert woken == ["repairs", "repairs"]
    assert second in (await real.get(f"{BASE}/jobs")).json()


async def test_repairs_are_allowed_again(real: httpx.AsyncClient, woken: list[Any]):
    answer = await real.post(f"{BASE}/entities/bookings/allow-repairs", json={"reason": "looked"})

    assert (answer.status_code, answer.content) == (204, b"")
    assert woken == ["repairs"]


async def test_events_are_taken_all_or_none(real: httpx.AsyncClient, woken: list[Any]):
    good = [{"entity": "bookings", "id": str(uuid4())} for _ in range(1000)]
    good[0]["occurred_at"] = "2026-01-01T00:00:00+02:00"
    bad = [*good[:2], {"entity": "bookings", "id": "7"}, {"entity": "moons", "id": "7"}]

    refused = await real.post(f"{BASE}/events", json={"events": bad})
    accepted = await real.post(f"{BASE}/events", json={"events": good})

    assert refused.status_code == 422
    assert [fault["where"] for fault in refused.json()["errors"]] == ["events/2/id", "events/3/entity"]
    assert (accepted.status_code, accepted.json()) == (202, {"accepted": 1000})
    assert woken == ["repairs"]


async def test_what_does_not_exist_is_not_found(real: httpx.AsyncClient, woken: list[Any]):
    calls = [
        ("GET", "runs/{id}", None),
        ("POST", "runs/{id}/cancel", {}),
        ("POST", "runs/{id}/approve", {"reason": "why"}),
        ("GET", "diffs/{id}", None),
        ("POST", "diffs/{id}/approve", {"side": "document", "reason": "why"}),
        ("POST", "diffs/{id}/reject", {"reason": "why"}),
        ("PATCH", "jobs/nothing", {"paused": True, "reason": "why"}),
        ("POST", "entities/nothing/allow-repairs", {"reason": "why"}),
        ("POST", "runs", {"entity": "nothing"}),
        ("GET", "records/nothing/{id}", None),
        ("GET", "changes?entity=nothing", None),
    ]
    for method, path, body in calls:
        answer = await real.request(method, f"{BASE}/{path.format(id=uuid4())}", json=body)
        assert answer.status_code == 404, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert woken == []


async def test_a_record_that_neither_side_holds_is_shown_as_such(real: httpx.AsyncClient):
    record = (await real.get(f"{BASE}/records/customers/{uuid4()}")).json()

    assert (record["document"], record["relational"], record["diffs"], record["changes"]) == (
        None,
        None,
        [],
        [],
    )


async def test_lists_of_what_has_not_happened_are_empty(real: httpx.AsyncClient):
    for path in ("diffs?status=pending&kind=fields", f"diffs?run_id={uuid4()}", "changes", "runs?limit=1000"):
        answer = await real.get(f"{BASE}/{path}")
        assert answer.json() == {"items": [], "next_cursor": None}, path


async def test_pages_follow_each_other_without_gap_or_repetition(real: httpx.AsyncClient):
    started = []
    for _ in range(5):
        location = (await start(real)).headers["location"]
        await real.post(f"{location}/cancel")
        started.append(location.rsplit("/", 1)[1])

    seen, cursor = [], ""
    while True:
        page = (await real.get(f"{BASE}/runs?limit=2{cursor}")).json()
        seen += [run["id"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert seen == started[::-1]


@pytest.mark.parametrize("key", ["A/1", "A//1", "A/1/", "/A", "a?b", "é %2F", "records/1"])
async def test_a_record_of_any_key_is_shown(
    operator: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, key: str
):
    async def show(_stores: object, entity: str, key: str, *, by: str) -> RecordView:
        return RecordView(entity, key, None, None, [], None, [], [])

    monkeypatch.setattr(history, "read_record", show)
    answer = await operator.get(f"{BASE}/records/tickets/{quote(key, safe='')}")

    assert answer.status_code == 200
    assert (answer.json()["entity"], answer.json()["key"]) == ("tickets", key)
