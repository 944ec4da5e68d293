"""One partition of a full run: both sides are read at once, compared in columns, and what differs is nominated.

A scan confirms nothing and changes nothing.
"""

import shutil
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Derived, Mapping, Rule, Side
from app.reconciliation.scanning.arrivals import Pace, Source, merged
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.compare import Comparison, Finding, unreadable_keys
from app.reconciliation.scanning.ranges import ROWS_PER_RANGE, estimate_rows, plan_ranges
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import (
    KeyRange,
    ask,
    patience_seconds,
    read_documents,
    read_relational,
)
from app.reconciliation.scanning.sums import layout_of_total, sum_up
from config.settings import Settings

__all__ = ["Finding", "KeyRange", "ScanResult", "ScanStoppedError", "plan_ranges", "scan"]

_Sources = dict[Side, Source[pl.DataFrame]]
_SECONDS_TO_ABANDONED = 24 * 3600


class ScanStoppedError(Exception):
    """The caller's `stopped` turned true; findings until then have been handed over."""


@dataclass
class ScanResult:
    """What a scan read, and how much it found."""

    document_records: int = 0
    relational_records: int = 0
    findings: int = 0


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
    comparison = Comparison(mapping)
    result = ScanResult()

    def report(findings: list[Finding]) -> None:
        if findings:
            result.findings += len(findings)
            on_findings(findings)

    def arriving(sources: _Sources) -> Generator[tuple[Side, pl.DataFrame]]:
        patience = Patience(settings, stopped)
        with closing(merged(sources, pace=pace, while_waiting=patience.wait)) as arrivals:
            for arrival in arrivals:
                _check(stopped)
                yield arrival

    with (
        Shelf(_folder(settings), _expected_rows(settings, mapping, key_range)) as shelf,
        closing(arriving(_both_sides(settings, comparison, key_range))) as arrivals,
    ):
        for side, frame in arrivals:
            _count(result, side, len(frame))
            on_progress(result.document_records, result.relational_records)
            report(unreadable_keys(frame))
            shelf.add(side, frame.filter(pl.col(KEY).is_not_null()))
        totals = {each.name: _total(settings, each.rule, arriving) for each in mapping.derived_fields}
        for documents, relational in shelf.pairs(comparison.empty):
            _check(stopped)
            for findings in comparison.compare(documents, relational, totals):
                report(findings)
    return result


def _both_sides(settings: Settings, comparison: Comparison, key_range: KeyRange) -> _Sources:
    return {
        Side.DOCUMENT: partial(read_documents, settings, comparison.documents, key_range),
        Side.RELATIONAL: partial(read_relational, settings, comparison.relational, key_range),
    }


def _total(
    settings: Settings,
    rule: Rule,
    arriving: Callable[[_Sources], Generator[tuple[Side, pl.DataFrame]]],
) -> pl.DataFrame:
    assert isinstance(rule, Derived)
    source = partial(read_documents, settings, layout_of_total(rule.less), KeyRange())
    with closing(arriving({Side.DOCUMENT: source})) as arrivals:
        return sum_up(rule.less, (frame for _side, frame in arrivals))


def _count(result: ScanResult, side: Side, rows: int) -> None:
    if side is Side.DOCUMENT:
        result.document_records += rows
    else:
        result.relational_records += rows


def _check(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise ScanStoppedError


class Patience:
    """What to do while nothing arrives: a store that is silent is asked, on another connection, whether it answers.

    A query of everything may need long before its first batch, so silence alone proves nothing; drivers tell of
    broken connections, but a store that is frozen they would await for ever.
    """

    def __init__(self, settings: Settings, stopped: Callable[[], bool]) -> None:
        self._settings = settings
        self._stopped = stopped
        self._asked: dict[Side, float] = {}
        self._answered: dict[Side, float] = {}

    def wait(self, reading: set[Side], silent_seconds: float) -> None:
        """Raises ScanStoppedError, or StoreUnavailableError where a side neither sends nor answers for too long."""
        _check(self._stopped)
        instant, seconds = time.monotonic(), self._settings.store_timeout_seconds
        for side in sorted(reading):
            alive = max(instant - silent_seconds, self._answered.get(side, 0.0))
            if instant - alive > patience_seconds(self._settings):
                raise StoreUnavailableError(f"no answer from the {side} side")
            if instant - max(alive, self._asked.get(side, 0.0)) > seconds:
                self._asked[side] = instant
                threading.Thread(target=self._ask, args=(side,), name=f"ask {side}", daemon=True).start()

    def _ask(self, side: Side) -> None:
        with suppress(StoreUnavailableError):
            ask(self._settings, side)
            self._answered[side] = time.monotonic()


def _folder(settings: Settings) -> Path | None:
    """Where to spill: in the data directory, or in the system's temporary one where that cannot be written."""
    folder = settings.data_dir / "scans"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    for left in folder.glob("scan-*"):
        # A scan that was killed could not clean up; a running one touches its folder all the time.
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _SECONDS_TO_ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
    return folder


def _expected_rows(settings: Settings, mapping: Mapping, key_range: KeyRange) -> int:
    return estimate_rows(settings, mapping) if key_range.is_open else ROWS_PER_RANGE
