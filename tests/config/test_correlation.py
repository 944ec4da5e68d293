"""What of a caller's trace is believed, and what a message brings along."""

import re

import pytest

from config.correlation import (
    Correlation,
    act_as,
    correlated,
    correlation_of,
    current,
    new_correlation,
    read_carried,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "sent",
    [
        f"00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-ff",
        f"cc-{TRACE}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like",
    ],
)
def test_a_sound_traceparent_is_kept(sent: str) -> None:
    correlation = correlation_of([sent], request_id="r")
    assert (correlation.trace_id, correlation.span_id, correlation.request_id) == (TRACE, SPAN, "r")


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"cc-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE[:-1]}x-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-01\n",
        f"0-{TRACE}-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01",
    ],
)
def test_another_one_is_ignored_and_a_trace_begun(sent: str) -> None:
    correlation = correlation_of([sent], request_id="r")
    assert re.fullmatch(r"[0-9a-f]{32}", correlation.trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", correlation.span_id)
    assert correlation.trace_id.lower() != TRACE


@pytest.mark.parametrize("sent", [[], [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"]])
def test_none_or_several_are_none(sent: list[str]) -> None:
    assert correlation_of(sent, request_id="r").trace_id != TRACE


def test_a_message_carries_who_asked_and_the_trace_but_not_what_is_done_now() -> None:
    correlation = Correlation(TRACE, SPAN, "r", "ada", message_id="m", task="t", outcome="idle")
    assert read_carried(correlation.carried()) == Correlation(TRACE, SPAN, "r", "ada")


@pytest.mark.parametrize("carried", [None, 1, "x", [], {}, {"trace_id": 1, "span_id": None}])
def test_a_message_that_brings_nothing_readable_begins_a_trace(carried: object) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", read_carried(carried).trace_id)


def test_a_correlation_holds_within_its_block_only() -> None:
    act_as("nobody")
    with correlated(new_correlation()) as outer:
        with correlated(new_correlation()) as inner:
            act_as("ada")
            assert current() is inner
        assert current() is outer
        assert (inner.actor, outer.actor) == ("ada", None)
    assert current() is None
