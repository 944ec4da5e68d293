"""An entry is always JSON, always bounded, and tells as much of a value as can be told."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from config.correlation import Correlation, correlated
from config.log_entries import MOST_BYTES, LogEntry, entry_of

ID = UUID(int=7)


class Pair(NamedTuple):
    left: int
    right: int


class Word(StrEnum):
    ONE = "one"


class Number(Enum):
    TWO = 2


class Thing(msgspec.Struct):
    name: str


@dataclass
class Plain:
    name: str


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def entry_with(level: str = "INFO", /, error: BaseException | None = None, **fields: Any) -> LogEntry:
    made: list[LogEntry] = []
    sink = logger.add(
        lambda message: made.append(entry_of(message.record, "host:1:00000000", 1)), catch=False
    )
    try:
        logger.bind(**fields).opt(exception=error).log(level, "run.resumed")
    finally:
        logger.remove(sink)
    [entry] = made
    return entry


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, True),
        (1, 1),
        (2**63, str(2**63)),
        (1.5, 1.5),
        ("é", "é"),
        ("\ud800", "\\ud800"),
        (b"bytes\xff", "bytes\\xff"),
        (Decimal("1.10"), "1.10"),
        (ID, str(ID)),
        (Path("/x"), "/x"),
        (datetime(2026, 1, 1, 12, 0, 0, 1999, timezone(timedelta(hours=2))), "2026-01-01T10:00:00.001+00:00"),
        (Word.ONE, "one"),
        (Number.TWO, "2"),
        ((1, "a"), [1, "a"]),
        ({1}, [1]),
        ({1: {"a": [None]}}, {"1": {"a": [None]}}),
        (Thing("x"), {"name": "x"}),
        (Plain("x"), {"name": "x"}),
        (Pair(1, 2), {"left": 1, "right": 2}),
        (ValueError("boom"), "boom"),
        (Silent(), "<unprintable Silent>"),
        ([Silent()], ["<unprintable Silent>"]),
        (object, "<class 'object'>"),
    ],
)
def test_a_value_is_told_as_json_knows_it(value: Any, told: Any) -> None:
    entry = entry_with(value=value)
    assert entry.fields == {"value": told}
    assert msgspec.json.decode(msgspec.json.encode(entry), type=LogEntry) == entry


def test_what_is_common_to_entries_stands_in_fields_of_its_own() -> None:
    entry = entry_with(
        "WARNING",
        entity="launches",
        key=ID,
        actor="ada",
        outcome="done",
        duration_ms=0.123,
        more=1,
        none=None,
    )
    assert (entry.entity, entry.key, entry.actor, entry.outcome) == ("launches", str(ID), "ada", "done")
    assert (entry.duration_ms, entry.fields, entry.level) == (0.1, {"more": 1}, "WARNING")


def test_an_entry_bears_the_correlation_it_was_made_in_and_its_own_fields_win() -> None:
    correlation = Correlation("t" * 32, "s" * 16, "request", "ada", message_id="m", task="sweep")
    with correlated(correlation):
        entry = entry_with(actor="bob")
    assert (entry.trace_id, entry.span_id) == ("t" * 32, "s" * 16)
    assert (entry.request_id, entry.message_id, entry.actor) == ("request", "m", "bob")
    assert entry.fields == {"task": "sweep"}
    assert entry_with().trace_id is None


def test_a_duration_that_is_none_is_no_duration() -> None:
    assert entry_with(duration_ms="soon").duration_ms is None
    assert (
        msgspec.json.decode(msgspec.json.encode(entry_with(duration_ms=math.nan)))["event"] == "run.resumed"
    )


class Counted(int):
    def __float__(self) -> float:
        raise RuntimeError("no")

    def __lt__(self, other: object) -> bool:
        raise RuntimeError("no")


class Measured(float):
    def __float__(self) -> float:
        raise RuntimeError("no")


class Spoken(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")


class Restless(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no")


class Masked:
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Counted(3), 3),
        (Measured(2.5), 2.5),
        (Spoken("words"), "words"),
        (Restless(a=1), "<unprintable Restless>"),
        (Masked(), "<unprintable Masked>"),
        (2**20_000, "<unprintable int>"),
        (math.inf, math.inf),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "<unprintable datetime>"),
    ],
    ids=range(8),
)
def test_a_value_of_an_odd_class_is_told_as_far_as_it_can_be(value: Any, told: Any) -> None:
    assert entry_with(value=value).fields == {"value": told}
    assert msgspec.json.encode(entry_with(value=[value], deep={"a": value}, key=value))


@pytest.mark.parametrize(
    "duration", [10**400, -(10**400), math.inf, math.nan, Counted(3), Measured(2.5), True, "x", [1]]
)
def test_a_duration_breaks_nothing(duration: Any) -> None:
    assert entry_with(duration_ms=duration, note=1).fields == {"note": 1}


def test_an_entry_that_cannot_be_made_is_told_by_its_event() -> None:
    class Hidden(type):
        @property
        def __name__(cls) -> str:
            raise RuntimeError("no")

    class NamelessError(Exception, metaclass=Hidden):
        pass

    entry = entry_with("ERROR", NamelessError("x"), component="web")
    assert (entry.event, entry.component, entry.level) == ("run.resumed", "web", "ERROR")
    assert entry.fields == {"unprintable": "RuntimeError"}


def deep(levels: int) -> Any:
    return {"down": deep(levels - 1)} if levels else "bottom"


def endless() -> Any:
    knot: list[Any] = []
    knot.append(knot)
    return knot


@pytest.mark.parametrize(
    "value",
    [
        "x" * 1_000_000,
        "\x01" * 1_000_000,
        "🚀" * 1_000_000,
        b"\xff" * 1_000_000,
        [["\x01" * 1000] * 200] * 200,
        {f"\x01{n}" * 30: n for n in range(10_000)},
        list(range(1_000_000)),
        [[[10**18] * 100] * 100] * 100,
        [[[-1.2345678901234567e-300] * 100] * 100] * 100,
        [[[[]] * 100] * 100] * 100,
        deep(500),
        endless(),
        RuntimeError("\n" * 1_000_000),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("failed", [False, True])
def test_an_entry_is_bounded_whatever_it_is_given(value: Any, *, failed: bool) -> None:
    error = RuntimeError("é\x01" * 50_000)
    entry = entry_with(
        error=error if failed else None, value=value, other=value, entity="\x01" * 1000, key="é" * 1000
    )
    assert len(msgspec.json.encode(entry)) <= MOST_BYTES
    assert entry.fields
    assert (entry.exception is not None) is failed


def test_what_lies_too_deep_is_left_out() -> None:
    assert str(entry_with(value=deep(500)).fields).count("down") < 10


def test_a_long_text_keeps_both_its_ends() -> None:
    told = entry_with(value="begin" + "x" * 100_000 + "end").fields["value"]
    assert told.startswith("beginx")
    assert told.endswith("xend")
    assert 4000 < len(told) <= 4096


# Made only when they are logged: no library of tests bears to look at them.
ODD: tuple[Callable[[], Any], ...] = (
    Silent, Masked, Restless, endless, object, lambda: Counted(2), lambda: Measured(0.5), lambda: Spoken("x"),
    lambda: 10**5000, lambda: deep(500), lambda: Silent,
)  # fmt: skip


def unveiled(value: Any) -> Any:
    """The value, with what is odd made at its place."""
    match value:
        case list() | tuple():
            return type(value)(map(unveiled, value))
        case dict():
            return {name: unveiled(each) for name, each in value.items()}
        case _:
            return value() if value in ODD else value


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.datetimes(timezones=st.just(UTC))
    | st.characters(categories=("Cs",))
    | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner)
        | st.tuples(inner, inner)
    ),
    max_leaves=10,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(anything, st.text())
def test_whatever_is_logged_can_be_read_again(value: Any, text: str) -> None:
    odd = unveiled(value)
    entry = entry_with(value=odd, duration_ms=odd, request_id=odd, key=text, **{text: text})
    again = msgspec.json.decode(msgspec.json.encode(entry), type=LogEntry)
    assert again.event == "run.resumed"
    assert set(again.fields) == set(entry.fields)
