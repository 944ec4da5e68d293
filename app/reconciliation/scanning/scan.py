"""One partition of a full run: both sides are read at once, compared in columns, and what differs is nominated.

A scan confirms nothing and changes nothing.
"""

import queue
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
from app.reconciliation.mapping import Derived, Mapping, Side
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.compare import Comparison, Finding, unreadable_keys
from app.reconciliation.scanning.ranges import ROWS_PER_RANGE, estimate_rows, plan_ranges
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange, patience_seconds, read_documents, read_relational
from app.reconciliation.scanning.sums import layout_of_total, sum_up
from config.settings import Settings

__all__ = ["Finding", "KeyRange", "ScanResult", "ScanStoppedError", "plan_ranges", "scan"]

_Source = Callable[[], Generator[pl.DataFrame]]
_Arrival = tuple[Side, pl.DataFrame | BaseException | None]
_Arrivals = queue.Queue[_Arrival]
# Batches that wait to be taken, for each source.
_AHEAD = 2
_POLL_SECONDS = 0.2
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
) -> ScanResult:
    """Compare both sides of an entity within a range of keys; blocks, so call it in a worker thread.

    `on_findings` takes the findings as they come, up to a thousand at a time; `on_progress` the numbers of documents
    and of rows read so far. Both are called in this thread. Raises ScanStoppedError soon after `stopped` turns true,
    StoreUnavailableError where a store does not answer.
    """
    comparison = Comparison(mapping)
    result = ScanResult()

    def report(findings: list[Finding]) -> None:
        if findings:
            result.findings += len(findings)
            on_findings(findings)

    with (
        Shelf(_folder(settings), _expected_rows(settings, mapping, key_range)) as shelf,
        closing(_both_sides(settings, comparison, key_range, stopped)) as arrivals,
    ):
        for side, frame in arrivals:
            _count(result, side, len(frame))
            on_progress(result.document_records, result.relational_records)
            report(unreadable_keys(frame))
            shelf.add(side, frame.filter(pl.col(KEY).is_not_null()))
        totals = _totals(settings, mapping, stopped)
        for documents, relational in shelf.pairs(comparison.empty):
            _check(stopped)
            for findings in comparison.compare(documents, relational, totals):
                report(findings)
    return result


def _both_sides(
    settings: Settings, comparison: Comparison, key_range: KeyRange, stopped: Callable[[], bool]
) -> Generator[tuple[Side, pl.DataFrame]]:
    sources: dict[Side, _Source] = {
        Side.DOCUMENT: partial(read_documents, settings, comparison.documents, key_range),
        Side.RELATIONAL: partial(read_relational, settings, comparison.relational, key_range),
    }
    return _merged(sources, settings, stopped)


def _totals(settings: Settings, mapping: Mapping, stopped: Callable[[], bool]) -> dict[str, pl.DataFrame]:
    found = {}
    for each in mapping.derived_fields:
        assert isinstance(each.rule, Derived)
        layout = layout_of_total(each.rule.less)
        source: dict[Side, _Source] = {Side.DOCUMENT: partial(read_documents, settings, layout, KeyRange())}
        found[each.name] = sum_up(
            each.rule.less, (frame for _side, frame in _merged(source, settings, stopped))
        )
    return found


def _count(result: ScanResult, side: Side, rows: int) -> None:
    if side is Side.DOCUMENT:
        result.document_records += rows
    else:
        result.relational_records += rows


def _check(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise ScanStoppedError


def _merged(
    sources: dict[Side, _Source], settings: Settings, stopped: Callable[[], bool]
) -> Generator[tuple[Side, pl.DataFrame]]:
    """The frames of all sources as they arrive; each source is read in a thread of its own."""
    arrivals: _Arrivals = queue.Queue(_AHEAD * len(sources))
    over = threading.Event()
    for side, source in sources.items():
        threading.Thread(
            target=_read, args=(side, source, arrivals, over), name=f"scan {side}", daemon=True
        ).start()
    reading = set(sources)
    try:
        while reading:
            side, arrived = _next(arrivals, reading, settings, stopped)
            if isinstance(arrived, BaseException):
                raise arrived
            if arrived is None:
                reading.remove(side)
            else:
                yield side, arrived
    finally:
        over.set()


def _read(side: Side, source: _Source, arrivals: _Arrivals, over: threading.Event) -> None:
    last: BaseException | None = None
    try:
        with closing(source()) as frames:
            for frame in frames:
                if not _put(arrivals, (side, frame), over):
                    return
    except BaseException as error:  # noqa: BLE001  (whatever it is, the thread that waits must know)
        last = error
    _put(arrivals, (side, last), over)


def _put(arrivals: _Arrivals, item: _Arrival, over: threading.Event) -> bool:
    while not over.is_set():
        try:
            arrivals.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return True
    return False


def _next(
    arrivals: _Arrivals, reading: set[Side], settings: Settings, stopped: Callable[[], bool]
) -> _Arrival:
    patience = time.monotonic() + patience_seconds(settings)
    while time.monotonic() < patience:
        _check(stopped)
        try:
            return arrivals.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
    # The drivers tell of broken connections; a store that is frozen they would await for ever.
    raise StoreUnavailableError(f"no answer from the {' and the '.join(sorted(reading))} side")


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
