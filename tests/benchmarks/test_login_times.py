"""What the benchmark of logins concludes from times: it finds a difference that is there, and none where there is none."""

import numpy as np
import pytest

from benchmarks.login_times import CLASSES, Seconds, aucs, greatest_by_chance, held_out_auc

ROUNDS = 200
SEEDS = range(5)


def times(seed: int, *, later: float = 0.0) -> Seconds:
    """Answers of one spread, at a pace that changes; those of the first class later by so many of its standard deviations."""
    drawn = np.random.default_rng(seed)
    seconds = drawn.normal(0.2, 0.01, (ROUNDS, len(CLASSES)))
    seconds[:, 0] += 0.01 * later
    return seconds + np.cumsum(drawn.normal(0, 0.003, ROUNDS))[:, None]


@pytest.mark.parametrize(("later", "auc"), [(0.0, 0.5), (0.5, 0.638), (1.0, 0.760), (5.0, 1.0)])
def test_the_auc_is_nearly_that_of_whoever_knows_both_distributions(later: float, auc: float) -> None:
    # For two normal distributions of one width it is the normal distribution function of `later` / sqrt(2).
    drawn = np.random.default_rng(1)
    found = [held_out_auc(drawn.normal(later, 1, ROUNDS), drawn.normal(0, 1, 4 * ROUNDS)) for _ in range(30)]
    assert auc - 0.03 <= np.mean(found) <= auc + 0.01


def test_a_class_that_is_only_less_even_is_found_too() -> None:
    drawn = np.random.default_rng(1)
    assert held_out_auc(drawn.normal(0, 2, ROUNDS), drawn.normal(0, 1, 4 * ROUNDS)) > 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_where_all_classes_are_alike_none_is_told_better_than_by_chance(seed: int) -> None:
    seconds = times(seed)
    assert max(aucs(seconds).values()) <= greatest_by_chance(seconds, 200) < 0.62


@pytest.mark.parametrize("seed", SEEDS)
def test_a_class_that_is_later_is_found_whatever_the_pace_does(seed: int) -> None:
    seconds = times(seed, later=1.0)
    found = aucs(seconds)
    assert max(found, key=lambda name: found[name]) == next(iter(CLASSES))
    assert max(found.values()) > greatest_by_chance(seconds, 200)
