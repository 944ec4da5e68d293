"""Reading several sources at once, each in a thread of its own and a little ahead of whoever takes what was read."""

import queue
import threading
import time
from collections.abc import Callable, Generator, Sized
from contextlib import closing
from typing import Generic, TypeVar

Name = TypeVar("Name")
Batch = TypeVar("Batch", bound=Sized)
Source = Callable[[], Generator[Batch]]
Pace = Callable[[], float | None]
"""The most records per second that may be read now from each source, more than 0; None: as fast as it goes."""

# Batches that wait to be taken, for each source.
_AHEAD = 2
_POLL_SECONDS = 0.2


def merged(
    sources: dict[Name, Source[Batch]],
    *,
    pace: Pace = lambda: None,
    while_waiting: Callable[[set[Name], float], None] = lambda _reading, _seconds: None,
) -> Generator[tuple[Name, Batch]]:
    """The batches of all sources as they arrive, those of one source in order.

    What a source raises is raised here. `while_waiting` is called about five times a second while nothing arrives,
    with the sources that are still being read and the seconds since the last arrival; it may raise to give up.
    """
    readers = _Readers[Name, Batch](len(sources), pace)
    for name, source in sources.items():
        threading.Thread(target=readers.read, args=(name, source), name=f"scan {name}", daemon=True).start()
    reading = set(sources)
    try:
        while reading:
            name, arrived = readers.take(reading, while_waiting)
            if isinstance(arrived, BaseException):
                raise arrived
            if arrived is None:
                reading.remove(name)
            else:
                yield name, arrived
    finally:
        readers.over.set()


def read_ahead(source: Source[Batch]) -> Generator[Batch]:
    """The batches of one source, which goes on reading while its batches are worked on."""
    with closing(merged({"ahead": source})) as arrivals:
        for _name, batch in arrivals:
            yield batch


class _Readers(Generic[Name, Batch]):
    """What the threads that read and the one that takes have in common. None, or an error, ends a source."""

    def __init__(self, sources: int, pace: Pace) -> None:
        self.over = threading.Event()
        self._pace = pace
        self._arrivals: queue.Queue[tuple[Name, Batch | BaseException | None]] = queue.Queue(_AHEAD * sources)

    def read(self, name: Name, source: Source[Batch]) -> None:
        last: BaseException | None = None
        brake = _Brake(self._pace, self.over)
        try:
            with closing(source()) as batches:
                for batch in batches:
                    if not self._put(name, batch):
                        return
                    brake.spend(len(batch))
        except BaseException as error:  # noqa: BLE001  (whatever it is, the thread that waits must know)
            last = error
        self._put(name, last)

    def _put(self, name: Name, item: Batch | BaseException | None) -> bool:
        while not self.over.is_set():
            try:
                self._arrivals.put((name, item), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def take(
        self, reading: set[Name], while_waiting: Callable[[set[Name], float], None]
    ) -> tuple[Name, Batch | BaseException | None]:
        started = time.monotonic()
        while True:
            try:
                return self._arrivals.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                while_waiting(reading, time.monotonic() - started)


class _Brake:
    """Holds a reader back so that it stays within a pace, which may change at any time."""

    def __init__(self, pace: Pace, over: threading.Event) -> None:
        self._pace = pace
        self._over = over
        self._paid_until = time.monotonic()

    def spend(self, records: int) -> None:
        """Return once so many records have had their time, or when it is over. Time lost is not caught up."""
        owed = float(records)
        while not self._over.is_set():
            rate, instant = self._pace(), time.monotonic()
            if rate is not None:
                owed -= rate * (instant - self._paid_until)
            self._paid_until = instant
            if rate is None or owed <= 0:
                return
            self._over.wait(min(_POLL_SECONDS, owed / rate))
