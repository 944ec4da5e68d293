"""Actors bind their broker on import, so they are looked at in a process that has the environment for it."""

import json
import os
import subprocess
import sys
from typing import Any

_SCRIPT = """
import json
from actors.worker import broker
print(json.dumps([
    {"name": name, "queue": actor.queue_name, "options": {key: str(value) for key, value in actor.options.items()}}
    for name, actor in broker.actors.items()
]))
"""


def declared_actors(environment: dict[str, str]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
