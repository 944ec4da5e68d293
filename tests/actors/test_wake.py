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


def test_a_message_comes_soon_after_every_moment_that_was_asked_for(
    stores_environment: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **stores_environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20, "one for each quarter of a second"
