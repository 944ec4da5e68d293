"""What benchmarks conclude from the answers to a load."""

from benchmarks.calls import Answered, other_than, p99, rate, slowest

ANSWERS = [Answered(401, 10.0, 10.5), Answered(503, 10.0, 11.0), Answered(401, 10.5, 12.0)]


def test_what_is_counted_lies_between_the_first_beginning_and_the_last_end() -> None:
    assert rate(ANSWERS, 401) == 1.0
    assert rate(ANSWERS, 401, 503) == 1.5


def test_the_slowest_are_told_by_status_and_in_a_hundred() -> None:
    assert slowest(ANSWERS, 503) == 1.0
    assert slowest(ANSWERS, 200) == 0.0
    assert p99([number / 1000 for number in range(1000)]) == 990


def test_what_nobody_expected_is_counted() -> None:
    assert other_than(ANSWERS, 401) == {503: 1}
    assert other_than(ANSWERS, 401, 503) == {}
