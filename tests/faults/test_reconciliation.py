"""Workers are killed in the middle of runs: each run ends, exactly the drift is repaired, once."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded.launch import EmbeddedStores
from tests.stories.conftest import System, running_system, wait_for

pytestmark = pytest.mark.slow

# Records per second at which each is read for some seconds, where there are 20,000 bookings: for the launches they are
# read as well.
PACES = {"customers": 1000, "launches": 4000, "bookings": 4000}
RUNS = "/v1/reconciliation/runs"
# Until the sweep, every minute, finds what nobody works on; and for the rest of the run, on a busy machine.
SWEPT_SECONDS, REST_SECONDS = 60, 15


@pytest.fixture
def system() -> Iterator[System]:
    with running_system() as running:
        yield running


def worker_processes(data_dir: Path) -> list[int]:
    """Every process of the system's worker: Dramatiq's own and its children."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if b"actors.worker" in command and os.fsencode(data_dir) in environment:
            found.append(int(folder.name))
    return found


def kill_workers(data_dir: Path) -> int:
    killed = worker_processes(data_dir)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return len(killed)


def kill_in_the_middle(system: System, **order: object) -> str:
    """Start a run, and kill the workers once it has read some documents of many; answers its id."""
    run_id: str = system.api.post(RUNS, json=order).json()["id"]
    wait_for(
        lambda: look_at(system, run_id),
        lambda run: run["status"] == "comparing" and run["document_records"] > 0,
    )
    assert kill_workers(system.data_dir)
    killed = look_at(system, run_id)
    assert killed["status"] == "comparing", killed
    return run_id


def look_at(system: System, run_id: str) -> dict[str, Any]:
    return system.api.get(f"{RUNS}/{run_id}").json()


def attempts_of(system: System, run_id: str) -> int:
    """How often the partition that was begun most often was begun."""
    return max(part["attempts"] for part in system.api.get(f"{RUNS}/{run_id}/partitions").json()["items"])


def seconds_until(system: System, run_id: str, *statuses: str, patience: float) -> float:
    started = time.monotonic()
    while (run := look_at(system, run_id))["status"] not in statuses:
        assert time.monotonic() - started < patience, run
        time.sleep(0.1)
    return time.monotonic() - started


@pytest.mark.timeout(900)
def test_a_run_survives_workers_that_are_killed_in_its_middle(system: System) -> None:
    system.cli("seed", "--bookings", "20000", "--drift", "0.01")
    system.cli("jobs", "repair", "--all", "--reason", "the faults begin")
    # The ticks of the minute would otherwise find work of their own.
    system.cli("jobs", "pause", "--all", "--reason", "only the runs of this test")
    for entity, pace in PACES.items():
        run_id = kill_in_the_middle(system, entity=entity, records_per_second=pace)
        seconds_until(system, run_id, "repairing", "done", patience=240)
        at = look_at(system, run_id)["status"]
        kill_workers(system.data_dir)
        seconds = seconds_until(system, run_id, "done", patience=240)
        print(f"{entity}: killed while comparing, killed again when {at}, done {seconds:.0f} s later")
        assert attempts_of(system, run_id) > 1

    score = system.cli_json("seed", "--check")
    assert not score["faults"], score
    assert_every_change_has_one_outcome(system)


def assert_every_change_has_one_outcome(system: System) -> None:
    changes, cursor = [], None
    while True:
        parameters = {"limit": 1000} | ({"cursor": cursor} if cursor else {})
        page = system.api.get("/v1/reconciliation/changes", params=parameters).json()
        changes += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert changes
    assert len({change["id"] for change in changes}) == len(changes)
    assert all(change["outcome"] for change in changes), "an intent without an outcome"
    applied = [
        (change["entity"], change["key"], change["side"])
        for change in changes
        if change["outcome"] == "applied"
    ]
    assert len(set(applied)) == len(applied), "a record was written twice on one side"


@pytest.mark.timeout(300)
def test_messages_of_a_killed_worker_are_worked_off_by_the_next_sweep(system: System) -> None:
    """The partition's message dies with its worker: another takes it over, or the sweep finds the run."""
    system.cli("seed", "--bookings", "2000", "--drift", "0.01")
    waits = []
    for _ in range(3):
        run_id = kill_in_the_middle(system, entity="bookings", dry_run=True, records_per_second=1000)
        waits.append(seconds_until(system, run_id, "done", patience=SWEPT_SECONDS + REST_SECONDS))
        assert attempts_of(system, run_id) > 1
    print(f"worked off after {', '.join(f'{wait:.1f} s' for wait in waits)}")


@pytest.fixture
def whole() -> Iterator[EmbeddedStores]:
    """A system that can be killed as a whole, and started again on what it left."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # the user that PostgreSQL runs as under root has to pass through
        stores = EmbeddedStores(Path(folder), what="up")
        yield stores
        stores.stop()


def kill_everything(whole: EmbeddedStores) -> None:
    """Kill the supervisor, which takes every process and store with it."""
    assert whole.pid is not None
    assert whole.data_dir is not None
    os.kill(whole.pid, signal.SIGKILL)
    whole.stop()
    deadline = time.monotonic() + 10
    while worker_processes(whole.data_dir):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.timeout(600)
def test_runs_go_on_after_every_process_and_store_was_killed_and_a_paused_one_rests_on(
    whole: EmbeddedStores,
) -> None:
    def status(run: str) -> str:
        return look_at(system, run)["status"]

    def start(**order: object) -> str:
        return system.api.post(RUNS, json=order).json()["id"]

    with running_system(whole) as system:
        system.cli("seed", "--bookings", "4000", "--drift", "0.02")
        system.cli("jobs", "repair", "--all", "--reason", "the faults begin")
        system.cli("jobs", "pause", "--all", "--reason", "only the runs of this test")
        resting = start(entity="customers")
        system.api.post(f"{RUNS}/{resting}/pause", json={"reason": "the night"})
        # A worker compares one at a time.
        repairing = start(entity="launches")
        wait_for(lambda: status(repairing), lambda found: found in {"repairing", "done"})
        comparing = start(entity="bookings", records_per_second=400)
        wait_for(lambda: look_at(system, comparing), lambda run: run["document_records"] > 0)
        killed_at = {run: status(run) for run in (resting, repairing, comparing)}
        kill_everything(whole)
    print(f"killed while {killed_at}")
    assert killed_at[comparing] == "comparing"

    with running_system(whole) as system:
        started = time.monotonic()
        while unfinished := [run for run in (repairing, comparing) if status(run) != "done"]:
            assert time.monotonic() - started < 150, look_at(system, unfinished[0])
            time.sleep(0.2)
        print(f"done {time.monotonic() - started:.0f} s after the restart")
        assert attempts_of(system, comparing) > 1
        assert system.api.get(f"{RUNS}/{resting}").json()["paused_at"]
        assert status(resting) == killed_at[resting]

        system.api.post(f"{RUNS}/{resting}/resume", json={"reason": "the morning"})
        wait_for(lambda: status(resting), lambda found: found == "done")
        assert not system.cli_json("seed", "--check")["faults"]
        assert_every_change_has_one_outcome(system)
