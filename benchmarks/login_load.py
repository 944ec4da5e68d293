"""Logins that keep both cores busy, and more of them than the machine can do: how many get through, and how the others fare.

How many there are room for is measured beside bare argon2-cffi, in turn: as many threads as there are cores, each
verifying one hash of the same cost after the other, as low in the order of precedence as the service's own. More threads do no
more: the lanes of each hash are threads of their own. Nothing else of the service runs then, so what a login needs
besides its hash (the token of its client, the counts, the core DB, a session) counts against it.
"""

import asyncio
import json
import os
import time
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import httpx
from argon2 import PasswordHasher

from app.accounts.hashing import KIBIBYTES_PER_MEGABYTE, NICENESS, Cost, places
from benchmarks.calls import Answered, Load, carry_out, other_than, p99, rate, slowest
from benchmarks.figure import Figure, compare, say
from benchmarks.login_people import FROM, PASSWORD, PEOPLE
from benchmarks.processes import in_own_process
from config.settings import Settings

RATIO_GOAL = 0.9
REFUSAL_GOAL_SECONDS = 1.0
HEALTH_GOAL_MS = 100.0
INTROSPECTION_GOAL_MS = 50.0
# Enough that a hash begins whenever another one ends, and few enough that nobody is told to come again.
_AT_ONCE = 3 * (os.cpu_count() or 1)
_TOO_MANY = 64
_INTROSPECTIONS = (16, 64)
_WRONG, _RIGHT = "wrong", "right"
_CHECKED = {_WRONG: HTTPStatus.UNAUTHORIZED, _RIGHT: HTTPStatus.OK}


