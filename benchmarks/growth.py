"""Growth: what a scan takes per record, and its peak memory, at 100,000 and 1,000,000 records a side.

The relational side and the compare are measured alone as well; with ``--records`` nothing else is, up to that size, for
the document store is slow to fill.
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
from benchmarks.bookings import DRIFTED, EQUAL, differing, load, load_rows, say
from benchmarks.figure import Figure
from benchmarks.processes import Measured, in_own_process
from benchmarks.reconcile import full_scan, peak_figure
from config.settings import Settings

_SLOWER_AT_THE_MOST = 1.3


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Microseconds per record and peak memory, at sizes a factor of ten apart."""
    if records is None:
        sizes = (2_000, 20_000) if quick else (100_000, 1_000_000)
        yield from _figures("growth: full scan", {number: _full_scan(settings, number) for number in sizes})
    else:
        sizes = (max(1_000, records // 100), max(1_000, records // 10), records)
    rows = {number: _relational_scan(settings, number) for number in sizes}
    yield from _figures("growth: relational side and compare", rows)


def _full_scan(settings: Settings, number: int) -> Measured:
    load(settings, number)
    return full_scan(settings, DRIFTED, differing(number))


def _relational_scan(settings: Settings, number: int) -> Measured:
    say(f"two tables of {number:,} rows")
    load_rows(settings, number)
    measured = in_own_process(_two_tables, settings, number)
    assert measured.value == differing(number), measured.value
    return measured


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
