"""Which processes are ours: a record per child, so that the next run can end what a killed one left behind."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from app.embedded.directory import write_private

# Every child carries this variable with a value that no other run has; it is inherited by its own children.
MARK_VARIABLE = "ASTRO_SUPERVISOR"
ORPHAN_GRACE_SECONDS = 3.0


@dataclass(frozen=True)
class Record:
    """A child process. `started` tells it from a later process that was given the same number."""

    pid: int
    started: str
    mark: str
    stop_signal: int


class Records:
    """The records of one data directory; `mark` is the one of this run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = secrets.token_hex(16)

    def add(self, name: str, pid: int, stop_signal: int) -> None:
        record = Record(pid, start_time(pid) or "", self.mark, stop_signal)
        write_private(self._path(name), json.dumps(asdict(record)))

    def remove(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def end_orphans(self) -> list[str]:
        """End what earlier runs left running, by its own stop signal, then by force; answer the names."""
        found = {path.stem: _read(path) for path in sorted(self.folder.glob("*.json"))}
        records = {name: record for name, record in found.items() if record is not None}
        orphans = {name: record for name, record in records.items() if is_running(record)}
        for record in orphans.values():
            _send(record.pid, record.stop_signal)
        _wait_for_end(list(orphans.values()))
        for record in orphans.values():
            if is_running(record):
                end_group(record.pid)
        for pid in marked_processes({record.mark for record in records.values()}):
            _send(pid, signal.SIGKILL)
        for name in found:
            self.remove(name)
        return list(orphans)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def is_running(record: Record) -> bool:
    """Whether exactly the recorded process still runs; another one with its number does not count."""
    return record.started != "" and start_time(record.pid) == record.started


def start_time(pid: int) -> str | None:
    """When a process started, as exactly as the system tells; None where it does not run any more."""
    if not sys.platform.startswith("linux"):
        return _start_time_by_ps(pid)
    try:
        # The command's name stands in brackets and may hold any character; the state and the start follow it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, ticks = fields[0], fields[19]
    return None if state in "ZX" else f"{boot} {ticks}"


def _start_time_by_ps(pid: int) -> str | None:
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def marked_processes(marks: set[str]) -> list[int]:
    """The processes, other than this one, that carry one of the marks. Empty where there is no /proc."""
    wanted = {f"{MARK_VARIABLE}={mark}".encode() for mark in marks}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted.intersection((folder / "environ").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return [pid for pid in found if pid != os.getpid()]


def end_group(leader: int) -> None:
    """Kill what is left of a child's process group.

    Right after the leader's end its number cannot have been given away while a member lives; when none does,
    there is nothing to kill.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def _wait_for_end(records: list[Record]) -> None:
    deadline = time.monotonic() + ORPHAN_GRACE_SECONDS
    while any(map(is_running, records)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _read(path: Path) -> Record | None:
    try:
        return Record(**json.loads(path.read_text()))
    except (ValueError, TypeError):
        return None
