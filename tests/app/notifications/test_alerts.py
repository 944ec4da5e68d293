"""Operators are told of trouble, once per cause and hour, each look for itself."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from loguru import logger
from pydantic import SecretStr

from app.audit.breaks import record_break
from app.audit.entries import Fact
from app.audit.sealing.stream import ChainBrokenError
from app.notifications import alerts
from app.notifications.installing import ensure_shipped
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.notifications.test_firing import KEY

QUEUES = ("runs", "mails")
HOUR = timedelta(hours=1)


@pytest.fixture
def settings_of_test(settings_of_test: Settings) -> Settings:
    more = {
        "encryption_keys": SecretStr(KEY),
        "notification_smtp_host": "127.0.0.1",
        "notification_smtp_tls": "none",
        "notification_from": "no-reply@astrobookings.example",
    }
    return settings_of_test.model_copy(update=more)


@pytest.fixture
def moment() -> datetime:
    """Half past an hour that has begun."""
    return datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - HOUR


@pytest.fixture
async def operated(stores: Stores) -> Stores:
    await ensure_shipped(stores.settings)
    for roles, status in ((["operator"], "active"), (["operator"], "locked"), (["auditor"], "active")):
        email = f"{uuid4().hex[:8]}@example.com"
        await stores.core.execute(
            "INSERT INTO users (email, email_key, roles, status) VALUES ($1, $1, $2, $3)",
            email,
            roles,
            status,
        )
    return stores


async def causes(stores: Stores) -> list[str]:
    rows = await stores.core.fetch("SELECT data::jsonb ->> 'cause' AS cause FROM notifications ORDER BY id")
    return [row["cause"] for row in rows]


async def look(stores: Stores, moment: datetime) -> int:
    return await alerts.watch(stores, queues=QUEUES, moment=moment)


async def trip(stores: Stores, at: datetime) -> None:
    await stores.core.execute(
        "INSERT INTO breakers (entity, tripped_at, reason) VALUES ('launches', $1, '1,000 changes') "
        "ON CONFLICT (entity) DO UPDATE SET tripped_at = $1",
        at,
    )


async def test_active_operators_are_told_once_per_cause_and_hour(operated: Stores, moment: datetime) -> None:
    assert await look(operated, moment) == 0
    await trip(operated, moment)
    assert [await look(operated, moment + n * HOUR / 60) for n in range(3)] == [1, 0, 0]
    await trip(operated, moment + HOUR / 4)
    assert await look(operated, moment + HOUR / 4) == 0
    await trip(operated, moment + HOUR)
    assert await look(operated, moment + HOUR) == 1
    row = await operated.core.fetchrow(
        "SELECT kind, priority, recipient_kind, schedule, tick FROM notifications ORDER BY id LIMIT 1"
    )
    assert tuple(row) == ("operations", 1, "user", "alerts", moment.replace(minute=0))


async def test_every_kind_of_trouble_is_seen(operated: Stores, moment: datetime) -> None:
    await trip(operated, moment)
    await operated.core.execute(
        "INSERT INTO runs (entity, mode, status, cause, requested_by, mapping_hash, finished_at) "
        "VALUES ('bookings', 'full', 'failed', 'schedule', 'core', 'x', $1)",
        moment,
    )
    await operated.core.execute(
        "INSERT INTO transport_circuits (name, state, because, changed_at, trial_at) VALUES ('smtp', 'open', '421', $1, $1)",
        moment,
    )
    milliseconds = moment.timestamp() * 1000
    await operated.broker.zadd(f"{operated.settings.namespace}:mails.XQ", {"a": milliseconds, "b": 1})
    await record_break(operated, ChainBrokenError("seal 7", "its hash"), Fact.SEALING_STOPPED, by="sealer")
    await record_break(operated, ChainBrokenError("archive 2", "gone"), Fact.ARCHIVING_STOPPED, by="archiver")
    assert await look(operated, moment) == 6
    assert await causes(operated) == [
        "breaker:launches", "run:bookings-full", "circuit:smtp", "audit:sealing", "audit:archiving", "dead-letters:mails",
    ]  # fmt: skip
    assert await look(operated, moment) == 0


async def test_what_is_over_for_a_day_is_no_news(operated: Stores, moment: datetime) -> None:
    await trip(operated, moment - 25 * HOUR)
    assert await look(operated, moment) == 0


async def test_what_cannot_be_looked_at_keeps_nothing_else_from_being_told(
    operated: Stores, moment: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise ConnectionRefusedError

    monkeypatch.setattr(alerts, "_runs", away)
    await trip(operated, moment)
    assert await look(operated, moment) == 1


async def test_without_a_mail_service_the_log_says_it_once(operated: Stores, moment: datetime) -> None:
    stores = replace(operated, settings=operated.settings.model_copy(update={"notification_smtp_host": None}))
    await trip(stores, moment)
    assert await logged(stores, moment) == ["alert.raised"]


async def test_without_an_operator_the_log_says_it_once(stores: Stores, moment: datetime) -> None:
    await ensure_shipped(stores.settings)
    await trip(stores, moment)
    assert await logged(stores, moment) == ["alert.raised"]


async def logged(stores: Stores, moment: datetime) -> list[str]:
    """What three looks log as errors that mail nobody."""
    seen: list[str] = []
    sink = logger.add(lambda message: seen.append(message.record["message"]), level="ERROR")
    for seconds in (30, 90, 150):
        assert await look(stores, moment + timedelta(seconds=seconds)) == 0
    logger.remove(sink)
    return seen
