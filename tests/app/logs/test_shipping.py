"""From the process to the store, with a real server and real threads."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from redis import Redis

from app.logs import shipping as module
from app.logs.layout import APPEND
from app.logs.shipping import Shipper
from config.log_entries import LogEntry
from config.settings import Settings
from tests.app.logs.entries import entries, entry

ROOT = Path(__file__).parents[3]


@pytest.fixture
def chosen(settings_of_test: Settings, tmp_path: Path) -> Settings:
    return Settings(**settings_of_test.model_dump() | {"data_dir": tmp_path})


@pytest.fixture
def redis(chosen: Settings) -> Any:
    with Redis.from_url(chosen.url("logs_url"), decode_responses=True) as opened:
        yield opened


@contextmanager
def shipping(settings: Settings) -> Iterator[Callable[[LogEntry], None]]:
    shipper = Shipper(settings)
    shipper.start()
    try:
        yield shipper.ship
    finally:
        shipper.stop()


def stored(redis: Redis, settings: Settings) -> list[str]:
    return [fields["entry"] for _id, fields in redis.xrange(f"{settings.namespace}:logs:entries")]


def wait_for(good: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_logged_is_in_the_store_after_a_clean_stop_and_nowhere_else(
    chosen: Settings, redis: Redis, synced_at_once: None
) -> None:
    with shipping(chosen) as ship:
        for each in entries(1200):
            ship(each)
    assert [f'"sequence":{at},' in line for at, line in enumerate(stored(redis, chosen), 1)] == [True] * 1200
    assert list((chosen.data_dir / "spool").iterdir()) == []


@pytest.fixture
def synced_at_once(redis: Redis) -> Iterator[None]:
    """A store that need not be waited for: it writes to its disk before it answers."""
    redis.config_set("appendfsync", "always")
    yield
    redis.config_set("appendfsync", "everysec")


def test_an_entry_arrives_while_the_process_lives(chosen: Settings, redis: Redis) -> None:
    with shipping(chosen) as ship:
        ship(entry(1))
        wait_for(lambda: len(stored(redis, chosen)) == 1)
        ship(entry(2, level="ERROR"))
        wait_for(lambda: len(stored(redis, chosen)) == 2)


def test_an_error_is_sent_at_once(chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 3600.0)
    shipper = Shipper(chosen)
    shipper.start()
    time.sleep(0.2)  # it has looked, and found nothing
    shipper.ship(entry(1))
    time.sleep(0.2)
    assert stored(redis, chosen) == []
    shipper.ship(entry(2, level="ERROR"))
    wait_for(lambda: len(stored(redis, chosen)) == 2)
    shipper.stop()


def test_what_a_killed_process_had_logged_is_shipped_by_the_next_one_and_taken_once(
    chosen: Settings, redis: Redis
) -> None:
    die_after_logging(chosen, 1200, url="redis://127.0.0.1:1/0")
    (folder,) = (chosen.data_dir / "spool").iterdir()
    assert folder.name == entry().process
    first = [module.msgspec.json.encode(each) for each in entries(700)]
    redis.eval(APPEND, 1, f"{chosen.namespace}:logs", b"\n".join(first))  # what had arrived before the kill
    with shipping(chosen) as ship:
        ship(entry(1, process="next:1:00000000"))
        wait_for(lambda: len(stored(redis, chosen)) == 1201)
    lines = [line for line in stored(redis, chosen) if '"next' not in line]
    assert [f'"sequence":{at},' in line for at, line in enumerate(lines, 1)] == [True] * 1200
    assert list((chosen.data_dir / "spool").iterdir()) == []


def die_after_logging(chosen: Settings, number: int, *, url: str) -> None:
    """Have a process ship to that store, and kill itself after so many entries."""
    script = f"""
