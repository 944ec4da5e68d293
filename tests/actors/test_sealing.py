"""When the audit store is sealed: before whatever else waits, and while much is appended."""

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

_BESIDE_OTHER_WORK = """
import json, os, time
os.environ["dramatiq_queue_prefetch"] = "16"  # as many as a worker of eight threads fetches
import dramatiq
from actors import audit, queues
from actors.broker import broker, worker_stores

ran = []

async def seal(stores):
    ran.append("seal")

@dramatiq.actor(queue_name=queues.Queue.RUNS, max_retries=0, time_limit=10_000)
def work(number):
    ran.append(number)
    time.sleep(0.03)

broker.namespace += "-sealing"
worker_stores.before_worker_boot = worker_stores.after_worker_shutdown = lambda *_: None
worker_stores._stores = object()
audit.turn.take_turn = seal
worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=20)
worker.start()
for number in range(60):
    work.send(number)
while len(ran) < 2:
    time.sleep(0.01)
audit.seal_entries.send()
while len(ran) < 61:
    time.sleep(0.01)
worker.stop()
broker.flush_all()
print(json.dumps(ran.index("seal")))
"""

_WHILE_MUCH_IS_APPENDED = """
import asyncio, json
from actors import audit

asked = []

async def due(stores):
    asked.append(stores)
    if len(asked) == 2:
        raise OSError("away for a moment")
    return False

audit._NUDGE_SECONDS = 0.02
audit.turn.is_due = due

async def append(fails):
    async with audit.sealing_meanwhile("stores"):
        await asyncio.sleep(0.3)
        if fails:
            raise ValueError

asyncio.run(append(fails=False))
whole, tasks = len(asked), 0
try:
    asyncio.run(append(fails=True))
except ValueError:
    tasks = len(asked) - whole
print(json.dumps([whole, tasks]))
"""


@pytest.fixture
def run(stores_environment: dict[str, str]) -> Callable[[str], object]:
    """Run a script in a process that has the environment for actors; answers what it prints."""

    def in_process(script: str) -> object:
        environment = {**os.environ, **stores_environment}
        argv = [sys.executable, "-c", script]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return in_process


def test_the_sealer_gets_the_next_thread_whatever_else_waits(run) -> None:
    assert run(_BESIDE_OTHER_WORK) <= 10, "it comes before most of what was sent earlier"


def test_the_sealer_is_asked_for_while_much_is_appended_and_at_the_end(run) -> None:
    whole, failed = run(_WHILE_MUCH_IS_APPENDED)
    assert whole >= 4
    assert failed >= 2
