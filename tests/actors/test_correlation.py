"""One correlation runs from whoever sends a message through everything that comes of it."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# A worker on a real broker, in a process that has the environment for it: actors bind their broker on import.
_SCRIPT = """
import asyncio, time
from datetime import UTC, datetime
import dramatiq, msgspec
from loguru import logger
from actors.broker import broker, worker_stores
from actors.queues import Queue
from actors.scheduler import BrokerOutlet, open_client
from app.scheduling.outlet import Order
from config.correlation import Correlation, IDLE, correlated, current, note_outcome
from config.logging import set_up_logging
from config.settings import settings

entries = []
broker.middleware.remove(worker_stores)
set_up_logging("worker", ship=entries.append)

options = dict(queue_name=Queue.RUNS, max_retries=0, time_limit=10_000)

@dramatiq.actor(**options)
async def leaf(name):
    logger.info(name)

@dramatiq.actor(**options)
async def branch(name):
    leaf.send(name)

@dramatiq.actor(**options)
async def idle():
    note_outcome(IDLE)

@dramatiq.actor(**{**options, "max_retries": 1, "min_backoff": 1, "max_backoff": 1})
async def failing():
    raise ValueError("boom, password=planted")

@dramatiq.actor(**options)
def plain(name):
    logger.info(name)

with correlated(Correlation("a" * 32, "b" * 16, "request-1", "ada")):
    branch.send("tracked")
    failing.send()
    plain.send("synchronous")
leaf.send("alone")

async def tick():
    client = open_client(settings().url("broker_url"))
    order = Order("leaves", datetime(2026, 1, 1, tzinfo=UTC), "leaf", {"name": "ticked"})
    await BrokerOutlet(client, broker, settings().namespace).send(order)
    await client.aclose()

asyncio.run(tick())
idle.send()

worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
worker.start()
deadline = time.monotonic() + 20
done = ("message.processed", "message.died")
while time.monotonic() < deadline and sum(entry.event in done for entry in entries) < 7:
    time.sleep(0.05)
worker.stop()
print(msgspec.json.encode(entries).decode())
"""


@pytest.fixture(scope="module")
def entries(stores_environment: dict[str, str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={
            **os.environ,
            **stores_environment,
            "ASTROCORE_NAMESPACE": "correlation",
            "ASTROCORE_LOG_LEVEL": "DEBUG",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "planted" not in done.stdout + done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


def of(entries: list[dict[str, Any]], event: str, task: str) -> list[dict[str, Any]]:
    return [each for each in entries if each["event"] == event and each["fields"].get("task") == task]


def test_what_a_message_sends_belongs_to_the_request_that_sent_the_first(entries) -> None:
    [said] = [each for each in entries if each["event"] == "tracked"]
    assert (said["request_id"], said["actor"]) == ("request-1", "ada")
    assert (said["trace_id"], said["span_id"]) == ("a" * 32, "b" * 16)
    assert said["fields"]["task"] == "leaf"
    [processed] = [
        each for each in of(entries, "message.processed", "leaf") if each["message_id"] == said["message_id"]
    ]
    assert processed["request_id"] == "request-1"


def test_an_actor_that_is_no_coroutine_is_correlated_too(entries) -> None:
    [said] = [each for each in entries if each["event"] == "synchronous"]
    assert (said["request_id"], said["fields"]["task"]) == ("request-1", "plain")


def test_a_message_that_nobody_asked_for_begins_a_trace(entries) -> None:
    [said] = [each for each in entries if each["event"] == "alone"]
    assert "request_id" not in said
    assert "actor" not in said
    assert said["trace_id"] != "a" * 32


def test_a_tick_begins_a_trace_in_which_the_scheduler_acts(entries) -> None:
    [said] = [each for each in entries if each["event"] == "ticked"]
    [other] = [each for each in entries if each["event"] == "alone"]
    assert said["actor"] == "scheduler"
    assert "request_id" not in said
    assert said["trace_id"] not in {"a" * 32, other["trace_id"]}


def test_a_message_that_was_processed_leaves_one_entry_with_its_outcome_and_duration(entries) -> None:
    [processed] = of(entries, "message.processed", "branch")
    assert (processed["level"], processed["outcome"], processed["fields"]["queue"]) == (
        "INFO",
        "done",
        "runs",
    )
    assert processed["duration_ms"] > 0


def test_a_wake_up_that_found_nothing_is_quiet(entries) -> None:
    [processed] = of(entries, "message.processed", "idle")
    assert (processed["level"], processed["outcome"]) == ("DEBUG", "idle")


def test_a_failure_is_a_warning_while_it_is_tried_again_and_an_error_at_the_end(entries) -> None:
    [first], [last] = of(entries, "message.failed", "failing"), of(entries, "message.died", "failing")
    assert (first["level"], first["outcome"], first["fields"]["attempt"]) == ("WARNING", "retried", 1)
    assert (last["level"], last["outcome"], last["fields"]["attempt"]) == ("ERROR", "dead", 2)
    assert first["message_id"] == last["message_id"]
    assert {first["request_id"], last["request_id"]} == {"request-1"}
    assert last["exception"]["type"] == "ValueError"
    assert "in failing" in last["exception"]["stack"]
    assert [each["event"] for each in entries if each["level"] == "ERROR"] == ["message.died"]