import os, signal
from pathlib import Path
from app.logs.shipping import Shipper
from config.settings import Settings
from tests.app.logs.entries import entries
shipper = Shipper(Settings(data_dir=Path({str(chosen.data_dir)!r}), logs_url={url!r}))
shipper.start()
for each in entries({number}):
    shipper.ship(each)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_after_a_fault_it_begins_again_and_repeats_nothing(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shipping(chosen) as ship:
        for each in entries(2000):
            ship(each)
            if each.sequence % 200 == 0:
                # As a store that is restarted would do: the answer to what was sent may be lost.
                redis.client_kill_filter(_type="normal", skipme=True)
                time.sleep(0.05)
        wait_for(lambda: len(stored(redis, chosen)) == 2000)
    found = stored(redis, chosen)
    assert [f'"sequence":{at},' in line for at, line in enumerate(found, 1)] == [True] * 2000
    assert redis.hget(f"{chosen.namespace}:logs:counters", "lost") is None


def test_segments_are_deleted_while_the_process_lives(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.logs.spool.SEGMENT_BYTES", 10_000)
    with shipping(chosen) as ship:
        for each in entries(1000):
            ship(each)
        wait_for(lambda: len(stored(redis, chosen)) == 1000)
        wait_for(lambda: len(list((chosen.data_dir / "spool").glob("*/*.ndjson"))) == 1)


def test_nothing_is_deleted_before_the_store_has_it_on_its_disk(chosen: Settings, redis: Redis) -> None:
    redis.config_set("appendfsync", "no")
    try:
        with shipping(chosen) as ship:
            ship(entry(1))
            wait_for(lambda: len(stored(redis, chosen)) == 1)
        assert len(list((chosen.data_dir / "spool").glob("*/*.ndjson"))) == 1
    finally:
        redis.config_set("appendfsync", "everysec")


def test_a_disk_that_refuses_keeps_nothing_from_a_store_that_answers(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shipping(chosen) as ship:
        for each in entries(20):
            ship(each)
        with monkeypatch.context() as patched:
            patched.setattr("app.logs.spool.os.write", refuse)
            for at in range(21, 1001):
                ship(entry(at))
            wait_for(lambda: len(stored(redis, chosen)) == 1000)
        ship(entry(1001))
    assert [f'"sequence":{at},' in line for at, line in enumerate(stored(redis, chosen), 1)] == [True] * 1001
    assert redis.hget(f"{chosen.namespace}:logs:counters", "lost") is None


def refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space left")


def test_a_process_without_any_disk_ships_too(chosen: Settings, redis: Redis) -> None:
    (chosen.data_dir / "spool").write_text("a file")
    with shipping(chosen) as ship:
        for each in entries(100):
            ship(each)
    assert len(stored(redis, chosen)) == 100


@pytest.mark.slow
def test_what_memory_alone_holds_waits_for_what_is_on_the_disk(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.logs.spool.BLOCK_BYTES", 1000)  # many turns
    shipper = Shipper(chosen)
    for each in entries(200):
        shipper.ship(each)
    monkeypatch.setattr("app.logs.spool.os.write", refuse)
    for at in range(201, 401):
        shipper.ship(entry(at))
    shipper.start()
    wait_for(lambda: len(stored(redis, chosen)) == 400)
    shipper.stop()
    assert redis.hget(f"{chosen.namespace}:logs:counters", "lost") is None


def test_what_neither_disk_nor_store_took_when_a_process_ends_is_counted(
    chosen: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    handler = logger.add(lambda message: told.append(message.record["extra"]["dropped"]), level="ERROR")
    monkeypatch.setattr("app.logs.spool.os.write", refuse)
    shipper = Shipper(Settings(**chosen.model_dump() | {"logs_url": "redis://127.0.0.1:1/0"}))
    for each in entries(7):
        shipper.ship(each)
    shipper.stop()
    logger.remove(handler)
    assert told == [7]


@pytest.mark.parametrize("ending", ["raise RuntimeError('the end')", "logger.critical('process.failed')"])
def test_by_what_a_process_ends_is_shipped_before_it_has_ended(
    chosen: Settings, redis: Redis, ending: str
) -> None:
    script = f"""
from loguru import logger
from app.logs.shipping import shipping
from config.settings import settings
with shipping("worker", settings()):
    logger.info("process.started")
{ending}
"""
    run(chosen, script)
    assert ['"event":"process.started"' in line for line in stored(redis, chosen)] == [True, False]
    assert '"level":"CRITICAL","event":"process.failed"' in stored(redis, chosen)[-1]


def test_so_is_it_in_a_process_that_was_forked(chosen: Settings, redis: Redis) -> None:
    script = """
from multiprocessing import get_context
from loguru import logger
from app.logs.shipping import start_shipping
from config.settings import settings
def work():
    start_shipping("worker", settings()).stop()
    logger.critical("process.failed")
process = get_context("fork").Process(target=work)
process.start()
process.join()
"""
    run(chosen, script)
    assert ['"event":"process.failed"' in line for line in stored(redis, chosen)] == [True]


def run(chosen: Settings, script: str) -> None:
    environment = {
        **os.environ,
        "ASTROCORE_DATA_DIR": str(chosen.data_dir),
        "ASTROCORE_LOGS_URL": chosen.url("logs_url"),
        "ASTROCORE_NAMESPACE": chosen.namespace,
    }
    subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=False
    )


@pytest.mark.parametrize("settled", [True, False])
def test_only_a_store_that_cannot_be_asked_is_taken_to_have_entries_on_its_disk(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch, *, settled: bool
) -> None:
    told: list[str] = []
    handler = logger.add(lambda message: told.append(message.record["message"]), level="WARNING")
    url = chosen.url("logs_url")
    if settled:
        # What a server says that is older than the command.
        monkeypatch.setattr(Redis, "waitaof", lambda self, *_: self.execute_command("WAITAOF.LATER"))
    else:
        commands = ["+@all", "-waitaof"]
        redis.acl_setuser("hasty", enabled=True, nopass=True, keys=["*"], commands=commands, reset=True)
        url = url.replace("redis://", "redis://hasty:any@")
    monkeypatch.setattr("app.logs.spool.SEGMENT_BYTES", 10_000)
    with shipping(Settings(**chosen.model_dump() | {"logs_url": url})) as ship:
        for each in entries(1000):
            ship(each)
        wait_for(lambda: len(stored(redis, chosen)) == 1000)
    logger.remove(handler)
    redis.acl_deluser("hasty")
    left = len(list((chosen.data_dir / "spool").glob("*/*.ndjson")))
    assert (left == 0) is settled
    assert told == ([] if settled else ["segments.kept"])


def test_drops_are_told_in_the_log_and_the_gap_is_found_by_the_store(
    chosen: Settings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipper = Shipper(chosen)
    shipper.start()
    told: list[int] = []
    handler = logger.add(lambda message: told.append(message.record["extra"]["dropped"]), level="ERROR")
    shipper.ship(entry(1))
    with monkeypatch.context() as patched:
        patched.setattr("app.logs.spool.Spool._append", lambda *_: False)
        patched.setattr("app.logs.spool.HELD_BYTES", 0)
        shipper.ship(entry(2))
        shipper.ship(entry(3))
    shipper.ship(entry(4))
    wait_for(lambda: told)
    shipper.stop()
    logger.remove(handler)
    assert told == [2]
    assert len(stored(redis, chosen)) == 2
    assert redis.hget(f"{chosen.namespace}:logs:counters", "lost") == "2"
