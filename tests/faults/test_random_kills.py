"""Every process and every store of a busy system is killed in turn, at random moments: it ends whole, and once.

By hand, any number of kills: `KILLS=200 SEED=7 pytest -m slow -s tests/faults/test_random_kills.py`
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from app.audit.entries import Outcome
from tests.faults.traffic import Traffic
from tests.faults.victims import KINDS, Victim, Victims
from tests.faults.writes import (
    DocumentsWritten,
    ask,
    assert_audit_is_complete,
    assert_nothing_written_twice,
    read_audit,
    rows_written,
    watch_writes,
)
from tests.stories.conftest import System, running_system

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "20"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(10_000))))
PAUSE_SECONDS = (0.5, 6.0)
CALM_SECONDS = 180.0
ENTITIES = ("customers", "launches", "bookings")
UNDECIDED = """
SELECT entity, key, status, reason, kind FROM diffs WHERE status IN ('open', 'in_review', 'approved', 'unsettled')
"""
# Traffic leaves nothing that only a human could resolve, and a store that is away is no reason to ask one.
TROUBLED = """
SELECT entity, key, status, reason, fields FROM diffs
WHERE status = 'in_review' OR reason LIKE 'it cannot be judged%' OR reason LIKE 'rejected%'
"""


@dataclass
class Figures:
    """What happened; told when it went well, and when it did not."""

    kills: Counter[str] = field(default_factory=Counter)
    traffic: dict[str, int] = field(default_factory=dict)
    trouble: dict[str, int] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    quiet_seconds: float | None = None

    def __str__(self) -> str:
        quiet = "never" if self.quiet_seconds is None else f"{self.quiet_seconds:.1f} s after the traffic"
        return "\n".join(
            [
                f"KILLS={KILLS} SEED={SEED}: {dict(self.kills)}",
                f"simulated: {self.traffic}; found nobody in: {self.trouble}",
                f"changes: {self.changes}; really written: {self.written}; quiet {quiet}",
            ]
        )


@contextmanager
def telling(figures: Figures) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(str(figures))
        raise
    print(f"\n{figures}")


@pytest.mark.timeout(600 + 30 * KILLS)
def test_a_busy_system_whose_processes_and_stores_are_killed_ends_whole_and_wrote_nothing_twice() -> None:
    figures = Figures()
    with telling(figures), running_system() as system:
        # Given two sides that agree, jobs that repair, and traffic of which the system is not always told
        system.cli("seed", "--bookings", "2000", "--drift", "0")
        system.cli("jobs", "repair", "--all", "--reason", "the faults begin")
        pause_invariants(system)
        admin_url = watch_writes(system)
        with DocumentsWritten(system) as documents:
            # When one process after the other is killed
            with Traffic(system, admin_url, SEED) as traffic:
                kill_at_random(Victims(system.data_dir), figures)
            figures.traffic, figures.trouble = dict(traffic.totals), dict(traffic.trouble)
            assert not traffic.crashes, traffic.crashes[0]
            assert traffic.totals["done"] > 0
            # Then both sides agree in the end, and no operator was needed
            calm_down(system, figures)
            assert not ask(system, "core", TROUBLED)
            reconcile_all(system)
            wait_for_nothing_left(system)
            assert not ask(system, "core", UNDECIDED)
            assert [run["kinds"] for run in reconcile_all(system)] == [{}] * len(ENTITIES)
            # And each change is told and was made once
            audited = read_audit(system)
            written = {"relational": rows_written(system), "document": documents.count()}
        figures.changes = {str(each): audited.count(each) for each in Outcome}
        figures.changes["their writer died or was not answered"] = audited.finished_by_others
        figures.written = {side: sum(counted.values()) for side, counted in written.items()}
        assert_audit_is_complete(audited)
        for side, counted in written.items():
            assert audited.changes(side, Outcome.APPLIED), f"nothing was repaired on the {side} side"
            assert_nothing_written_twice(audited, side, counted)


def pause_invariants(system: System) -> None:
    """Between a new price and its repair the simulated Customer API sells at the old one: rightly a breach."""
    for job in system.cli_json("jobs", "list"):
        if job["mode"] == "invariants":
            system.cli("jobs", "pause", job["name"], "--reason", "prices change all the time")


def kill_at_random(victims: Victims, figures: Figures) -> None:
    """Kill, in rounds that spare nobody; the last one of a kind must stand again before the next one falls."""
    chance = random.Random(SEED)
    fallen: dict[str, Victim] = {}
    for number in range(KILLS):
        if number % len(KINDS) == 0:
            kinds = chance.sample(KINDS, len(KINDS))
        time.sleep(chance.uniform(*PAUSE_SECONDS))
        kind = kinds[number % len(KINDS)]
        leader = kind.partition("'s ")[0]
        if leader in fallen:
            victims.await_restart(fallen[leader])
        fallen[leader] = victims.kill(kind)
        figures.kills[kind] += 1
    for victim in fallen.values():
        victims.await_restart(victim)


def calm_down(system: System, figures: Figures) -> None:
    """Wait until everything answers and nothing is left to be looked at."""
    started = time.monotonic()
    wait_until(lambda: is_ready(system))
    wait_for_nothing_left(system)
    figures.quiet_seconds = time.monotonic() - started


def is_ready(system: System) -> Any:
    try:
        answer = system.api.get("/health/ready", auth=None)
    except httpx.TransportError as error:
        return repr(error)
    return None if answer.status_code == httpx.codes.OK else answer.text


def wait_for_nothing_left(system: System) -> None:
    wait_until(lambda: ask(system, "core", "SELECT * FROM suspects LIMIT 3"))
    wait_until(lambda: ask(system, "core", "SELECT position FROM audit_outbox LIMIT 3"))


def wait_until(left: Callable[[], Any]) -> None:
    """Wait until nothing is left; fails with what is."""
    deadline = time.monotonic() + CALM_SECONDS
    while found := left():
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def reconcile_all(system: System) -> list[dict[str, Any]]:
    runs = system.cli_json("reconcile", *ENTITIES)
    assert [run["status"] for run in runs] == ["done"] * len(ENTITIES), runs
    return runs
