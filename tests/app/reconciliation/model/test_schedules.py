"""The repair path under any interleaving: on model stores, with simulated time, replayed from one number."""

import asyncio
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.app.reconciliation.model.schedule import play, play_undo

SCHEDULES = int(os.environ.get("SCHEDULES", "2000"))
FIRST_SEED = int(os.environ.get("SEED", "1"))
STEPS = 250


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
@given(st.randoms(use_true_random=False), st.integers(10, 120))
def test_any_schedule_ends_in_agreement(rng: random.Random, steps: int) -> None:
    """Hypothesis chooses what happens, and shrinks what goes wrong to the fewest steps."""
    asyncio.run(play(rng, steps))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_undoing_everything_gives_back_what_was(seed: int, drift: int) -> None:
    asyncio.run(play_undo(random.Random(seed), drift))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_thousands_of_long_schedules_end_in_agreement() -> None:
    """`make schedules SCHEDULES=100000 SEED=7` plays any number, from any first seed."""
    for seed in range(FIRST_SEED, FIRST_SEED + SCHEDULES):
        try:
            asyncio.run(play(random.Random(seed), STEPS))
            asyncio.run(play_undo(random.Random(seed), seed % 40))
        except BaseException:
            print(f"\nseed {seed}, {STEPS} steps: replay with make schedules SCHEDULES=1 SEED={seed}")  # noqa: T201
            raise
