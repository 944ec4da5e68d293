"""The processes of one running system, to be killed one at a time: no others are ever touched."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from app.embedded.records import start_time

STORES = ("postgresql", "secantus", "broker", "audit", "logs")
# A process of the supervisor, or the child in which that process does its work.
KINDS = ("worker", "worker's child", "web", "web's child", "scheduler", *STORES)
RESTART_SECONDS = 90.0


@dataclass(frozen=True)
class Victim:
    """A killed process; `leader` is the one that the supervisor starts again."""

    kind: str
    pid: int
    leader: int


@dataclass(frozen=True)
class Victims:
    """Kills processes of the system in that data directory, by what its supervisor has recorded of them."""

    data_dir: Path

    def kill(self, kind: str) -> Victim:
        """Kill one of that kind, once there is one."""
        name, _, child = kind.partition("'s ")
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            leader = self.leader(name)
            pid = leader and (_child_of(leader) if child else leader)
            if leader and pid:
                os.kill(pid, signal.SIGKILL)
                return Victim(kind, pid, leader)
            assert time.monotonic() < deadline, f"no {kind} to be killed within {RESTART_SECONDS:g} s"
            time.sleep(0.05)

    def await_restart(self, victim: Victim) -> None:
        """Wait until another process stands where the victim stood."""
        deadline = time.monotonic() + RESTART_SECONDS
        while self.leader(victim.kind.partition("'s ")[0]) in {None, victim.leader}:
            assert time.monotonic() < deadline, f"{victim.kind} was not started again"
            time.sleep(0.05)

    def leader(self, name: str) -> int | None:
        """The process of that name, while it runs."""
        try:
            record = json.loads((self.data_dir / "run" / f"{name}.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return record["pid"] if start_time(record["pid"]) == record["started"] else None


def _child_of(parent: int) -> int | None:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, found = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(found) == parent and state not in "ZX":
            return int(folder.name)
    return None
