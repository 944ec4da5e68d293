"""Messages that did not succeed, as Dramatiq itself makes them."""

import os
import subprocess
import sys

_SCRIPT = """
import asyncio
import traceback

import dramatiq

from actors.broker import broker
from actors.letters import DeadLetters
from actors.queues import Queue

@dramatiq.actor(queue_name=Queue.REPAIRS)
def fail(who):
    pass

def failed(who):
    message = fail.message(who)
    try:
        raise ValueError(f'no room for {who} Müller "the great", <{who}.m@x.example>')
    except ValueError:
        message.options["traceback"] = traceback.format_exc()
    return message

consumer = broker.consume(Queue.REPAIRS, timeout=50)
for who in ("ada", "bob"):
    broker.enqueue(failed(who))
    consumer.nack(next(consumer))
consumer.close()
letters = DeadLetters(broker.client, broker.namespace)

def count(*together):
    return asyncio.run(letters.count([together]))

told = [count({"ada"}), count({"bob"}, {"Müller"}), count({"ada"}, {"bob"}), count({"ada", "bob"}, {"Müller", "x"})]
print(told, [count({each}) for each in ('Müller "the great"', "ada.m@x.example")])
print([count({each}) for each in ("m@x.example", "ada.m@x", "ad", "raise", "fail", "message_id", "repairs", "Traceback")])

broker.enqueue(failed("ada"), delay=3_600_000)
broker.enqueue(failed("ada"))
broker.enqueue(failed("bob"))
broker.enqueue(fail.message("ada"))
print(count({"ada"}), asyncio.run(letters.clear([[{"nobody"}], [{"ada"}, {"Müller"}]])), count({"ada"}), count({"bob"}))
kept = {
    end: sorted(
        (*message.args, "traceback" in message.options)
        for message in map(dramatiq.Message.decode, broker.client.hvals(f"{broker.namespace}:repairs{end}.msgs"))
    )
    for end in (".XQ", ".DQ", "")
}
print(kept)
"""


def test_what_tells_of_a_person_is_found_by_whole_words_and_leaves_the_broker(
    stores_environment: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **stores_environment, "ASTROCORE_NAMESPACE": "letters"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    together, nothing, cleared, kept = done.stdout.splitlines()[-4:]
    assert together == "[1, 1, 0, 2] [2, 1]"
    assert nothing == str([0] * 8)
    assert cleared == "3 3 0 2"
    assert kept == str(
        {
            ".XQ": [("bob", True)],
            ".DQ": [("ada", False)],
            "": [("ada", False), ("ada", False), ("bob", True)],
        }
    )
