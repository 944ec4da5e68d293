"""Every benchmark runs, with tiny numbers, on stores of its own, and prints its figures. Their values mean nothing here."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import NAMES
from benchmarks.figure import Figure, compare

ROOT = Path(__file__).parents[2]
# Enough that one record in a thousand differs.
RECORDS = 2_000
SIZES = {
    "audit": 20_000,
    "repairs": 40,
    "events": 20,
    "seed": 500,
    "growth": None,
    "logins": 10,
    "notifications": 40,
}


def test_the_ratio_of_a_figure_is_the_median_over_its_pairs() -> None:
    figure = compare(
        "name",
        "s",
        [(1.0, 1.0), (30.0, 10.0), (4.0, 2.0)],
        limit_name="bare",
        goal="ratio <= 1.5",
        reached=lambda ratio: ratio <= 1.5,
    )
    assert (figure.ratio, figure.spread, figure.ok) == (2.0, (1.0, 3.0), False)
    assert "goal ratio <= 1.5: MISSED" in figure.as_text()


def test_large_values_are_shown_in_full() -> None:
    assert "1,234,568 records/s" in Figure("name", 1_234_567.8, "records/s").as_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_runs_to_its_end(name: str) -> None:
    figures = figures_of(name, SIZES.get(name, RECORDS))
    assert figures
    assert all(figure["name"].startswith(name) for figure in figures)
    for figure in figures:
        assert math.isfinite(figure["value"]), figure
        assert figure["value"] >= 0, figure


def figures_of(name: str, records: int | None) -> list[dict[str, Any]]:
    argv = [sys.executable, "-m", "benchmarks", name, "--quick", "--json"]
    argv += ["--records", str(records)] if records else []
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=570, check=False)
    # 1 only says that a goal was missed, which at this size says nothing; a traceback would be on stderr.
    assert "Traceback" not in run.stderr, run.stderr
    assert run.returncode in {0, 1}, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]
