"""Logins: whether the time of an answer tells which addresses are known, how many a second, and how everybody else fares meanwhile.

See `login_times` for the first, `login_load` for the others, where each load comes from a process of its own (`calls`).
"""

import asyncio
import random
import statistics
from collections.abc import Iterator
from http import HTTPStatus

from app.stores.connections import open_stores
from benchmarks.audit_web import served
from benchmarks.figure import Figure, say
from benchmarks.login_load import Loads, beyond, introspections, through
from benchmarks.login_people import add_people
from benchmarks.login_times import CLASSES, Seconds, aucs, try_all
from config.settings import PREFIX, Settings

_AUC_GOAL = 0.55
RAISED = {f"{PREFIX}SIGN_IN_{name}FAILURES": "100000000" for name in ("ACCOUNT_", "ADDRESS_", "")}
"""Limits that no load of ours reaches."""


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """All figures; `records` is how often each class of wrong logins is tried."""
    yield from asyncio.run(_measure(settings, records or (100 if quick else 1000), quick=quick))


async def _measure(settings: Settings, rounds: int, *, quick: bool) -> list[Figure]:
    random.seed(1)
    async with served(settings, RAISED) as client:
        async with open_stores(settings) as stores:
            await add_people(stores)
        loads = Loads(settings, client, 2.0 if quick else 6.0)
        figures = [
            *await through(loads, 5 if quick else 11),
            *await beyond(loads),
            *await introspections(loads),
        ]
        say(f"{rounds} logins of each of {len(CLASSES)} classes, one after the other")
        seconds, answers = await try_all(client, rounds)
        assert {each.status_code for each in answers} == {HTTPStatus.UNAUTHORIZED}
        return [*_told_apart(seconds), *figures]


def _told_apart(seconds: Seconds) -> Iterator[Figure]:
    for (name, auc), own in zip(aucs(seconds).items(), seconds.T, strict=True):
        yield Figure(
            f"logins: {name} told from the others, AUC",
            auc,
            f"(median {statistics.median(own) * 1000:.1f} ms)",
            goal=f"<= {_AUC_GOAL}",
            ok=auc <= _AUC_GOAL,
        )
