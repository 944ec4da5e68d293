"""Runs that are paused, resumed, throttled and looked at in parts, over HTTP."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from app.stores.connections import Stores

RUNS = "/v1/reconciliation/runs"
WHY = {"reason": "test"}


@pytest.fixture
async def run(real: httpx.AsyncClient, woken: list[Any]) -> str:
    """The path of a run that was just started."""
    answer = await real.post(RUNS, json={"entity": "customers", "records_per_second": 500})
    woken.clear()
    assert answer.json()["records_per_second"] == 500
    return answer.headers["location"]


async def test_a_run_is_paused_and_goes_on_when_it_is_resumed(
    real: httpx.AsyncClient, run: str, woken: list[Any]
):
    paused = await real.post(f"{run}/pause", json=WHY)
    again = await real.post(f"{run}/pause", json=WHY)
    assert woken == []
    resumed = await real.post(f"{run}/resume", json=WHY)

    assert (paused.status_code, again.status_code, resumed.status_code) == (200, 409, 200)
    assert paused.json()["paused_at"] is not None
    assert resumed.json()["paused_at"] is None
    assert woken == [UUID(run.rsplit("/", 1)[1]), "repairs"]


async def test_a_throttle_is_changed_and_taken_off(real: httpx.AsyncClient, run: str):
    for throttle in (700, None):
        answer = await real.patch(run, json={"records_per_second": throttle, **WHY})
        assert answer.status_code == 200
        assert (await real.get(run)).json()["records_per_second"] == throttle


@pytest.mark.parametrize("throttle", [0, -1, 99, 2**31, 1.5, "70", True])
async def test_a_throttle_that_is_none_is_refused(real: httpx.AsyncClient, run: str, throttle: object):
    change = await real.patch(run, json={"records_per_second": throttle})
    order = await real.post(RUNS, json={"entity": "bookings", "records_per_second": throttle})

    faults = {fault["where"]: fault["message"] for fault in change.json()["errors"]}
    assert faults == {
        "records_per_second": "is null, or a number from 100 to 2147483647",
        "reason": "is required",
    }
    assert (change.status_code, order.status_code) == (422, 422)


async def test_only_a_run_that_scans_is_throttled(real: httpx.AsyncClient, woken: list[Any]):
    order = {"entity": "customers", "mode": "incremental"}

    refused = await real.post(RUNS, json={**order, "records_per_second": 500})
    location = (await real.post(RUNS, json=order)).headers["location"]
    change = await real.patch(location, json={"records_per_second": 500, **WHY})

    assert refused.status_code == 422
    [fault] = refused.json()["errors"]
    assert fault["where"] == "records_per_second"
    assert "does not go with mode incremental" in fault["message"]
    assert change.status_code == 409


async def test_the_partitions_of_a_run_are_listed_in_pages(real: httpx.AsyncClient, run: str, stores: Stores):
    run_id = UUID(run.rsplit("/", 1)[1])
    await stores.core.executemany(
        "INSERT INTO partitions (run_id, number, low, high) VALUES ($1, $2, $3, $4)",
        [(run_id, 0, None, "5"), (run_id, 1, "5", None)],
    )

    first = (await real.get(f"{run}/partitions?limit=1")).json()
    second = (await real.get(f"{run}/partitions?limit=1&cursor={first['next_cursor']}")).json()

    assert first["items"] == [
        {
            "number": 0, "low": None, "high": "5", "status": "pending", "document_records": 0,
            "relational_records": 0, "findings": 0, "attempts": 0, "leased_until": None, "finished_at": None,
        }
    ]  # fmt: skip
    assert [each["number"] for each in second["items"]] == [1]
    assert second["next_cursor"] is None
    assert (await real.get(f"{run}/partitions?cursor=x")).status_code == 422


async def test_a_run_that_does_not_exist_is_not_found(real: httpx.AsyncClient, woken: list[Any]):
    path = f"{RUNS}/{uuid4()}"
    answers = [
        await real.post(f"{path}/pause", json=WHY),
        await real.post(f"{path}/resume", json=WHY),
        await real.patch(path, json={"records_per_second": 500, **WHY}),
        await real.get(f"{path}/partitions"),
    ]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert woken == []


async def test_to_steer_a_run_needs_a_reason(real: httpx.AsyncClient, run: str):
    for action in ("pause", "resume"):
        assert (await real.post(f"{run}/{action}", json={"reason": " "})).status_code == 422
