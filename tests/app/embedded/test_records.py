import json
import os
import signal
import subprocess
import sys

import pytest

from app.embedded.records import MARK_VARIABLE, Records, marked_processes, start_time


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_start_time_is_steady_and_ends_with_the_process(sleeper):
    first = start_time(sleeper.pid)
    assert first is not None
    assert start_time(sleeper.pid) == first
    sleeper.kill()
    sleeper.wait()
    assert start_time(sleeper.pid) is None


def test_zombie_counts_as_ended(sleeper):
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert start_time(sleeper.pid) is None


def test_recorded_process_of_an_earlier_run_is_ended(folder, sleeper):
    # Given a process that an earlier run recorded
    Records(folder).add("store", sleeper.pid, signal.SIGTERM)
    # When the next run looks for orphans
    ended = Records(folder).end_orphans()
    # Then it is ended by its stop signal and its record is gone
    assert ended == ["store"]
    assert sleeper.wait(5) == -signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_orphan_that_ignores_its_stop_signal_is_killed(folder, monkeypatch):
    monkeypatch.setattr("app.embedded.records.ORPHAN_GRACE_SECONDS", 0.2)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        Records(folder).add("store", process.pid, signal.SIGTERM)
        Records(folder).end_orphans()
        assert process.wait(5) == -signal.SIGKILL


def test_another_process_with_the_recorded_number_is_left_alone(folder, sleeper):
    # Given a record whose process is gone and whose number now belongs to a stranger
    Records(folder).add("store", sleeper.pid, signal.SIGTERM)
    path = folder / "store.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": "another boot 1"}))
    # When orphans are looked for, then the stranger lives on
    assert Records(folder).end_orphans() == []
    assert sleeper.poll() is None


def test_unreadable_record_is_dropped(folder):
    (folder / "store.json").write_text('{"pid": 1')
    assert Records(folder).end_orphans() == []
    assert list(folder.iterdir()) == []


def test_what_an_ended_child_has_started_is_found_by_its_mark(folder):
    # Given a record of a child that is gone, and a process that inherited its mark
    records = Records(folder)
    records.add("web", 2**22 + 1, signal.SIGTERM)
    grandchild = subprocess.Popen(["sleep", "60"], env={**os.environ, MARK_VARIABLE: records.mark})
    assert marked_processes({records.mark}) == [grandchild.pid]
    # When orphans are looked for, then it is ended
    Records(folder).end_orphans()
    assert grandchild.wait(5) == -signal.SIGKILL
