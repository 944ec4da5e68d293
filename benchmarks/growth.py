"""Growth: what a scan takes per record, and its peak memory, at 100,000 and 1,000,000 records a side.

With ``--records`` also the relational side and the compare alone at that size, as the document store is slow to fill.
"""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from app.reconciliation.mapping import Side
from app.reconciliation.scanning.arrivals import merged
from app.reconciliation.scanning.compare import Comparison
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange, read_relational
from benchmarks.bookings import DRIFTED, EQUAL, differing, loaded, loaded_rows, say
from benchmarks.figure import Figure
from benchmarks.processes import Measured, in_own_process
from benchmarks.reconcile import full_scan, peak_figure
from config.settings import Settings

_SLOWER_AT_THE_MOST = 1.3


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Microseconds per record and peak memory, at sizes a factor of ten apart."""
    small, large = (10_000, 100_000) if quick else (100_000, 1_000_000)
    scans = {}
    for number in (small, large):
        with loaded(settings, number):
            scans[number] = full_scan(settings, DRIFTED, differing(number))
    yield from _figures("growth: full scan", scans)
    rows = {}
    for number in (small, large, *([records] if records else [])):
        say(f"two tables of {number:,} rows")
        with loaded_rows(settings, number):
            rows[number] = in_own_process(_two_tables, settings, number)
            assert rows[number].value == differing(number), rows[number].value
    yield from _figures("growth: relational side and compare", rows)


def _figures(name: str, measured: dict[int, Measured]) -> Iterator[Figure]:
    per_record = {number: each.seconds / number * 1e6 for number, each in measured.items()}
    smallest = min(measured)
    for number, each in measured.items():
        ratio = per_record[number] / per_record[smallest]
        yield Figure(
            f"{name}, {number:,}",
            per_record[number],
            "µs/record",
            limit=per_record[smallest],
            limit_name=f"at {smallest:,}",
            ratio=ratio,
            goal=f"ratio <= {_SLOWER_AT_THE_MOST}",
            ok=ratio <= _SLOWER_AT_THE_MOST,
        )
        yield peak_figure(f"{name}, {number:,}: peak memory", each.peak_megabytes)


def _two_tables(settings: Settings, number: int) -> int:
    """The compare of two tables as the two sides; no document store takes part."""
    comparison = Comparison(EQUAL)
    layouts = {
        Side.DOCUMENT: comparison.relational,
        Side.RELATIONAL: Comparison(DRIFTED).relational,
    }
    sources = {side: partial(read_relational, settings, each, KeyRange()) for side, each in layouts.items()}
    folder = Path(tempfile.mkdtemp(prefix="growth-"))
    try:
        with Shelf(folder, number) as shelf:
            for side, frame in merged(sources):
                shelf.add(side, frame)
            return sum(
                len(findings)
                for left, right in shelf.pairs(comparison.empty)
                for findings in comparison.compare(left, right)
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
