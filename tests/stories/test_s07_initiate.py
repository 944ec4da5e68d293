"""S7: the Job Scheduler initiates reconciliation between the customer DB and the admin DB."""

import uuid

import pytest

from tests.stories.conftest import System, wait_for

RUNS = "/v1/reconciliation/runs"


def test_full_runs_repair_exactly_what_drifted(seeded: System) -> None:
    for entity in ("customers", "launches", "bookings"):
        answer = seeded.api.post(RUNS, json={"entity": entity})
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{RUNS}/{answer.json()['id']}"
        run = seeded.follow(answer.json()["id"])
        assert run["status"] == "done", run
        assert run["findings"] > 0
        assert run["document_records"] > 0
        assert run["relational_records"] > 0
    score = seeded.cli_json("seed", "--check")
    assert not score["faults"], score


def test_a_second_run_finds_no_new_diff(seeded: System) -> None:
    before = seeded.api.get("/v1/reconciliation/diffs", params={"limit": 1000}).json()["items"]
    seeded.cli("reconcile")
    after = seeded.api.get("/v1/reconciliation/diffs", params={"limit": 1000}).json()["items"]
    known = {each["id"] for each in before}
    assert [each for each in after if each["id"] not in known] == []
    assert not seeded.cli_json("seed", "--check")["faults"]


def test_a_dry_run_reports_and_writes_nothing(seeded: System) -> None:
    run = seeded.follow(seeded.api.post(RUNS, json={"entity": "bookings", "dry_run": True}).json()["id"])
    assert run["status"] == "done"
    assert set(run["outcomes"]) == {"in_review"}, run
    assert sum(run["outcomes"].values()) == run["findings"]


def test_a_second_full_run_of_an_active_entity_is_refused_with_the_way_to_the_first(seeded: System) -> None:
    first = seeded.api.post(RUNS, json={"entity": "bookings"})
    second = seeded.api.post(RUNS, json={"entity": "bookings"})
    assert second.status_code == 409
    assert second.headers["Content-Type"].startswith("application/problem+json")
    assert second.json()["instance"] == f"{RUNS}/{first.json()['id']}"
    seeded.follow(first.json()["id"])


def test_bad_requests_are_refused_clearly(seeded: System) -> None:
    def post(body: object) -> tuple[int, dict]:
        answer = seeded.api.post(RUNS, json=body)
        return answer.status_code, answer.json()

    assert post({"entity": "rockets"})[0] == 404
    assert post({"entity": 5})[0] == 422
    status, problem = post({"entity": "bookings", "mode": "half", "dry_run": "maybe"})
    assert status == 422
    assert len(problem["errors"]) == 2
    assert (
        seeded.api.post(RUNS, content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    )
    assert seeded.api.get(f"{RUNS}/{uuid.uuid4()}").status_code == 404
    assert seeded.api.get(RUNS, headers={"Authorization": "Bearer wrong"}, auth=None).status_code == 401


@pytest.mark.slow
def test_the_schedulers_incremental_runs_come_every_minute(seeded: System) -> None:
    def scheduled() -> list[dict]:
        found = seeded.api.get(RUNS, params={"mode": "incremental", "limit": 100}).json()["items"]
        return [run for run in found if run["cause"] == "schedule"]

    found = wait_for(
        scheduled, lambda runs: {run["entity"] for run in runs} == {"customers", "launches", "bookings"}
    )
    assert all(run["requested_by"] == "scheduler" for run in found)
