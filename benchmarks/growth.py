"""Growth: what a full run takes for each further record, and its peak memory, up to 1,000,000 records a side.

The seconds between two sizes are divided by the records between them, so that what does not depend on the size counts
nowhere. The relational side and the compare are measured alone as well; with ``--records`` nothing else is, up to that
size, for the document store is slow to fill.
"""

import asyncio
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from app.reconciliation.mapping import Side
from app.reconciliation.scanning.arrivals import merged
from app.reconciliation.scanning.compare import Comparison
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange, read_relational
from app.stores.migrate import migrate
from benchmarks.bookings import DRIFTED, EQUAL, differing, load, load_rows
from benchmarks.figure import Figure, say
from benchmarks.full_run import full_run, peak_figure
from benchmarks.processes import Measured, in_own_process
from config.settings import Settings

_SLOWER_AT_THE_MOST = 1.3
_ROUNDS = 3


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Microseconds per further record, and peak memory."""
    asyncio.run(migrate(settings))
    if records is None:
        sizes = (5_000, 20_000, 50_000) if quick else (100_000, 300_000, 1_000_000)
        yield from _figures("growth: full run", {number: _full_run(settings, number) for number in sizes})
        sizes = (50_000, 200_000, 500_000) if quick else sizes
    else:
        sizes = (max(1_000, records // 100), max(1_000, records // 10), records)
    rows = {number: _relational_scan(settings, number) for number in sizes}
    yield from _figures("growth: relational side and compare", rows)


def _full_run(settings: Settings, number: int) -> Measured:
    load(settings, number)
    return _median(lambda: full_run(settings, DRIFTED, differing(number)))


def _relational_scan(settings: Settings, number: int) -> Measured:
    say(f"two tables of {number:,} rows")
    load_rows(settings, number)
    measured = _median(lambda: in_own_process(_two_tables, settings, number))
    assert measured.value == differing(number), measured.value
    return measured


def _median(measure: Callable[[], Measured]) -> Measured:
    rounds = [measure() for _ in range(_ROUNDS)]
    return replace(
        rounds[-1],
        seconds=statistics.median(each.seconds for each in rounds),
        peak_megabytes=max(each.peak_megabytes for each in rounds),
    )


def _figures(name: str, measured: dict[int, Measured]) -> Iterator[Figure]:
    sizes = sorted(measured)
    paces = {
        (less, more): (measured[more].seconds - measured[less].seconds) / (more - less) * 1e6
        for less, more in pairwise(sizes)
    }
    (base, pace), *larger = paces.items()
    yield Figure(f"{name}, {_between(base)}", pace, "µs/record")
    for borders, slower in larger:
        ratio = slower / pace
        yield Figure(
            f"{name}, {_between(borders)}",
            slower,
            "µs/record",
            limit=pace,
            limit_name=_between(base),
            ratio=ratio,
            goal=f"ratio <= {_SLOWER_AT_THE_MOST}",
            # Noise may be more than what few records take: a pace below nothing says nothing.
            ok=0 < ratio <= _SLOWER_AT_THE_MOST,
        )
    for number in sizes:
        yield peak_figure(f"{name}, {number:,}: peak memory", measured[number].peak_megabytes)


def _between(borders: tuple[int, int]) -> str:
    return f"{borders[0]:,} to {borders[1]:,}"


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
