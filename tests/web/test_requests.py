import asyncio
import re
from types import SimpleNamespace

import httpx
import pytest

from config.correlation import Correlation, current
from tests.web.conftest import actors

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PATHS = ["/", "/nothing", "/v1/reconciliation/jobs", "/schema", "/health/live"]


@pytest.mark.parametrize("path", PATHS)
async def test_every_answer_bears_an_id_of_its_own(anyone: httpx.AsyncClient, path: str):
    first, second = [(await anyone.get(path)).headers["x-request-id"] for _ in range(2)]

    assert UUID.fullmatch(first)
    assert first != second


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sent", ["abc", "a.b_c-1", "x" * 128])
async def test_a_sane_id_of_the_caller_is_kept(anyone: httpx.AsyncClient, path: str, sent: str):
    answer = await anyone.get(path, headers={"x-request-id": sent})

    assert answer.headers.get_list("x-request-id") == [sent]


@pytest.mark.parametrize("path", PATHS)
async def test_no_answer_is_kept_or_taken_for_something_else(anyone: httpx.AsyncClient, path: str):
    answer = await anyone.get(path)

    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]


@pytest.mark.parametrize("sent", ["", " ", "x" * 129, "a b", "a\tb", "<script>", "é", "a;b"])
async def test_another_id_is_replaced(anyone: httpx.AsyncClient, sent: str):
    answer = await anyone.get("/", headers={"x-request-id": sent.encode()})

    assert UUID.fullmatch(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    ("path", "status", "level", "outcome"),
    [
        ("/", 200, "INFO", "done"),
        ("/nothing", 404, "INFO", "refused"),
        ("/health/live", 200, "DEBUG", "done"),
    ],
)
async def test_every_request_is_logged_once(
    anyone: httpx.AsyncClient, logged, *, path: str, status: int, level: str, outcome: str
):
    await anyone.get(f"{path}?secret=1", headers={"x-request-id": "mine", "traceparent": TRACEPARENT})

    [entry] = [entry for entry in logged if entry["event"] == "request.served"]
    assert entry.pop("duration_ms") >= 0
    assert entry == {
        "event": "request.served",
        "level": level,
        "method": "GET",
        "path": path,
        "status": status,
        "outcome": outcome,
        "request_id": "mine",
        "trace_id": TRACEPARENT[3:35],
        "span_id": TRACEPARENT[36:52],
        "actor": None,
    }


async def test_a_request_without_a_sound_trace_begins_one(anyone: httpx.AsyncClient, logged):
    for headers in ([], [("traceparent", "00-x")], [("traceparent", TRACEPARENT)] * 2):
        await anyone.get("/", headers=headers)

    traces = {entry["trace_id"] for entry in logged}
    assert len(traces) == 3
    assert TRACEPARENT[3:35] not in traces


async def test_the_guard_tells_who_acts(operator: httpx.AsyncClient, anyone: httpx.AsyncClient, logged):
    await operator.get("/v1/reconciliation/jobs")
    del anyone.headers["authorization"]
    await anyone.get("/v1/reconciliation/jobs")

    served = [entry for entry in logged if entry["event"] == "request.served"]
    assert [entry["actor"] for entry in served] == ["client:operator", None]
    assert current() is None


async def test_what_is_woken_for_a_request_is_sent_within_its_trace(
    operator: httpx.AsyncClient, app, monkeypatch: pytest.MonkeyPatch
):
    sent: list[Correlation] = []

    async def started(*_args: object, **_options: object) -> SimpleNamespace:
        return SimpleNamespace(id="undo")

    monkeypatch.setattr("app.reconciliation.deciding.undo.start", started)
    monkeypatch.setattr(actors, "wake_undo", lambda _id: sent.append(current()))
    await operator.post(
        "/v1/reconciliation/undos",
        json={"change_ids": ["00000000-0000-0000-0000-000000000001"], "reason": "test"},
        headers={"x-request-id": "mine", "traceparent": TRACEPARENT},
    )

    [correlation] = sent
    assert correlation.carried() == {
        "trace_id": TRACEPARENT[3:35],
        "span_id": TRACEPARENT[36:52],
        "request_id": "mine",
        "actor": "client:operator",
    }


async def test_requests_at_the_same_time_do_not_mix_their_ids(anyone: httpx.AsyncClient, logged):
    ids = [f"id-{number}" for number in range(20)]

    await asyncio.gather(*(anyone.get(f"/{each}", headers={"x-request-id": each}) for each in ids))

    assert {(entry["path"], entry["request_id"]) for entry in logged} == {(f"/{each}", each) for each in ids}
