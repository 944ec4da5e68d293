"""`astrocore simulate` without a pause, beside a system whose processes and stores come and go."""

import os
import re
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from tests.stories.conftest import System

RATE = 25
PERIOD_SECONDS = 20
LONGEST_SECONDS = 240
COULD_NOT = 1  # the exit code; one that was asked wrongly answers 2
COUNTED = re.compile(
    r"^ *(done|changes told|forgotten|not told in spite of trying|refused by a store|found nothing to do) +([\d,]+)",
    re.MULTILINE,
)


@dataclass
class Traffic:
    """Within it the two other services are at work; started again whenever they have ended or found nobody in.

    They log in to the admin DB by `admin_url`, so that their writes can be told from those of the system.
    """

    system: System
    admin_url: str
    seed: int
    totals: Counter[str] = field(default_factory=Counter)
    trouble: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="traffic")
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            self._one_period(self.seed * 1000 + number)
            self._over.wait(0.3)

    def _one_period(self, seed: int) -> None:
        words = ["simulate", "--rate", RATE, "--duration", PERIOD_SECONDS, "--miss-rate", 0.2]
        words += ["--random-seed", seed]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "app.cli.main", *map(str, words)],
                env=self._environment(),
                capture_output=True,
                text=True,
                timeout=LONGEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            self.crashes.append(f"`astrocore simulate` did not end within {LONGEST_SECONDS} s")
            return
        if done.returncode == 0:
            self._count(done.stdout)
        else:
            self._note_failure(done.returncode, done.stderr)

    def _note_failure(self, code: int, told: str) -> None:
        """A store or the system was away when it began, which it says; anything else is a fault of its own."""
        reason = next((line for line in told.splitlines() if line.startswith("astrocore: ")), "")
        if code == COULD_NOT and reason and "unexpected" not in reason:
            self.trouble[reason] += 1
        else:
            self.crashes.append(told[-3000:])

    def _environment(self) -> dict[str, str]:
        foreign = {name: value for name, value in os.environ.items() if not name.startswith("ASTROCORE_")}
        return foreign | {
            "ASTROCORE_DATA_DIR": str(self.system.data_dir),
            "ASTROCORE_ADMIN_DATABASE_URL": self.admin_url,
        }

    def _count(self, told: str) -> None:
        counted = {name: int(number.replace(",", "")) for name, number in COUNTED.findall(told)}
        assert "done" in counted, told
        self.totals.update(counted)
