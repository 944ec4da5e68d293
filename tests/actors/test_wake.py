"""Wake-ups: one message for many who ask, and none of them is forgotten."""

import os
import subprocess
import sys

_SCRIPT = """
from datetime import UTC, datetime
from types import SimpleNamespace
from actors import waking as actors

instant, claimed, sent = 0.0, set(), []

class Clock:
    now = staticmethod(lambda zone: datetime.fromtimestamp(instant, UTC))

def claim(name, value, nx, ex):
    return None if name in claimed else claimed.add(name) or True

actors.datetime = Clock
actors.broker = SimpleNamespace(namespace="t", client=SimpleNamespace(set=claim))
actor = SimpleNamespace(
    actor_name="repair", send_with_options=lambda delay: sent.append(instant + delay / 1000)
)
for step in range(400):  # every 7 ms somebody asks for 0 to 0.5 s later
    instant = 1000 + step * 0.007
    due = instant + (step * 37 % 100) / 200
    actors.wake_later(actor, due - instant)
    assert any(due <= each <= due + 0.26 for each in sent), (instant, due, sent[-3:])
print(len(sent))
"""


_AWAY = """
import asyncio
from redis.exceptions import ConnectionError as Away
from actors import notifications as actors

asked, refusals = [], 2

def wake_later(actor, seconds):
    asked.append((actor.actor_name, seconds))
    if len(asked) <= refusals:
        raise Away("refused")

class Office:
    async def run_due(self):
        return 0.07

actors.wake_later, actors._AWAY_SECONDS = wake_later, 0.01
asyncio.run(actors._deliver(Office()))
assert asked == [("deliver_mails", 0.07)] * 3, asked

asked.clear()
refusals, actors._LATEST_SECONDS = 10_000, 0.1  # it stays away, and another wake-up comes by the minute
asyncio.run(actors._deliver(Office()))
assert 1 < len(asked) < 50, asked
"""


def run(script: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_delivery_is_woken_though_the_broker_is_away_for_a_moment(stores_environment: dict[str, str]) -> None:
    run(_AWAY, stores_environment)


def test_a_message_comes_soon_after_every_moment_that_was_asked_for(
    stores_environment: dict[str, str],
) -> None:
    assert int(run(_SCRIPT, stores_environment)) < 20, "one for each quarter of a second"
