"""Whether the time of an answer tells one class of wrong logins from the others.

Every class is tried once in each round, in an order drawn anew, so that whatever else the machine does falls on all of them alike. What it does
for longer than a few rounds is taken out: whoever listens can know the pace of the service at each moment. A classifier learns from one
half of the times which class is how likely (histograms over the deciles of both), and is held to the other half, then the
other way round. An AUC of 0.5 is guessing.
"""

import random
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.login_people import FROM, PASSWORD, PEOPLE

# Who tries what: the address and the password of each class.
CLASSES = {
    "unknown address": ("nobody{}@example.com", PASSWORD),
    "wrong password": ("active{}@example.com", "another song about ships"),
    "empty password": ("active{}@example.com", ""),
    "locked": ("locked{}@example.com", PASSWORD),
    "disabled": ("disabled{}@example.com", PASSWORD),
}
Seconds = NDArray[np.float64]
"""How long each try took: a row for each round, a column for each class."""

_BINS = 10
_ROUNDS_OF_A_PACE = 5


async def try_all(client: httpx.AsyncClient, rounds: int) -> tuple[Seconds, list[httpx.Response]]:
    """Log in wrongly in every way, so often each, one after the other: the times, and every answer."""
    seconds = np.empty((rounds, len(CLASSES)))
    answers = []
    for row in seconds:
        for column in random.sample(range(len(CLASSES)), len(CLASSES)):
            email, password = list(CLASSES.values())[column]
            body = {"email": email.format(random.randrange(PEOPLE)), "password": password} | FROM
            started = time.perf_counter()
            answers.append(await client.post("/v1/auth/login", json=body))
            row[column] = time.perf_counter() - started
    return seconds, answers


def aucs(seconds: Seconds) -> dict[str, float]:
    """How well each class is told from all others."""
    told = _without_the_pace(seconds)
    return {
        name: held_out_auc(told[:, column], np.delete(told, column, axis=1).ravel())
        for column, name in enumerate(CLASSES)
    }


def greatest_by_chance(seconds: Seconds, drawings: int) -> float:
    """The greatest AUC of any class where nothing can be told: the classes of each round are dealt out anew, so often.

    Where the classes are alike, `aucs` exceeds it once in `drawings + 1` runs.
    """
    dealing = np.random.default_rng(1)
    return max(max(aucs(dealing.permuted(seconds, axis=1)).values()) for _ in range(drawings))


def held_out_auc(own: Sequence[float] | Seconds, others: Sequence[float] | Seconds) -> float:
    """How well times tell a class from the others, by what the other half of them taught."""
    halves = [(np.asarray(own)[at::2], np.asarray(others)[at::2]) for at in (0, 1)]
    return (_auc(halves[0], halves[1]) + _auc(halves[1], halves[0])) / 2


def _auc(learnt: tuple[Seconds, Seconds], held: tuple[Seconds, Seconds]) -> float:
    edges = np.quantile(np.concatenate(learnt), np.linspace(0, 1, _BINS + 1)[1:-1])
    counts = [_histogram(each, edges) + 1 for each in learnt]
    order = np.argsort(counts[0] / counts[1])
    own, others = (_histogram(each, edges)[order] / len(each) for each in held)
    below = np.cumsum(others) - others
    return float(np.sum(own * (below + others / 2)))


def _histogram(times: Seconds, edges: Seconds) -> NDArray[Any]:
    return np.bincount(np.digitize(times, edges), minlength=_BINS)


def _without_the_pace(seconds: Seconds) -> Seconds:
    """Each time less the median of all tries of the rounds around it."""
    around = _ROUNDS_OF_A_PACE // 2
    padded = np.pad(seconds, ((around, around), (0, 0)), mode="reflect")
    pace = np.median(sliding_window_view(padded, _ROUNDS_OF_A_PACE, axis=0), axis=(1, 2))
    return seconds - pace[:, None]
