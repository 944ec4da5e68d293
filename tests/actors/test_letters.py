"""Dead letters, as Dramatiq itself makes them."""

import os
import subprocess
import sys

_SCRIPT = """
import asyncio
import dramatiq
from actors.broker import broker
from actors.letters import DeadLetters
from actors.queues import Queue

@dramatiq.actor(queue_name=Queue.REPAIRS)
def fail(who):
    pass

consumer = broker.consume(Queue.REPAIRS, timeout=50)
for who in ("ada", "bob"):
    failed = fail.message(who)
    failed.options["traceback"] = f'ValueError: no room for {who} Müller "the great"'
    broker.enqueue(failed)
    consumer.nack(next(consumer))
consumer.close()

letters = DeadLetters(broker.client, broker.namespace)
told = {
    each: asyncio.run(letters.count([each]))
    for each in ("ada", 'bob Müller "the great"', "Müller", "nobody")
}
cleared = [asyncio.run(letters.clear(["ada", "bob M"])), asyncio.run(letters.clear(["ada", "bob"]))]
left = list(broker.client.scan_iter(f"{broker.namespace}:*.XQ*"))
print((told, cleared, left))
"""


def test_letters_are_found_by_what_they_hold_and_removed_whole(stores_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **stores_environment, "ASTROCORE_NAMESPACE": "letters"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = {"ada": 1, 'bob Müller "the great"': 1, "Müller": 2, "nobody": 0}
    assert done.stdout.splitlines()[-1] == str((found, [2, 0], []))
