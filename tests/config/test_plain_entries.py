"""The short way to an entry leads where the long one does."""

from datetime import datetime, timedelta, timezone
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st
from loguru import logger

from config.log_entries import _BUDGETS, _entry_of, _plain_entry_of, entry_of

NAMES = st.sampled_from(
    [
        "component",
        "entity",
        "key",
        "actor",
        "request_id",
        "duration_ms",
        "status",
        "path",
        "password",
        "token_count",
    ]
) | st.text(max_size=8)
VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.lists(st.integers(), max_size=3)
    | st.sampled_from(["GET", "/v1/runs", "Bearer abcdefghijkl", "password=hunter2hunter2", "Zürich", 2**63, -(2**63)])
)  # fmt: skip


def record_of(event: str, extra: dict[str, Any], **others: Any) -> Any:
    made: list[Any] = []
    handler = logger.add(lambda message: made.append(message.record), format="")
    logger.info("thing.happened")
    logger.remove(handler)
    return made[0] | {"message": event, "extra": extra} | others


@given(
    extra=st.dictionaries(NAMES, VALUES, max_size=18), event=st.sampled_from(["run.ended", "jwt.found", "é"])
)
def test_a_plain_entry_is_the_one_that_the_long_way_makes(extra: dict[str, Any], event: str) -> None:
    assume(extra.get("component", "") is not None)
    record = record_of(event, extra)
    plain = _plain_entry_of(record, "p", 1)
    # NaN is not equal to itself.
    assert plain is None or repr(plain) == repr(_entry_of(record, "p", 1, _BUDGETS[0]))


def test_what_is_logged_most_goes_the_short_way() -> None:
    extra = {"component": "web", "method": "GET", "status": 200, "duration_ms": 1.26, "request_id": "r-1"}
    made = _plain_entry_of(record_of("request.served", extra), "p", 1)
    assert made is not None
    assert (made.component, made.duration_ms, made.fields) == ("web", 1.3, {"method": "GET", "status": 200})


@given(st.integers(0, 4 * 10**15))
def test_a_time_is_cut_to_the_millisecond_and_never_rounded(microseconds: int) -> None:
    there = datetime.fromtimestamp(0, timezone(timedelta(hours=5, minutes=30)))
    there += timedelta(microseconds=microseconds)
    made = entry_of(record_of("run.ended", {"component": "web"}, time=there), "p", 1)
    assert made.time == there.replace(microsecond=there.microsecond // 1000 * 1000)
    assert made.time.utcoffset() == timedelta(0)
