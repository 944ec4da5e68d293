"""Logins: whether the time of an answer tells which addresses are known, how many a second, and how health answers meanwhile.

Every class of wrong logins is tried in turn, in an order drawn anew each round, so that whatever else the machine does falls on all of them
alike. A classifier learns from one half of the times which class is how likely (histograms over the deciles of both), and is held to the other
half: an AUC of 0.5 is guessing.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np

from app.accounts import credentials, users
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.users import Profile
from app.accounts.views import Status
from app.stores.connections import Stores, open_stores
from benchmarks.audit_web import served
from benchmarks.bookings import say
from benchmarks.figure import Figure
from config.settings import PREFIX, Settings

_PASSWORD = "a song about seven small ships"
_AUC_GOAL = 0.55
_HEALTH_GOAL_MS = 100.0
_BINS = 10
_RAISED = {f"{PREFIX}SIGN_IN_{name}FAILURES": "100000000" for name in ("ACCOUNT_", "ADDRESS_", "")}
# Who tries what: the address and the password of each class.
_CLASSES = {
    "unknown address": ("nobody{}@example.com", _PASSWORD),
    "wrong password": ("active{}@example.com", "another song about ships"),
    "empty password": ("active{}@example.com", ""),
    "locked": ("locked{}@example.com", _PASSWORD),
    "disabled": ("disabled{}@example.com", _PASSWORD),
}
_PEOPLE = 20


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """The AUC of each class against the others; `records` is how often each is tried."""
    yield from asyncio.run(measure(settings, records or (100 if quick else 1000), auc_goal=_AUC_GOAL))


async def measure(
    settings: Settings, number: int, *, auc_goal: float, extra: dict[str, str] | None = None
) -> list[Figure]:
    """As `run`, with other settings for the web process where they are given."""
    random.seed(1)
    async with served(settings, _RAISED | (extra or {})) as client:
        async with open_stores(settings) as stores:
            await _people(stores)
        say(f"{number} logins of each of {len(_CLASSES)} classes, one after the other")
        times = await _try_all(client, number)
        return [*_told_apart(times, auc_goal), *await _under_load(client, 5.0 if number < 500 else 20.0)]


async def _people(stores: Stores) -> None:
    accounts = Accounts.of(stores)
    every = frozenset(Role)
    for status in (Status.ACTIVE, Status.LOCKED, Status.DISABLED):
        for number in range(_PEOPLE):
            user = await users.create_user(
                stores, Profile(f"{status}{number}@example.com"), by="benchmark", may_grant=every
            )
            await credentials.set_password(accounts, user.id, _PASSWORD, by="benchmark", may_grant=every)
            if status is not Status.ACTIVE:
                await users.move_user(
                    stores, user.id, status, by="benchmark", reason="benchmark", may_grant=every
                )
    accounts.close()


async def _try_all(client: httpx.AsyncClient, number: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in _CLASSES}
    for _ in range(number):
        for name in random.sample(list(_CLASSES), len(_CLASSES)):
            email, password = _CLASSES[name]
            started = time.perf_counter()
            answer = await _login(client, email.format(random.randrange(_PEOPLE)), password)
            times[name].append(time.perf_counter() - started)
            assert answer.status_code == httpx.codes.UNAUTHORIZED, answer.text
    return times


async def _login(client: httpx.AsyncClient, email: str, password: str) -> httpx.Response:
    return await client.post("/v1/auth/login", json={"email": email, "password": password})


def _told_apart(times: dict[str, list[float]], goal: float) -> list[Figure]:
    figures = []
    for name, own in times.items():
        others = [each for other, spent in times.items() if other != name for each in spent]
        auc = held_out_auc(own, others)
        figures.append(
            Figure(
                f"logins: {name} told from the others, AUC",
                auc,
                f"(median {statistics.median(own) * 1000:.1f} ms)",
                goal=f"<= {goal}",
                ok=auc <= goal,
            )
        )
    return figures


def held_out_auc(own: Sequence[float], others: Sequence[float]) -> float:
    """How well times tell a class from the others, learnt from every second one and held to the rest."""
    learnt, edges = (
        (own[::2], others[::2]),
        np.quantile([*own[::2], *others[::2]], np.linspace(0, 1, _BINS + 1)[1:-1]),
    )
    counts = [np.bincount(np.digitize(each, edges), minlength=_BINS) + 1 for each in learnt]
    likelihood = np.log(counts[0] / counts[0].sum()) - np.log(counts[1] / counts[1].sum())
    scores = [likelihood[np.digitize(each, edges)] for each in (own[1::2], others[1::2])]
    greater = (scores[0][:, None] > scores[1][None, :]).mean()
    return float(greater + (scores[0][:, None] == scores[1][None, :]).mean() / 2)


async def _under_load(client: httpx.AsyncClient, seconds: float) -> list[Figure]:
    """Logins that saturate the machine, and health checks meanwhile."""
    until = time.monotonic() + seconds
    answers: list[int] = []
    slowest_refusal = 0.0

    async def knock() -> None:
        nonlocal slowest_refusal
        while time.monotonic() < until:
            started = time.perf_counter()
            answer = await _login(client, f"active{random.randrange(_PEOPLE)}@example.com", "wrong")
            answers.append(answer.status_code)
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                slowest_refusal = max(slowest_refusal, time.perf_counter() - started)

    async def probe() -> list[float]:
        spent = []
        while time.monotonic() < until:
            started = time.perf_counter()
            (await client.get("/health/live", auth=None)).raise_for_status()
            spent.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(0.02)
        return spent

    work: list[Any] = [asyncio.create_task(knock()) for _ in range(64)]
    health = sorted(await probe())
    await asyncio.gather(*work)
    checked = answers.count(httpx.codes.UNAUTHORIZED)
    p99 = health[min(len(health) - 1, int(len(health) * 0.99))]
    odd = len(answers) - checked - answers.count(httpx.codes.SERVICE_UNAVAILABLE)
    return [
        Figure("logins: checked under load, 64 at once", checked / seconds, "per s"),
        Figure("logins: neither checked nor told to come again", odd, "answers", goal="0", ok=odd == 0),
        Figure("logins: slowest 503", slowest_refusal, "s", goal="<= 1.5 s", ok=slowest_refusal <= 1.5),
        Figure(
            "logins: health check meanwhile, p99",
            p99,
            "ms",
            goal=f"<= {_HEALTH_GOAL_MS:.0f} ms",
            ok=p99 <= _HEALTH_GOAL_MS,
        ),
    ]
