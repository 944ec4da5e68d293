"""Logs under faults: whatever was logged is in the store afterwards, once."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.embedded.launch import EmbeddedStores
from app.logs.layout import prefix_of
from config.settings import Settings, parse_settings
from tests.faults.victims import Victims

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RATE = 2000
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "30"))
KILLS = int(os.environ.get("KILLS", "8"))
ROOT = Path(__file__).parents[2]


@pytest.fixture
def running() -> Iterator[EmbeddedStores]:
    stores = EmbeddedStores()
    stores.start()
    yield stores
    stores.stop()


@pytest.fixture
def settings(running: EmbeddedStores) -> Settings:
    return parse_settings(running.environment | {"ASTROCORE_DATA_DIR": str(running.data_dir)})


class Logging:
    """A process that logs; `logged` is how many entries it has acknowledged."""

    def __init__(self, running: EmbeddedStores, number: int, rate: int) -> None:
        environment = {**os.environ, **running.environment, "ASTROCORE_DATA_DIR": str(running.data_dir)}
        argv = [sys.executable, "-m", "tests.faults.logging_process", str(number), str(rate)]
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.logged = 0
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):
                    self.logged = int(line) + 1

    def kill(self) -> None:
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        code = self.process.wait()
        self._listening.join()
        return code


def entries_of(settings: Settings, logging: Logging) -> list[dict[str, Any]]:
    """What the store holds of a process, in the order of arrival."""
    with Redis.from_url(settings.url("logs_url")) as redis:
        found = redis.xrange(f"{prefix_of(settings.namespace)}:entries")
    entries = [json.loads(fields[b"entry"]) for _id, fields in found]
    return [each for each in entries if each["process"].split(":")[-2] == str(logging.process.pid)]


def lost(settings: Settings) -> int:
    with Redis.from_url(settings.url("logs_url")) as redis:
        return int(redis.hget(f"{prefix_of(settings.namespace)}:counters", "lost") or 0)


def assert_whole(entries: list[dict[str, Any]], logged: int) -> None:
    assert [each["sequence"] for each in entries] == list(range(1, len(entries) + 1))
    happened = Counter(each["fields"]["at"] for each in entries if each["event"] == "thing.happened")
    assert set(happened.values()) <= {1}
    assert sorted(happened) == list(range(len(happened)))
    assert len(happened) >= logged


def take_over(running: EmbeddedStores) -> None:
    """Start processes until nothing of earlier ones is left: one that ends soon leaves some of a long spool."""
    assert running.data_dir is not None
    deadline = time.monotonic() + 60
    while list(running.data_dir.glob("spool/*/*.ndjson")):
        assert time.monotonic() < deadline
        assert Logging(running, 1, 0).wait() == 0


def test_a_store_that_is_gone_for_half_a_minute_has_everything_afterwards_once(
    running: EmbeddedStores, settings: Settings
) -> None:
    assert running.data_dir is not None
    number = int(RATE * (OUTAGE_SECONDS + 6))
    logging = Logging(running, number, RATE)
    victims = Victims(running.data_dir)
    time.sleep(3)
    frozen = victims.leader("logs")
    assert frozen
    os.kill(frozen, signal.SIGSTOP)  # it takes what is sent and answers nothing
    time.sleep(OUTAGE_SECONDS)
    waiting = sum(path.stat().st_size for path in running.data_dir.glob("spool/*/*.ndjson"))
    victims.await_restart(victims.kill("logs"))
    assert logging.wait() == 0
    assert logging.logged == number
    take_over(running)
    entries = entries_of(settings, logging)
    events = Counter(each["event"] for each in entries)
    print(f"{number} entries, {waiting / 1e6:.1f} MB waited when the store came back; {dict(events)}")
    assert waiting > RATE * OUTAGE_SECONDS * 100
    assert events["shipping.delayed"]
    assert_whole(entries, number)
    assert lost(settings) == 0


def test_whatever_a_killed_process_had_logged_arrives_once(
    running: EmbeddedStores, settings: Settings
) -> None:
    killed: list[Logging] = []
    for _ in range(KILLS):
        logging = Logging(running, 10**9, 0)
        while logging.logged < 1000:
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.5))
        logging.kill()
        killed.append(logging)
    take_over(running)
    arrived = 0
    for logging in killed:
        entries = entries_of(settings, logging)
        assert_whole(entries, logging.logged)
        arrived += len(entries)
    print(f"{sum(each.logged for each in killed)} entries before {KILLS} kills, {arrived} arrived")
    assert lost(settings) == 0
