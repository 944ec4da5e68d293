"""S3: the system logs what happens and what goes wrong, in every process, tied together by one id."""

import uuid
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from actors.queues import Queue
from tests.stories.conftest import System, wait_for

LOGS = "/v1/logs"
Entries = list[dict[str, Any]]


def logged(system: System, **wanted: object) -> Entries:
    answer = system.api.get(LOGS, params={"order": "oldest", "limit": 1000, **wanted})
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_every_process_tells_that_it_runs(system: System) -> None:
    started = wait_for(
        lambda: logged(system, event="process.started"),
        lambda found: {each["component"] for each in found} >= {"up", "web", "worker", "scheduler"},
    )
    assert all(each["fields"]["version"] for each in started)


@pytest.fixture
def followed(seeded: System) -> dict[str, str]:
    """A request of a caller who has a trace of its own, which makes a worker work."""
    trace, request_id = uuid.uuid4().hex, f"story-{uuid.uuid4().hex[:8]}"
    answer = seeded.api.post(
        "/v1/reconciliation/runs",
        json={"entity": "customers", "dry_run": True},
        headers={"X-Request-ID": request_id, "traceparent": f"00-{trace}-00f067aa0ba902b7-01"},
    )
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (201, request_id)
    seeded.follow(answer.json()["id"])
    return {"request_id": request_id, "trace_id": trace}


@pytest.mark.parametrize("by", ["request_id", "trace_id"])
def test_one_id_leads_from_the_request_to_what_the_worker_did(
    seeded: System, followed: dict[str, str], by: str
) -> None:
    found = wait_for(
        lambda: logged(seeded, **{by: followed[by]}),
        lambda found: {"web", "worker"} <= {each["component"] for each in found},
    )

    assert {(each["request_id"], each["trace_id"]) for each in found} == {tuple(followed.values())}
    assert {each["actor"] for each in found} == {"client:astrocore"}
    (served,) = (each for each in found if each["event"] == "request.served")
    assert (served["component"], served["fields"]["status"]) == ("web", 201)
    processed = next(each for each in found if each["event"] == "message.processed")
    assert processed["component"] == "worker"
    assert processed["message_id"]
    assert processed["duration_ms"] > 0


def test_a_refused_request_is_logged_with_its_outcome(system: System) -> None:
    request_id = f"story-{uuid.uuid4().hex[:8]}"
    system.api.get("/v1/reconciliation/runs?colour=red", headers={"X-Request-ID": request_id})

    (served,) = wait_for(lambda: logged(system, request_id=request_id), bool)
    assert (served["event"], served["fields"]["status"], served["outcome"]) == (
        "request.served",
        422,
        "refused",
    )


def test_what_goes_wrong_in_a_worker_is_logged_as_an_error(system: System) -> None:
    broker = RedisBroker(url=system.settings.url("broker_url"), namespace=system.settings.namespace)
    broker.declare_queue(queue := str(next(iter(Queue))))
    nobody = f"nobody_{uuid.uuid4().hex[:8]}"
    broker.enqueue(dramatiq.Message(queue, nobody, (), {}, {}))
    broker.close()

    (entry,) = wait_for(lambda: logged(system, level="ERROR", text=nobody), bool)
    assert (entry["component"], entry["event"]) == ("worker", "library.reported")


def test_no_secret_of_a_request_is_logged(system: System) -> None:
    secret = f"s3cret-{uuid.uuid4().hex}"
    request_id = f"story-{uuid.uuid4().hex[:8]}"
    system.api.get(
        LOGS,
        params={"text": f"password={secret}"},
        headers={"X-Request-ID": request_id, "Cookie": f"session={secret}"},
    )
    wait_for(lambda: logged(system, request_id=request_id), bool)
    everything = system.api.get(f"{LOGS}/export").text

    key = system.settings.client_secret
    assert key is not None
    assert request_id in everything
    assert secret not in everything
    assert key.get_secret_value() not in everything
