import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")

PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "from config.processes import die_with_parent as d; d(); print('on', flush=True); input()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
input()
"""


def test_child_dies_with_a_parent_that_is_killed():
    # Given a parent with a child of its own session that asked to die with it
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = int(parent.stdout.readline())
        # When the parent is killed
        parent.kill()
    # Then the child ends
    deadline = time.monotonic() + 5
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_child_whose_parent_is_already_gone_ends_itself():
    script = (
        f"from config.processes import die_with_parent as d; d({os.getpid() + 10_000_000}); print('alive')"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert answer.returncode == -signal.SIGKILL
    assert answer.stdout == b""


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
