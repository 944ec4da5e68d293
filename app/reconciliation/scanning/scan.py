"""One partition of a full run: both sides are read at once, compared in columns, and what differs is nominated.

A scan confirms nothing and changes nothing.
"""

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from app.reconciliation.mapping import Derived, Mapping, Rule, Side
from app.reconciliation.scanning.arrivals import Pace
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.compare import Comparison, Finding, unreadable_keys
from app.reconciliation.scanning.ranges import ROWS_PER_RANGE, estimate_rows, plan_ranges
from app.reconciliation.scanning.reader import Reader, ScanStoppedError
from app.reconciliation.scanning.shelf import Shelf, sweep
from app.reconciliation.scanning.snapshots import KeyRange
from app.reconciliation.scanning.sums import layout_of_total, sum_up
from config.settings import Settings

__all__ = ["Finding", "KeyRange", "ScanResult", "ScanStoppedError", "plan_ranges", "scan", "sweep_folders"]


@dataclass
class ScanResult:
    """What a scan read, and how much it found."""

    document_records: int = 0
    relational_records: int = 0
    findings: int = 0

    def count(self, side: Side, rows: int) -> None:
        """That so many more rows of a side were read."""
        if side is Side.DOCUMENT:
            self.document_records += rows
        else:
            self.relational_records += rows


def scan(
    settings: Settings,
    mapping: Mapping,
    key_range: KeyRange,
    *,
    on_findings: Callable[[list[Finding]], None],
    on_progress: Callable[[int, int], None] = lambda _documents, _relational: None,
    stopped: Callable[[], bool] = lambda: False,
    pace: Pace = lambda: None,
) -> ScanResult:
    """Compare both sides of an entity within a range of keys; blocks, so call it in a worker thread.

    `on_findings` takes the findings as they come, up to a thousand at a time; `on_progress` the numbers of documents
    and of rows read so far. Both are called in this thread. `pace`, called in other threads, tells the most records
    per second that may be read now of each side. Raises ScanStoppedError soon after `stopped` turns true,
    StoreUnavailableError where a store does not answer.
    """
    sweep_folders(settings)
    comparison = Comparison(mapping)
    reader = Reader(settings, stopped, pace)
    sides = {Side.DOCUMENT: comparison.documents, Side.RELATIONAL: comparison.relational}
    result = ScanResult()

    def report(findings: list[Finding]) -> None:
        if findings:
            result.findings += len(findings)
            on_findings(findings)

    with (
        Shelf(_folder(settings), _expected_rows(settings, mapping, key_range)) as shelf,
        closing(reader.read(sides, key_range)) as arrivals,
    ):
        for side, frame in arrivals:
            result.count(side, len(frame))
            on_progress(result.document_records, result.relational_records)
            report(unreadable_keys(frame))
            shelf.add(side, frame.filter(pl.col(KEY).is_not_null()))
        totals = {each.name: _total(reader, each.rule) for each in mapping.derived_fields}
        for documents, relational in shelf.pairs(comparison.empty):
            reader.check()
            for findings in comparison.compare(documents, relational, totals):
                report(findings)
    return result


def _total(reader: Reader, rule: Rule) -> pl.DataFrame:
    assert isinstance(rule, Derived)
    with closing(reader.read_side(Side.DOCUMENT, layout_of_total(rule.less))) as frames:
        return sum_up(rule.less, frames)


def sweep_folders(settings: Settings) -> None:
    """Remove what scans left that were killed: whole records lie there in clear."""
    sweep(_folder(settings))


def _folder(settings: Settings) -> Path:
    """Where to spill: in the data directory, or in the system's temporary one where that cannot be written."""
    folder = settings.data_dir / "scans"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder


def _expected_rows(settings: Settings, mapping: Mapping, key_range: KeyRange) -> int:
    return estimate_rows(settings, mapping) if key_range.is_open else ROWS_PER_RANGE
