"""Kills of the embedded stores and of their supervisor: nothing acknowledged is lost, nothing is left behind."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import asyncpg
import pytest
import redis
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from app.embedded.launch import EmbeddedStores
from app.embedded.records import start_time

pytestmark = pytest.mark.slow

NAMES = ("postgresql", "secantus", "broker", "audit", "logs")
RECOVERY_SECONDS = 20


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="astrocore-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stores(folder):
    stores = EmbeddedStores(folder)
    stores.start()
    yield stores
    stores.stop()


class PostgresLedger:
    """Writes numbers, one acknowledged commit each, and reads them back."""

    def __init__(self, environment):
        self.url = environment["ASTROCORE_CORE_DATABASE_URL"]

    def write(self, number):
        self._run(
            "CREATE TABLE IF NOT EXISTS ledger (n int)"
            if number == 0
            else f"INSERT INTO ledger VALUES ({number})"
        )

    def read(self):
        return {row["n"] for row in self._run("SELECT n FROM ledger")}

    def _run(self, statement):
        async def run():
            connection = await asyncpg.connect(self.url, timeout=2)
            try:
                return await connection.fetch(statement)
            finally:
                connection.terminate()

        return asyncio.run(run())


class MongoLedger:
    def __init__(self, environment):
        self.url = environment["ASTROCORE_CUSTOMER_DATABASE_URL"]

    def write(self, number):
        with MongoClient(self.url, serverSelectionTimeoutMS=1000, retryWrites=False) as client:
            client.get_default_database().ledger.insert_one({"n": number})

    def read(self):
        with MongoClient(self.url, serverSelectionTimeoutMS=1000) as client:
            return {document["n"] for document in client.get_default_database().ledger.find()}


class RedisLedger:
    def __init__(self, environment, name):
        self.url = environment[f"ASTROCORE_{name.upper()}_URL"]

    def write(self, number):
        with self._client() as client:
            client.rpush("x:audit:ledger", number)  # which the audit store's user may do as well

    def read(self):
        with self._client() as client:
            return {int(number) for number in client.lrange("x:audit:ledger", 0, -1)}

    def _client(self):
        return redis.Redis.from_url(self.url, socket_timeout=1, retry=None)


def _ledger(name, environment):
    if name == "postgresql":
        return PostgresLedger(environment)
    return MongoLedger(environment) if name == "secantus" else RedisLedger(environment, name)


ANSWERS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    PyMongoError,
    redis.RedisError,
)


def _write_until(ledger, stop, acknowledged):
    number = 0
    while not stop.is_set():
        try:
            ledger.write(number)
        except ANSWERS:
            time.sleep(0.05)
            continue
        acknowledged.append(number)
        number += 1


def _record(folder, name):
    return json.loads((folder / "run" / f"{name}.json").read_text())["pid"]


def _wait_until(condition, seconds=RECOVERY_SECONDS):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"not so within {seconds} s")


def _written(ledger):
    try:
        return ledger.read()
    except ANSWERS:
        return None


# The log store syncs each second: what it must not lose stays with its writers (test_logs.py).
@pytest.mark.parametrize("name", [name for name in NAMES if name != "logs"])
def test_killed_store_comes_back_on_its_port_with_all_that_it_acknowledged(stores, folder, name):
    # Given a writer that notes what was acknowledged
    ledger, stop, acknowledged = _ledger(name, stores.environment), threading.Event(), []
    writer = threading.Thread(target=_write_until, args=(ledger, stop, acknowledged), daemon=True)
    writer.start()
    _wait_until(lambda: len(acknowledged) > 30)
    # When the store is killed while it writes
    old = _record(folder, name)
    os.kill(old, signal.SIGKILL)
    noted = len(acknowledged)
    # Then writing goes on at the same URL, and every acknowledged number is there
    _wait_until(lambda: len(acknowledged) > noted + 10)
    stop.set()
    writer.join()
    assert _record(folder, name) != old
    assert set(acknowledged) - {0} <= ledger.read()


def test_killed_supervisor_leaves_no_process_and_the_next_start_has_all_data(stores, folder):
    # Given running stores with data
    for name in NAMES:
        for number in range(5):
            _ledger(name, stores.environment).write(number)
    pids = [_record(folder, name) for name in NAMES]
    # When the supervisor is killed
    os.kill(stores.pid, signal.SIGKILL)
    # Then its children are gone within five seconds
    _wait_until(lambda: not any(map(start_time, pids)), seconds=5)
    # And the next start finds everything
    stores.stop()
    before = stores.environment
    stores.start()
    assert stores.environment == before
    for name in NAMES:
        assert {1, 2, 3, 4} <= _ledger(name, stores.environment).read()


def test_orphan_that_survived_its_supervisor_is_ended_by_the_next_start(folder):
    # Given a stranger, and an orphan with a record of an earlier run
    with (
        subprocess.Popen(["sleep", "600"], start_new_session=True) as orphan,
        subprocess.Popen(["sleep", "600"], start_new_session=True) as stranger,
    ):
        run = folder / "run"
        run.mkdir()
        for name, process, started in (
            ("audit", orphan, start_time(orphan.pid)),
            ("logs", stranger, "earlier 1"),
        ):
            record = {"pid": process.pid, "started": started, "mark": "m", "stop_signal": signal.SIGTERM}
            (run / f"{name}.json").write_text(json.dumps(record))
        # When the stores start
        stores = EmbeddedStores(folder)
        stores.start()
        stores.stop()
        # Then the orphan is gone and the stranger is not
        assert orphan.wait(1) == -signal.SIGTERM
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGHUP], [signal.SIGINT] * 2])
def test_signal_stops_everything_within_ten_seconds(folder, signals):
    # Given a system whose worker does not want to stop
    (folder / "Procfile").write_text(
        "worker: trap '' TERM; sleep 600; sleep 600\nscheduler: exec sleep 600\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "app.embedded", "up", str(folder / "Procfile")],
        env={**os.environ, "ASTROCORE_DATA_DIR": str(folder / "data")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline()
    pids = [_record(folder / "data", name) for name in (*NAMES, "worker", "scheduler")]
    # When it is told to stop
    started = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    process.wait(15)
    # Then it ends in time and nothing is left
    assert time.monotonic() - started < (10 if len(signals) == 1 else 2)
    assert process.returncode == 0
    assert not any(map(start_time, pids))
    process.stdin.close()
    process.stdout.close()


def test_kill_in_the_middle_of_the_first_start_does_no_harm(folder):
    # Given first starts that are killed at several moments
    for moment in (0.6, 0.9, 1.2, 1.6):
        process = subprocess.Popen(
            [sys.executable, "-m", "app.embedded", "stores"],
            env={**os.environ, "ASTROCORE_DATA_DIR": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(moment)
        process.kill()
        process.wait()
        process.stdin.close()
    # When it is started once more, then it runs
    stores = EmbeddedStores(folder)
    stores.start()
    assert _ledger("audit", stores.environment).read() == set()
    stores.stop()