class Loads:
    """What a client of the service does, each for so many seconds."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient, seconds: float) -> None:
        self.settings = settings
        self.http = http
        self.seconds = seconds
        assert settings.client_secret
        self._secret = settings.client_secret.get_secret_value()

    async def logins(self, kind: str, at_once: int) -> Load:
        """With passwords that are right, or wrong."""
        who, password = ("guest", PASSWORD) if kind == _RIGHT else ("active", "wrong")
        bodies = [_login(f"{who}{number}@example.com", password) for number in range(PEOPLE)]
        headers = {"Authorization": f"Bearer {await self._token()}", "Content-Type": "application/json"}
        return self._load("/v1/auth/login", headers, bodies, at_once)

    async def introspections(self, at_once: int) -> Load:
        """Of the tokens of users who are signed in; the client proves itself with each."""
        bodies = [f"token={await self._sign_in(number)}".encode() for number in range(PEOPLE)]
        basic = b64encode(f"{self.settings.client_id}:{self._secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return self._load("/oauth/introspect", headers, bodies, at_once)

    def _load(self, path: str, headers: dict[str, str], bodies: list[bytes], at_once: int) -> Load:
        return Load(
            self.settings.web_host, self.settings.web_port, path, headers, bodies, at_once, self.seconds
        )

    async def _token(self) -> str:
        answer = await self.http.post(
            "/oauth/token",
            data={"grant_type": "client_credentials"},
            auth=(self.settings.client_id, self._secret),
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    async def _sign_in(self, number: int) -> str:
        answer = await self.http.post(
            "/v1/auth/login", content=_login(f"guest{number}@example.com", PASSWORD), headers=_JSON
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])


_JSON = {"Content-Type": "application/json"}


def _login(email: str, password: str) -> bytes:
    return json.dumps({"email": email, "password": password} | FROM).encode()


async def through(loads: Loads, rounds: int) -> list[Figure]:
    """Logins a second beside bare verifications a second, wrong ones and right ones apart."""
    pairs: dict[str, list[tuple[float, float]]] = {kind: [] for kind in _CHECKED}
    say(f"{rounds} rounds of bare verifications, wrong logins and right ones, {_AT_ONCE} at once")
    for kind in [*pairs] * rounds:
        bare = await asyncio.to_thread(
            lambda: in_own_process(_verifications, cost_of(loads.settings), loads.seconds).value
        )
        answers = await carry_out(await loads.logins(kind, _AT_ONCE))
        odd = other_than(answers, _CHECKED[kind], HTTPStatus.SERVICE_UNAVAILABLE)
        assert not odd, odd
        pairs[kind].append((rate(answers, _CHECKED[kind]), bare))
    return [
        compare(
            f"logins: {kind} passwords, {_AT_ONCE} at once",
            "per s",
            measured,
            limit_name="argon2 on all cores",
            goal=f"ratio >= {RATIO_GOAL}",
            reached=lambda ratio: ratio >= RATIO_GOAL,
        )
        for kind, measured in pairs.items()
    ]


async def beyond(loads: Loads) -> list[Figure]:
    """Many more logins than there is room for: nobody waits long for a no, health answers, memory is bounded."""
    say(f"{_TOO_MANY} logins at once, who come again at once when they are told to wait")
    web = _web_processes(loads.settings.web_port)
    before = _forget_peaks(web)
    knocking = asyncio.create_task(carry_out(await loads.logins(_WRONG, _TOO_MANY)))
    health = await _probe(loads.http, knocking)
    answers = await knocking
    grown = sum(_memory(pid, "VmHWM") for pid in web) - before
    return [*_fates(answers), _health(health, answers), _bounded(loads.settings, grown)]


async def introspections(loads: Loads) -> list[Figure]:
    """How many a second, and what the slowest hundredth takes: alone, and while logins take what they can of both cores."""
    figures = []
    for at_once in _INTROSPECTIONS:
        answers = await carry_out(await loads.introspections(at_once))
        # More at once than cores: how long each one waits is then how many are before it.
        goal = INTROSPECTION_GOAL_MS if at_once == min(_INTROSPECTIONS) else None
        figures += _introspected(answers, f"{at_once} at once", goal)
    load = await loads.introspections(min(_INTROSPECTIONS))
    logins = asyncio.create_task(carry_out(await loads.logins(_WRONG, _AT_ONCE)))
    answers = await carry_out(load)
    await logins
    return [*figures, *_introspected(answers, f"{load.at_once} beside logins", INTROSPECTION_GOAL_MS)]


def cost_of(settings: Settings) -> Cost:
    """What a hash costs the service."""
    return Cost(settings.password_memory_kib, settings.password_passes, settings.password_lanes)


def _verifications(cost: Cost, seconds: float) -> float:
    """Bare verifications a second; in a process of its own."""
    os.nice(NICENESS)
    argon2 = PasswordHasher(cost.passes, cost.memory, cost.lanes)
    phc = argon2.hash(PASSWORD)
    threads = os.cpu_count() or 1
    started = time.perf_counter()

    def verify(_: int) -> int:
        count = 0
        while time.perf_counter() - started < seconds:
            argon2.verify(phc, PASSWORD)
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        done = sum(pool.map(verify, range(threads)))
    return done / (time.perf_counter() - started)


async def _probe(http: httpx.AsyncClient, load: asyncio.Task[list[Answered]]) -> list[Answered]:
    spent = []
    while not load.done():
        began = time.perf_counter()
        answer = await http.get("/health/live", auth=None)
        spent.append(Answered(answer.status_code, began, time.perf_counter()))
        await asyncio.sleep(0.02)
    return spent


def _fates(answers: list[Answered]) -> Iterator[Figure]:
    longest = slowest(answers, HTTPStatus.SERVICE_UNAVAILABLE)
    odd = sum(other_than(answers, HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE).values())
    yield Figure(f"logins: checked, {_TOO_MANY} at once", rate(answers, HTTPStatus.UNAUTHORIZED), "per s")
    yield Figure("logins: neither checked nor told to come again", odd, "answers", goal="0", ok=odd == 0)
    yield Figure(
        "logins: slowest 503",
        longest,
        "s",
        goal=f"<= {REFUSAL_GOAL_SECONDS:g} s",
        ok=longest <= REFUSAL_GOAL_SECONDS,
    )


def _health(probes: list[Answered], load: list[Answered]) -> Figure:
    began = min(each.began for each in load)
    slow = p99([each.seconds for each in probes if each.began >= began])
    good = all(each.status == HTTPStatus.OK for each in probes) and slow <= HEALTH_GOAL_MS
    return Figure(
        "logins: health check meanwhile, p99", slow, "ms", goal=f"<= {HEALTH_GOAL_MS:g} ms", ok=good
    )


def _bounded(settings: Settings, grown: float) -> Figure:
    cost = cost_of(settings)
    expected = places(cost, settings.password_megabytes) * cost.memory / KIBIBYTES_PER_MEGABYTE
    return Figure(
        "logins: memory of the web process meanwhile, at most",
        grown,
        "MiB more",
        limit=expected,
        limit_name="as many hashes as there are places for",
        ratio=grown / expected,
        goal=f"<= {settings.password_megabytes} MiB",
        ok=grown <= settings.password_megabytes,
    )


def _introspected(answers: list[Answered], when: str, goal: float | None) -> list[Figure]:
    odd = other_than(answers, HTTPStatus.OK)
    assert not odd, odd
    slow = p99([each.seconds for each in answers])
    return [
        Figure(f"logins: introspections, {when}", rate(answers, HTTPStatus.OK), "per s"),
        Figure(
            f"logins: introspections, {when}, p99",
            slow,
            "ms",
            goal=f"<= {goal:g} ms" if goal else "",
            ok=goal is None or slow <= goal,
        ),
    ]


def _web_processes(port: int) -> list[int]:
    """The web server on this port, which is a child of ours, and its worker."""
    return [pid for pid in _family(os.getpid()) if _serves(pid, port)]


def _serves(pid: int, port: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return b"web.app:app" in words and str(port).encode() in words


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _family(int(child))


def _forget_peaks(processes: list[int]) -> float:
    """What these processes have now, in MiB; their peaks count from here (proc(5), clear_refs)."""
    for pid in processes:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return sum(_memory(pid, "VmRSS") for pid in processes)


def _memory(pid: int, name: str) -> float:
    _before, _found, after = Path(f"/proc/{pid}/status").read_text().partition(f"{name}:")
    return int(after.split()[0]) / KIBIBYTES_PER_MEGABYTE
