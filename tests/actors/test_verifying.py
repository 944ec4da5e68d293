"""The verifier takes its time, and none of anybody else's."""

import json
import os
import subprocess
import sys

_BESIDE_OTHER_WORK = """
import json, threading
import dramatiq
from actors import audit, queues
from actors.broker import broker, worker_stores

began, done = threading.Event(), threading.Event()
seen = []

async def verify(settings):
    began.set()
    seen.append(done.wait(5))

@dramatiq.actor(queue_name=queues.Queue.RUNS, max_retries=0, time_limit=10_000)
async def work():
    done.set()

class Opened:
    settings = None

broker.namespace += "-verifying"
worker_stores.before_worker_boot = worker_stores.after_worker_shutdown = lambda *_: None
worker_stores._stores = Opened
audit.inspection.take_turn = verify
worker = dramatiq.Worker(broker, worker_threads=2, worker_timeout=20)
worker.start()
audit.verify_entries.send()
began.wait(10)
work.send()
broker.join(queues.Queue.RUNS, timeout=15_000)
worker.stop()
broker.flush_all()
print(json.dumps(seen))
"""


def test_while_the_verifier_reads_the_other_work_of_its_worker_goes_on(
    stores_environment: dict[str, str],
) -> None:
    environment = {**os.environ, **stores_environment}
    argv = [sys.executable, "-c", _BESIDE_OTHER_WORK]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [True]
