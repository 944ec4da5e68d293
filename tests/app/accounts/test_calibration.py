"""Which cost is proposed."""

import pytest

from app.accounts.calibration import Measured, measure, propose
from app.accounts.hashing import FLOOR, RECOMMENDED, Cost


def machine(milliseconds_a_megabyte: float):
    """A machine that takes so long for one pass over a megabyte."""

    def measured(cost: Cost) -> Measured:
        seconds = milliseconds_a_megabyte * cost.passes * cost.memory / 1024 / 1000
        return Measured(cost, seconds, 1 / seconds)

    return measured


@pytest.mark.parametrize(
    ("pace", "megabytes", "proposed"),
    [
        (0.6, 512, RECOMMENDED._replace(memory=256 * 1024)),
        (0.6, 200, RECOMMENDED._replace(memory=64 * 1024, passes=10)),
        (2.0, 200, RECOMMENDED),
        (4.0, 200, RECOMMENDED._replace(memory=19 * 1024, passes=6)),
        (30.0, 200, FLOOR),
    ],
)
def test_the_strongest_cost_that_nobody_waits_long_for_is_proposed(
    pace: float, megabytes: int, proposed: Cost
) -> None:
    looked, cost = propose(megabytes, 2, machine(pace))
    assert cost == proposed
    assert FLOOR in [each.cost for each in looked]


def test_a_cost_is_measured_by_hashing() -> None:
    small, large = measure(Cost(1024, 1, 1)), measure(Cost(32 * 1024, 2, 1))
    assert 0 < small.seconds < large.seconds
