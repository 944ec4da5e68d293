"""Reading sides, one or both at once, until all is read, somebody stops it, or a store falls silent."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

import polars as pl

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Side
from app.reconciliation.scanning.arrivals import Pace, Source, merged
from app.reconciliation.scanning.canonical import Layout
from app.reconciliation.scanning.snapshots import (
    KeyRange,
    ask,
    patience_seconds,
    read_documents,
    read_relational,
)
from config.settings import Settings


class ScanStoppedError(Exception):
    """The caller's `stopped` turned true; findings until then have been handed over."""


@dataclass(frozen=True)
class Reader:
    """Reads sides as fast as `pace` lets it, until `stopped` turns true."""

    settings: Settings
    stopped: Callable[[], bool]
    pace: Pace

    def read(self, layouts: dict[Side, Layout], key_range: KeyRange) -> Generator[tuple[Side, pl.DataFrame]]:
        """The frames of these sides as they arrive. Close it to end early.

        Raises ScanStoppedError soon after `stopped` turns true, StoreUnavailableError where a store does not answer.
        """
        sources = {side: self._source(side, layout, key_range) for side, layout in layouts.items()}
        patience = _Patience(self)
        with closing(merged(sources, pace=self.pace, while_waiting=patience.wait)) as arrivals:
            for arrival in arrivals:
                self.check()
                yield arrival

    def read_side(self, side: Side, layout: Layout) -> Generator[pl.DataFrame]:
        """The frames of one whole side."""
        with closing(self.read({side: layout}, KeyRange())) as arrivals:
            yield from (frame for _side, frame in arrivals)

    def check(self) -> None:
        """Raises ScanStoppedError where it was stopped."""
        if self.stopped():
            raise ScanStoppedError

    def _source(self, side: Side, layout: Layout, key_range: KeyRange) -> Source[pl.DataFrame]:
        read = read_documents if side is Side.DOCUMENT else read_relational
        return partial(read, self.settings, layout, key_range)


class _Patience:
    """What to do while nothing arrives: a store that is silent is asked, on another connection, whether it answers.

    A query of everything may need long before its first batch, so silence alone proves nothing; drivers tell of
    broken connections, but a store that is frozen they would await for ever.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._asked: dict[Side, float] = {}
        self._answered: dict[Side, float] = {}

    def wait(self, reading: set[Side], silent_seconds: float) -> None:
        """Raises ScanStoppedError, or StoreUnavailableError where a side neither sends nor answers for too long."""
        self._reader.check()
        settings = self._reader.settings
        instant, seconds = time.monotonic(), settings.store_timeout_seconds
        for side in sorted(reading):
            alive = max(instant - silent_seconds, self._answered.get(side, 0.0))
            if instant - alive > patience_seconds(settings):
                raise StoreUnavailableError(f"no answer from the {side} side")
            if instant - max(alive, self._asked.get(side, 0.0)) > seconds:
                self._asked[side] = instant
                threading.Thread(target=self._ask, args=(side,), name=f"ask {side}", daemon=True).start()

    def _ask(self, side: Side) -> None:
        with suppress(StoreUnavailableError):
            ask(self._reader.settings, side)
            self._answered[side] = time.monotonic()
