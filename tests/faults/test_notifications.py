"""Every process that has to do with mail, and the broker, is killed at random moments: no mail is lost, and none goes twice.

By hand, any number of mails: `MAILS=1000 SEED=7 pytest -m slow -s tests/faults/test_notifications.py`
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest

from app.accounts.addresses import address
from app.accounts.encryption import safe_of
from app.notifications.addresses.recipients import Resolved
from app.notifications.asking.triggering import Mailing, Order, trigger
from app.notifications.templates.catalogue import load_version
from tests.faults.receivers import Taken, receiving
from tests.faults.victims import Victim, Victims
from tests.stories.conftest import System, running_system

pytestmark = pytest.mark.slow

MAILS = int(os.environ.get("MAILS", "200"))
SEED = int(os.environ.get("SEED", str(random.SystemRandom().randrange(10_000))))
KINDS = ("worker", "worker's child", "web", "web's child", "scheduler", "broker")
PER_SECOND = 20
PAUSE_SECONDS = (0.3, 2.0)
CALM_SECONDS = 300.0
TEMPLATE = "booking-confirmation"
OPEN = "SELECT state, count(*) FROM notifications WHERE state IN ('scheduled', 'pending', 'sending') GROUP BY state"


@pytest.mark.timeout(600 + 2 * MAILS)
def test_mails_of_a_system_whose_processes_are_killed_go_once_or_are_parked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with receiving() as taken:
        for name, value in settings(taken).items():
            monkeypatch.setenv(f"ASTROCORE_NOTIFICATION_{name}", value)
        with running_system() as system:
            chance, fallen = random.Random(SEED), Counter[str]()
            asked = asyncio.run(ask_and_kill(system, taken, chance, fallen))
            wait_until(lambda: (hurry(system), asyncio.run(query(system, OPEN)))[1])
            rows = asyncio.run(query(system, "SELECT email, template, transport, state FROM notifications"))
    # Operators may have been told of what goes on here.
    ended = [row for row in rows if row["template"] == TEMPLATE]
    others = {row["email"]: row["template"] for row in rows if row["template"] != TEMPLATE}
    states = Counter((row["transport"], row["state"]) for row in ended)
    print(
        f"\nMAILS={MAILS} SEED={SEED}: killed {dict(fallen)}; {dict(states)}; posted {taken.posted.total()}; others {others}"
    )
    assert Counter(row["email"] for row in ended) == Counter(asked)
    # The one that dedupes got each, once; of the other each is accounted for.
    assert_once(taken.by_http, {row["email"] for row in ended if row["transport"] == "http"})
    assert set(states) <= {("http", "sent"), ("smtp", "sent"), ("smtp", "unknown")}
    by_smtp = Counter({to: count for to, count in taken.by_smtp.items() if to not in others})
    assert_once(by_smtp, {row["email"] for row in ended if (row["transport"], row["state"]) == ("smtp", "sent")},
        perhaps={row["email"] for row in ended if row["state"] == "unknown"})  # fmt: skip


def assert_once(
    taken: Counter[str], certainly: set[str], perhaps: frozenset[str] | set[str] = frozenset()
) -> None:
    assert {to: count for to, count in taken.items() if count > 1} == {}
    assert certainly - set(taken) == set(), "lost, though said to be sent"
    assert set(taken) - certainly - perhaps == set(), "went, though said not to have gone"


def settings(taken: Taken) -> dict[str, str]:
    return {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(taken.smtp_port),
        "SMTP_TLS": "none",
        "HTTP_URL": f"http://127.0.0.1:{taken.http_port}/send",
        "PER_SECOND": str(PER_SECOND),
    }


async def ask_and_kill(system: System, taken: Taken, chance: random.Random, fallen: Counter[str]) -> set[str]:
    """Ask for mails while processes fall; answers to whom."""
    asking = asyncio.create_task(ask_for_all(system, chance))
    await kill(system, taken, chance, fallen, asking)
    return await asking


async def ask_for_all(system: System, chance: random.Random) -> set[str]:
    """Half of the mails by the API, one at a time; half in a transaction of our own, and as many that are rolled back."""
    asked: set[str] = set()
    core = await asyncpg.connect(system.settings.url("core_database_url"))
    async with httpx.AsyncClient(
        base_url=system.api.base_url, auth=system.api.auth, timeout=5, trust_env=False
    ) as api:
        for number in range(MAILS // 2):
            by_api, by_us = f"api{number}@example.com", f"us{number}@example.com"
            await order_by_api(api, by_api, (await load_version(core, TEMPLATE)).content.sample)
            await order(core, system, by_us)
            await order(core, system, f"ghost{number}@example.com", roll_back=True)
            asked |= {by_api, by_us}
            await asyncio.sleep(chance.uniform(0, 2 / PER_SECOND))
    await core.close()
    return asked


async def order_by_api(api: httpx.AsyncClient, to: str, data: dict[str, Any]) -> None:
    """As its callers are told to: again under the same key until it is answered."""
    headers = {"Idempotency-Key": str(uuid4())}
    wanted = {"template": TEMPLATE, "recipients": [{"email": to}], "data": data}
    while True:
        try:
            answer = await api.post("/v1/notifications", json=wanted, headers=headers)
            if answer.status_code == httpx.codes.ACCEPTED:
                return
            assert answer.status_code >= 500 or answer.status_code == httpx.codes.CONFLICT, answer.text
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.2)


async def order(core: asyncpg.Connection, system: System, to: str, *, roll_back: bool = False) -> None:
    """As a schedule does, by the service that dedupes."""
    template = await load_version(core, TEMPLATE)
    mailing = Mailing(Resolved("address", None, address(to)), template.content.sample, "en")
    transaction = core.transaction()
    await transaction.start()
    await trigger(
        core,
        Order(template=template, mailings=[mailing], transport="http"),
        by="test",
        moment=datetime.now(UTC),
        safe=safe_of(system.settings),
    )
    await (transaction.rollback() if roll_back else transaction.commit())


async def kill(
    system: System, taken: Taken, chance: random.Random, fallen: Counter[str], asking: "asyncio.Task[Any]"
) -> None:
    """Kill in rounds that spare nobody, until all is asked for and most has gone."""
    victims, down = Victims(system.data_dir), dict[str, Victim]()
    while not asking.done() or taken.by_smtp.total() + taken.by_http.total() < MAILS * 0.8:
        for kind in chance.sample(KINDS, len(KINDS)):
            await asyncio.sleep(chance.uniform(*PAUSE_SECONDS))
            leader = kind.partition("'s ")[0]
            if leader in down:
                await asyncio.to_thread(victims.await_restart, down[leader])
            down[leader] = await asyncio.to_thread(victims.kill, kind)
            fallen[kind] += 1
            await asyncio.to_thread(hurry, system)
    for victim in down.values():
        await asyncio.to_thread(victims.await_restart, victim)


def hurry(system: System) -> None:
    """Nobody waits five minutes for the claims of the dead. That those of the living run out too makes it only harder."""
    statement = "UPDATE notifications SET next_at = now() - $1::interval, claimed_until = now() WHERE claimed_by IS NOT NULL AND updated_at < now() - $1::interval"
    asyncio.run(query(system, statement, timedelta(seconds=3)))


async def query(system: System, statement: str, *values: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(system.settings.url("core_database_url"))
    try:
        found: list[asyncpg.Record] = await connection.fetch(statement, *values)
        return found
    finally:
        await connection.close()


def wait_until(left: Callable[[], Any]) -> None:
    """Wait until nothing is left; fails with what is."""
    deadline = time.monotonic() + CALM_SECONDS
    while found := left():
        assert time.monotonic() < deadline, found
        time.sleep(1)
