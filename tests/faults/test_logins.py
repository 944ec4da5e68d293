"""Logins through the real web process: nobody learns anything from how they fail, and no crash lets anybody in or loses who is."""

import asyncio
import os
import random
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
import pytest

from app.accounts.hashing import FLOOR
from app.cli.client import as_client
from app.embedded.launch import EmbeddedStores
from app.stores.connections import open_stores
from benchmarks.audit_web import served
from benchmarks.login_people import PASSWORD, PEOPLE, add_people
from benchmarks.login_times import CLASSES, aucs, greatest_by_chance, try_all
from benchmarks.logins import RAISED
from config.settings import Settings, parse_settings
from tests.faults.victims import Victims
from tests.stories.conftest import System, running_system, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TRIES = int(os.environ.get("TRIES", "200"))
DEALINGS = 1000
AWAY_SECONDS = 10.0
KILLS = ("web", "web's child", "web")
AT_ONCE = 4
# Hashes that take little time leave everything else that a login does the more to tell.
FLOOR_COST = {
    "ASTROCORE_PASSWORD_MEMORY_KIB": str(FLOOR.memory),
    "ASTROCORE_PASSWORD_PASSES": str(FLOOR.passes),
    "ASTROCORE_PASSWORD_LANES": str(FLOOR.lanes),
}
OF_EACH_ANSWER = {"x-request-id", "date"}


@pytest.fixture
async def web() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the web process, on stores with people of every kind, with limits that nobody reaches."""
    running = EmbeddedStores()
    running.start()
    settings = parse_settings(
        running.environment | FLOOR_COST | {"ASTROCORE_DATA_DIR": str(running.data_dir)}
    )
    try:
        async with served(settings, RAISED | FLOOR_COST) as client:
            await add_everybody(settings)
            yield client
    finally:
        running.stop()


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """A whole system with people of every kind, and the usual limits."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FLOOR_COST.items():
            patch.setenv(name, value)
        with running_system() as running:
            asyncio.run(add_everybody(running.settings))
            yield running


async def add_everybody(settings: Settings) -> None:
    async with open_stores(settings) as stores:
        await add_people(stores)


def login(
    api: httpx.Client, email: str, password: str = PASSWORD, client_ip: str | None = None
) -> httpx.Response:
    """From a machine of its own, unless one is given: what a crash has left undecided counts as a wrong try."""
    own = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(256)}"
    body = {"email": f"{email}@example.com", "password": password, "client_ip": client_ip or own}
    return api.post("/v1/auth/login", json=body)


def told(answer: httpx.Response) -> tuple[Any, ...]:
    """All that an answer tells, but for what is of each answer alone."""
    headers = {name: value for name, value in answer.headers.multi_items() if name not in OF_EACH_ANSWER}
    return answer.http_version, answer.status_code, answer.reason_phrase, tuple(headers.items()), answer.text


# Where nothing can be told this fails once in a thousand runs: the bound is the most that chance has told in a thousand
# dealings of the same times. A difference of half their standard deviation is beyond it nearly always.
async def test_nobody_learns_from_a_refusal_whether_there_is_such_an_account(web: httpx.AsyncClient) -> None:
    seconds, answers = await try_all(web, TRIES)
    assert {each.status_code for each in answers} == {401}
    assert len({told(each) for each in answers}) == 1
    found, by_chance = aucs(seconds), greatest_by_chance(seconds, DEALINGS)
    print(f"{TRIES} of {len(CLASSES)} classes each, AUCs {found}, by chance up to {by_chance:.3f}")
    assert max(found.values()) <= by_chance


@dataclass
class SigningIn:
    """Within it people sign in, some at once; `tokens` are those of everybody who was told that they have."""

    settings: Settings
    tokens: list[str] = field(default_factory=list)
    refused: int = 0
    odd: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(AT_ONCE)]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def await_more(self, number: int) -> None:
        wanted = len(self.tokens) + number
        wait_for(lambda: len(self.tokens), lambda count: count >= wanted)

    def _run(self, number: int) -> None:
        url = f"http://{self.settings.web_host}:{self.settings.web_port}"
        while not self._over.is_set():
            # A connection, and a token of the client, that breaks with the web process is no answer.
            with (
                suppress(httpx.TransportError),
                httpx.Client(base_url=url, auth=as_client(self.settings), timeout=20) as api,
            ):
                while not self._over.is_set():
                    self._count(login(api, f"guest{number}"))
            time.sleep(0.05)

    def _count(self, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            self.tokens.append(answer.json()["access_token"])
        elif answer.status_code == 503:
            self.refused += 1
        else:
            self.odd.append(answer.text)


def is_active(system: System, token: str) -> bool:
    assert system.settings.client_secret
    secret = system.settings.client_secret.get_secret_value()
    answer = system.api.post(
        "/oauth/introspect", data={"token": token}, auth=(system.settings.client_id, secret)
    )
    return bool(answer.json()["active"])


def after_restart(system: System, *names: str) -> None:
    """Kill these processes, and wait until logins are judged again."""
    victims = Victims(system.data_dir)
    for name in names:
        victims.await_restart(victims.kill(name))
    wait_for(lambda: judged(system), lambda status: status in {401, 429})


def judged(system: System) -> int:
    try:
        return login(system.api, "nobody").status_code
    except httpx.TransportError:
        return 0


def test_whoever_was_told_that_they_are_signed_in_stays_so_when_the_web_process_is_killed(
    system: System,
) -> None:
    victims = Victims(system.data_dir)
    with SigningIn(system.settings) as signing_in:
        for kind in KILLS:
            signing_in.await_more(20)
            victims.await_restart(victims.kill(kind))
        signing_in.await_more(20)
    assert not signing_in.odd, signing_in.odd[0]
    assert all(is_active(system, each) for each in signing_in.tokens)
    print(f"{len(signing_in.tokens)} signed in, {signing_in.refused} were told to come again")


def test_nobody_signs_in_while_the_store_of_the_counts_is_away_and_afterwards_everybody_does(
    system: System,
) -> None:
    broker = Victims(system.data_dir).leader("broker")
    assert broker
    before = sessions(system)
    os.kill(broker, signal.SIGSTOP)  # it takes what is sent and answers nothing
    try:
        until, answers = time.monotonic() + AWAY_SECONDS, []
        while time.monotonic() < until:
            # Each one as somebody else: a try that was sent may count once the store is back.
            answers.append(login(system.api, f"guest{AT_ONCE + len(answers) % (PEOPLE - AT_ONCE)}"))
        assert {each.status_code for each in answers} == {503}
        assert all(each.headers["retry-after"] for each in answers)
        assert sessions(system) == before
    finally:
        os.kill(broker, signal.SIGCONT)
    assert wait_for(lambda: login(system.api, "active0").status_code, lambda status: status != 503) == 200


def sessions(system: System) -> int:
    async def count() -> int:
        async with open_stores(system.settings) as stores:
            found: int = await stores.core.fetchval("SELECT count(*) FROM sessions")
            return found

    return asyncio.run(count())


def test_what_was_tried_counts_after_the_web_process_and_the_store_of_the_counts_were_killed(
    system: System,
) -> None:
    machine = "192.0.2.9"
    for number in range(10):
        wrong = login(system.api, f"active{number + 1}", "wrong", machine)
        assert wrong.status_code == 401, wrong.text
    for killed in ((), ("broker",), ("web",)):
        after_restart(system, *killed)
        refused = login(system.api, "active11", client_ip=machine)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 300
    assert login(system.api, "active11", client_ip="192.0.2.10").status_code == 200
