import asyncio
import io
import os
import time

import pytest

from app.embedded.child import Backoff, Child, Command
from app.embedded.errors import NotReadyError
from app.embedded.records import Records, start_time
from app.embedded.supervisor import wait_ready
from app.embedded.terminal import Terminal


def test_backoff_doubles_up_to_its_longest():
    backoff = Backoff(first=1, longest=5, healthy=30)
    assert [backoff.delay(0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_backoff_starts_again_after_a_healthy_life():
    backoff = Backoff(first=1, longest=5, healthy=30)
    backoff.delay(0)
    backoff.delay(0)
    assert backoff.delay(30) == 1
    assert backoff.delay(29) == 2


class Bench:
    def __init__(self, folder):
        self.folder = folder
        self.output = io.StringIO()
        self.records = Records(folder)

    def child(self, script, **options):
        command = Command(
            name="web",
            argv=("/bin/sh", "-c", script),
            environment=dict(os.environ),
            directory=self.folder,
            log=self.folder / "web.log",
            echo=True,
            **options,
        )
        return Child(command, records=self.records, terminal=Terminal(self.output))

    async def until(self, text):
        async with asyncio.timeout(5):
            while text not in self.output.getvalue():  # noqa: ASYNC110  (it is written by another process)
                await asyncio.sleep(0.01)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


async def test_output_is_prefixed_line_by_line_and_kept_in_the_log(bench):
    child = bench.child("printf 'one\\ntwo\\nlast'; exec sleep 60 >/dev/null 2>&1")
    child.start()
    await bench.until("last")
    await child.stop(asyncio.Event())
    assert bench.output.getvalue().splitlines() == ["web       | one", "web       | two", "web       | last"]
    assert (bench.folder / "web.log").read_text() == "one\ntwo\nlast"


async def test_ended_child_is_started_again_and_the_reason_is_told(bench):
    child = bench.child("echo run; exit 7")
    child.start()
    await bench.until("run\nsystem    | web ended with exit code 7; it is started again in 0.5 s")
    await child.stop(asyncio.Event())
    assert child.exits == 2


async def test_stop_ends_the_whole_group_and_its_record(bench):
    # Given a child that starts another process and ignores the stop signal
    child = bench.child("trap '' TERM; sleep 60 & echo $!; wait; sleep 60", grace_seconds=0.2)
    child.start()
    await bench.until("\n")
    grandchild = int(bench.output.getvalue().split()[-1])
    # When it is stopped
    await child.stop(asyncio.Event())
    # Then nothing of it is left
    await asyncio.sleep(0.05)
    assert start_time(grandchild) is None
    assert child.pid is None
    assert list(bench.folder.glob("*.json")) == []


async def test_hurried_stop_does_not_wait_for_the_grace(bench):
    child = bench.child("trap '' TERM; echo up; sleep 60; sleep 60", grace_seconds=60)
    child.start()
    await bench.until("up")
    hurry = asyncio.Event()
    hurry.set()
    started = time.monotonic()
    await child.stop(hurry)
    assert time.monotonic() - started < 2


async def test_child_that_waits_for_its_restart_is_stopped_at_once(bench):
    child = bench.child("exit 1")
    child.start()
    await bench.until("in 0.5 s")
    await child.stop(asyncio.Event())
    exits = child.exits
    await asyncio.sleep(0.6)
    assert child.exits == exits


async def test_program_that_does_not_exist_is_told(bench):
    child = bench.child("exec /does/not/exist")
    child.start()
    await bench.until("exit code 127")
    await child.stop(asyncio.Event())


async def test_child_that_is_never_ready_is_reported_with_its_last_lines(bench):
    async def never():
        return False

    child = bench.child("echo why; exec sleep 60")
    child.start()
    with pytest.raises(NotReadyError, match=r"(?s)not ready within 0.5 s.*why"):
        await wait_ready(child, never, seconds=0.5)
    await child.stop(asyncio.Event())
