"""Sources that are read at once: their order, their faults, their pace, and what happens while they are silent."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from itertools import count

import pytest

from app.reconciliation.scanning.arrivals import merged, read_ahead


def batches(sizes: list[int]) -> Callable[[], Generator[bytes]]:
    def read() -> Generator[bytes]:
        for size in sizes:
            yield bytes(size)

    return read


def endless() -> Generator[bytes]:
    for number in count():
        yield bytes([number % 256])


def test_every_batch_arrives_in_the_order_of_its_source() -> None:
    arrived = list(merged({"a": batches([1, 2, 3]), "b": batches([4, 5])}))
    assert [len(batch) for name, batch in arrived if name == "a"] == [1, 2, 3]
    assert [len(batch) for name, batch in arrived if name == "b"] == [4, 5]
    assert len(arrived) == 5


def test_what_a_source_raises_is_raised_after_what_it_sent() -> None:
    def broken() -> Generator[bytes]:
        yield b"one"
        raise OSError("gone")

    with closing(read_ahead(broken)) as found:
        assert next(found) == b"one"
        with pytest.raises(OSError, match="gone"):
            next(found)


def test_a_source_is_closed_when_nobody_takes_any_more() -> None:
    closed = threading.Event()

    def open_source() -> Generator[bytes]:
        try:
            yield from endless()
        finally:
            closed.set()

    with closing(read_ahead(open_source)) as found:
        next(found)
    assert closed.wait(5)


def test_a_source_is_read_ahead_while_its_batches_are_worked_on() -> None:
    read: list[int] = []
    two_read = threading.Event()

    def watched() -> Generator[bytes]:
        for number in range(5):
            read.append(number)
            if number == 2:
                two_read.set()
            yield bytes(1)

    with closing(read_ahead(watched)) as found:
        next(found)
        assert two_read.wait(5)


def test_no_source_exceeds_its_pace() -> None:
    started = time.monotonic()
    arrived = list(merged({"a": batches([50] * 6), "b": batches([1])}, pace=lambda: 200.0))
    # 300 records, the last batch of which is taken before its time has passed.
    assert time.monotonic() - started >= 250 / 200
    assert sum(len(batch) for _name, batch in arrived) == 301


def test_a_pace_that_is_lifted_takes_effect_at_once() -> None:
    pace: list[float | None] = [0.1]
    found = merged({"a": batches([10, 10, 10])}, pace=lambda: pace[0])
    next(found)
    pace[0] = None
    # At the first pace each batch would take 100 s.
    started = time.monotonic()
    assert len(list(found)) == 2
    assert time.monotonic() - started < 50


def test_whoever_waits_may_give_up_however_slow_the_pace() -> None:
    class EnoughError(Exception):
        pass

    def give_up(reading: set[str], seconds: float) -> None:
        assert reading == {"a"}
        if seconds > 0.3:
            raise EnoughError

    found = merged({"a": endless}, pace=lambda: 0.001, while_waiting=give_up)
    with pytest.raises(EnoughError):
        list(found)
