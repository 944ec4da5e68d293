"""Back-off: bounds that only grow, Retry-After, and the end."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.notifications.delivering.backoff import TRIES, next_try, wait_before

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TRIED = st.integers(1, TRIES - 1)
DRAWN = st.floats(0, 1, exclude_max=True)


def wait(tries: int, drawn: float, after: float | None = None) -> float:
    at = next_try(tries=tries, now=NOW, drawn=drawn, after=after)
    assert at is not None
    return (at - NOW).total_seconds()


@given(TRIED, DRAWN)
def test_a_wait_is_between_half_and_all_of_its_bound(tries: int, drawn: float) -> None:
    assert wait_before(tries) / 2 <= wait(tries, drawn) <= wait_before(tries)


@given(TRIED, DRAWN, st.floats(0, 86_400))
def test_nobody_comes_before_retry_after_and_nobody_long_after_it(
    tries: int, drawn: float, after: float
) -> None:
    waited = wait(tries, drawn, after)
    assert after <= waited + 1e-6
    assert waited <= max(after, wait_before(tries) / 2) + wait_before(tries) / 2 + 1e-6


@given(TRIED, DRAWN, st.floats(0, 86_400))
def test_those_who_failed_together_do_not_come_back_together(tries: int, drawn: float, after: float) -> None:
    spread = wait_before(tries) / 2
    assert abs(wait(tries, drawn, after) - wait(tries, 0.0, after) - drawn * spread) < 1e-5


def test_bounds_only_grow() -> None:
    bounds = [wait_before(tries) for tries in range(1, TRIES)]
    assert bounds == sorted(bounds)
    assert (bounds[0], bounds[-1]) == (10.0, 3600.0)


@given(st.integers(TRIES, 10_000), DRAWN, st.none() | st.floats(0, 86_400))
def test_it_is_given_up_after_the_last_try_and_not_earlier(
    tries: int, drawn: float, after: float | None
) -> None:
    assert next_try(tries=tries, now=NOW, drawn=drawn, after=after) is None
    assert next_try(tries=TRIES - 1, now=NOW, drawn=drawn, after=after) is not None


def test_however_lots_fall_four_hours_pass_before_it_is_given_up() -> None:
    at, tries = NOW, 0
    while (later := next_try(tries=(tries := tries + 1), now=at, drawn=0.0)) is not None:
        at = later
    assert timedelta(hours=4) <= at - NOW <= timedelta(hours=5)
    assert tries == TRIES
