"""The whole system as its users have it: real stores and processes, driven by HTTP and the command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli.client import as_client
from app.embedded.launch import EmbeddedStores
from app.stores.connections import Stores, open_stores
from config.settings import Settings, parse_settings

PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class System:
    """A running system: its data directory, its settings and an HTTP client with the rights of its commands."""

    data_dir: Path
    settings: Settings
    api: httpx.Client

    def cli(self, *words: str, expect: int = 0) -> str:
        """Run `astrocore` beside the system; answers its standard output."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ASTROCORE_")}
        done = subprocess.run(
            [sys.executable, "-m", "app.cli.main", *words],
            env={**environment, "ASTROCORE_DATA_DIR": str(self.data_dir)},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS * 2,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout if expect == 0 else done.stderr

    def cli_json(self, *words: str) -> Any:
        return json.loads(self.cli(*words, "--json"))

    def follow(self, run_id: str) -> dict[str, Any]:
        """Wait until a run has ended."""
        return wait_for(
            lambda: self.api.get(f"/v1/reconciliation/runs/{run_id}").json(),
            lambda run: run["status"] not in {"queued", "comparing", "repairing"},
        )


def wait_for(look: Callable[[], Any], good: Callable[[Any], bool]) -> Any:
    """What `look` answers once it is good; fails after a minute with what it answered last."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not good(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@contextmanager
def running_system(running: EmbeddedStores | None = None) -> Iterator[System]:
    """A whole system, on stores of its own unless they are given."""
    running = running or EmbeddedStores(what="up")
    running.start()
    assert running.data_dir is not None
    settings = parse_settings(running.environment | {"ASTROCORE_DATA_DIR": str(running.data_dir)})
    url = f"http://{settings.web_host}:{settings.web_port}"
    with httpx.Client(base_url=url, auth=as_client(settings), timeout=20) as api:
        try:
            yield System(running.data_dir, settings, api)
        finally:
            running.stop()


@pytest.fixture(scope="session")
def seeded(system: System) -> System:
    """The system after `astrocore seed` with drift of every kind, its jobs allowed to repair."""
    system.cli("seed", "--bookings", "1000", "--drift", "0.02")
    system.cli("jobs", "repair", "--all", "--reason", "the story begins")
    return system


@pytest.fixture
async def databases(system: System) -> Any:
    """The system's stores, to act on them as their owners do."""
    opened: Stores
    async with open_stores(system.settings) as opened:
        yield opened
