"""How a scan ends before its time, keeps to its pace and cleans up; stores that are away, silent or slow."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Side
from app.reconciliation.scanning import reader, snapshots
from app.reconciliation.scanning import scan as scanning
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.scan import ScanStoppedError, scan
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange
from config.settings import parse_settings
from tests.app.reconciliation.scanning.world import SEATS, World


def test_a_scan_stops_when_asked_and_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(600)
    monkeypatch.setattr(scanning, "Shelf", partial(Shelf, memory_bytes=1_000, bucket_bytes=4_000))
    read = threading.Event()
    with pytest.raises(ScanStoppedError):
        scan(
            world.settings,
            SEATS,
            KeyRange(),
            on_findings=lambda _: None,
            on_progress=lambda *_: read.set(),
            stopped=read.is_set,
        )
    assert list((world.settings.data_dir / "scans").iterdir()) == []
    assert _ends(lambda: not [each for each in threading.enumerate() if each.name.startswith("scan ")])


def _ends(done: Any) -> bool:
    for _ in range(100):
        if done():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("name", ["admin_database_url", "customer_database_url"])
def test_a_store_that_is_away_ends_the_scan(world: World, name: str) -> None:
    away = {
        "admin_database_url": "postgresql://x@127.0.0.1:1/x",
        "customer_database_url": "mongodb://127.0.0.1:1/x",
    }
    values = {each: world.settings.url(each) for each in away} | {name: away[name]}
    settings = parse_settings({f"ASTROCORE_{each.upper()}": url for each, url in values.items()}).model_copy(
        update={"store_timeout_seconds": 0.5, "data_dir": world.settings.data_dir}
    )
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        scan(settings, SEATS, KeyRange(), on_findings=lambda _: None)


def test_a_store_that_falls_silent_ends_the_scan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(10)
    over = threading.Event()

    def silent(*_: Any) -> Iterator[pl.DataFrame]:
        over.wait(20)
        yield from ()

    monkeypatch.setattr(reader, "read_relational", silent)
    monkeypatch.setattr(reader, "patience_seconds", lambda _settings: 0.5)
    with pytest.raises(StoreUnavailableError, match="relational"):
        world.scan()
    over.set()


def test_a_store_that_answers_is_waited_for_however_long_its_first_batch_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(10)
    world.settings = world.settings.model_copy(update={"store_timeout_seconds": 0.5})
    read = reader.read_relational

    def slow(*arguments: Any) -> Iterator[pl.DataFrame]:
        time.sleep(2)
        yield from read(*arguments)

    monkeypatch.setattr(reader, "read_relational", slow)
    monkeypatch.setattr(reader, "patience_seconds", lambda _settings: 1.5)
    assert world.scan() == {}


def test_a_scan_keeps_to_its_pace_and_still_stops_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(40)
    monkeypatch.setattr(snapshots, "DOCUMENTS_PER_BATCH", 10)
    counts: list[int] = []
    stopped = threading.Event()
    timer = threading.Timer(1.5, stopped.set)
    timer.start()
    with pytest.raises(ScanStoppedError):
        scan(
            world.settings,
            SEATS,
            KeyRange(),
            on_findings=lambda _: None,
            on_progress=lambda documents, _rows: counts.append(documents),
            stopped=stopped.is_set,
            pace=lambda: 10.0,
        )
    # One batch at once, one after a second; the fourth not before three.
    assert max(counts) < 40
    timer.join()


def test_a_fault_in_reading_is_not_swallowed(world: World) -> None:
    world.sql("DROP TABLE scan_seats", "CREATE TABLE scan_seats (id uuid PRIMARY KEY)")
    with pytest.raises(dbapi.ProgrammingError):
        world.scan()


_KILLED = """
import os
import sys
from pathlib import Path

import polars as pl

from app.reconciliation.mapping import Side
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.shelf import Shelf

shelf = Shelf(Path(sys.argv[1]), 10, memory_bytes=0)
shelf.add(Side.DOCUMENT, pl.DataFrame({KEY: ["a", "b"], "email": ["ada@personal.example"] * 2}))
os.kill(os.getpid(), 9)
"""


def test_what_a_killed_scan_left_is_removed_by_the_next_and_what_lives_stays(world: World) -> None:
    folder = world.settings.data_dir / "scans"
    folder.mkdir(parents=True)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(folder)], check=False)
    assert killed.returncode == -9
    (left,) = folder.iterdir()
    assert list(left.iterdir())
    with Shelf(folder, 10, memory_bytes=0) as living:
        living.add(Side.DOCUMENT, pl.DataFrame({KEY: ["a", "b"]}))
        assert len(list(folder.iterdir())) == 2
        world.scan()
        assert not left.exists()
        assert len(list(folder.iterdir())) == 1
    assert list(folder.iterdir()) == []
