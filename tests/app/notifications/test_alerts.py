"""Operators are told of trouble, once per cause and hour, each look for itself."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from loguru import logger
from pydantic import SecretStr

from app.audit import verdicts
from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.notifications import alerts, troubles
from app.notifications.templates.installing import ensure_shipped
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.audit.entries import fact
from tests.app.notifications.recurring.test_firing import KEY

QUEUES = ("runs", "mails")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


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
        await add_user(stores, roles, status)
    return stores


async def add_user(stores: Stores, roles: list[str], status: str) -> None:
    email = f"{uuid4().hex[:8]}@example.com"
    await stores.core.execute(
        "INSERT INTO users (email, email_key, roles, status) VALUES ($1, $1, $2, $3)", email, roles, status
    )


async def causes(stores: Stores) -> list[str]:
    rows = await stores.core.fetch("SELECT data::jsonb ->> 'cause' AS cause FROM notifications ORDER BY id")
    return [row["cause"] for row in rows]


async def look(stores: Stores, moment: datetime) -> int:
    return await alerts.watch(stores, queues=QUEUES, moment=moment)


async def fail_run(stores: Stores, at: datetime, status: str = "failed", mode: str = "full") -> None:
    await stores.core.execute(
        "INSERT INTO runs (entity, mode, status, reason, cause, requested_by, mapping_hash, finished_at, compared_at) "
        "VALUES ('bookings', $3, $2, 'away', 'schedule', 'core', 'x', $1, $1)",
        at,
        status,
        mode,
    )


async def open_circuit(stores: Stores, at: datetime, name: str = "smtp") -> None:
    await stores.core.execute(
        "INSERT INTO transport_circuits (name, state, because, changed_at, trial_at) VALUES ($2, 'open', '421', $1, $1) "
        "ON CONFLICT (name) DO UPDATE SET changed_at = $1",
        at,
        name,
    )


async def trip(stores: Stores, at: datetime) -> None:
    await stores.core.execute(
        "INSERT INTO breakers (entity, tripped_at, reason) VALUES ('launches', $1, '1,000 changes') "
        "ON CONFLICT (entity) DO UPDATE SET tripped_at = $1",
        at,
    )


async def test_active_operators_are_told_once_per_cause_and_hour(operated: Stores, moment: datetime) -> None:
    assert await look(operated, moment) == 0
    await trip(operated, moment)
    assert [await look(operated, moment + n * MINUTE) for n in range(3)] == [1, 0, 0]
    row = await operated.core.fetchrow(
        "SELECT kind, priority, recipient_kind, schedule, tick FROM notifications ORDER BY id LIMIT 1"
    )
    assert tuple(row) == ("operations", 0, "user", "alerts", moment)


async def test_an_hour_is_one_from_mail_to_mail_and_not_one_of_the_clock(
    operated: Stores, moment: datetime
) -> None:
    late = moment + 29 * MINUTE
    await trip(operated, late)
    assert await look(operated, late) == 1
    await trip(operated, late + 2 * MINUTE)
    assert await look(operated, late + 2 * MINUTE) == 0, "another hour has begun, and two minutes have passed"
    assert await look(operated, late + 59 * MINUTE) == 0
    assert await look(operated, late + HOUR) == 1, "and what was new within the hour is told after it"
    assert await look(operated, late + 3 * HOUR) == 0


async def test_what_lasts_is_told_again_every_day_and_what_is_over_is_not(
    operated: Stores, moment: datetime
) -> None:
    await trip(operated, moment)
    await fail_run(operated, moment)
    assert await look(operated, moment) == 2
    assert await look(operated, moment + 23 * HOUR) == 0
    assert await look(operated, moment + 24 * HOUR) == 1
    assert (await causes(operated))[2:] == ["breaker:launches"]
    await operated.core.execute("UPDATE breakers SET tripped_at = NULL")
    assert await look(operated, moment + 48 * HOUR) == 0


async def test_after_an_outage_of_ours_one_mail_tells_of_all_that_failed(
    operated: Stores, moment: datetime
) -> None:
    for hours in range(5):
        await fail_run(operated, moment - hours * HOUR)
    assert await look(operated, moment) == 1
    (summary,) = [
        row["summary"]
        for row in await operated.core.fetch("SELECT data::jsonb ->> 'summary' AS summary FROM notifications")
    ]
    assert summary.endswith("Failed in a day: 5.")


async def test_every_operator_is_told_and_who_becomes_one_hears_of_what_comes(
    operated: Stores, moment: datetime
) -> None:
    await add_user(operated, ["operator", "admin"], "active")
    await trip(operated, moment)
    await fail_run(operated, moment)
    assert await look(operated, moment) == 4
    await add_user(operated, ["operator"], "active")
    assert await look(operated, moment + 2 * HOUR) == 0
    assert await look(operated, moment + 24 * HOUR) == 3, "of what lasts, with the others"


async def test_two_who_look_at_once_tell_once(operated: Stores, moment: datetime) -> None:
    await trip(operated, moment)
    assert sum(await asyncio.gather(*(look(operated, moment + n * MINUTE / 60) for n in range(4)))) == 1


async def test_a_clock_that_was_set_back_silences_nobody(operated: Stores, moment: datetime) -> None:
    await fail_run(operated, moment)
    assert await look(operated, moment) == 1
    await fail_run(operated, moment - 10 * HOUR)
    await operated.core.execute("DELETE FROM runs WHERE finished_at = $1", moment)
    assert await look(operated, moment - 10 * HOUR) == 1


async def test_every_kind_of_trouble_is_seen(operated: Stores, moment: datetime) -> None:
    await trip(operated, moment)
    await fail_run(operated, moment)
    await fail_run(operated, moment, "held", "incremental")
    await open_circuit(operated, moment)
    milliseconds = moment.timestamp() * 1000
    await operated.broker.zadd(f"{operated.settings.namespace}:mails.XQ", {"a": milliseconds, "b": 1})
    for source in (verdicts.SEALER, verdicts.ARCHIVER, verdicts.VERIFIER):
        await verdicts.say(operated.core, source, "entry 4", "it is not what was sealed")
    assert await look(operated, moment) == 8
    assert sorted(await causes(operated)) == [
        "audit:archiving", "audit:sealing", "audit:verification", "breaker:launches", "circuit:smtp", "dead-letters:mails",
        "run-held:bookings-incremental", "run:bookings-full",
    ]  # fmt: skip
    assert await look(operated, moment + MINUTE) == 0


async def test_a_fault_of_the_audit_is_told_while_the_audit_store_is_away(
    operated: Stores, moment: datetime
) -> None:
    await verdicts.say(operated.core, verdicts.SEALER, "entry 4", "it is gone")
    away = redis.asyncio.Redis(port=1)
    assert await look(replace(operated, audit=away), moment) == 1
    await verdicts.say(operated.core, verdicts.SEALER)
    assert await troubles.audit(operated, moment) == [], "once it was mended"


async def test_that_nothing_is_sealed_is_trouble_after_a_quarter_of_an_hour(
    operated: Stores, moment: datetime
) -> None:
    audit = AuditStore.of(operated)
    await audit.append([fact(at=moment), fact(at=moment + HOUR)])
    assert await look(operated, moment + 15 * MINUTE) == 0
    assert await look(operated, moment + 16 * MINUTE) == 1
    assert await causes(operated) == ["audit:sealing"]
    keys = Keyring.of(operated.settings)
    assert keys
    await Sealer(operated.core, Stream.of(operated.audit, operated.settings.namespace), keys).seal_new()
    assert await look(operated, moment + 2 * HOUR) == 0


async def test_that_nothing_was_verified_for_days_is_trouble(operated: Stores, moment: datetime) -> None:
    await verdicts.say(operated.core, verdicts.VERIFIER)
    assert await look(operated, moment + 2 * 24 * HOUR) == 0
    assert await look(operated, moment + 4 * 24 * HOUR) == 1
    assert await causes(operated) == ["audit:unverified"]


async def test_that_nothing_was_ever_verified_since_it_is_sealed_is_trouble(
    operated: Stores, moment: datetime
) -> None:
    await verdicts.say(operated.core, verdicts.SEALER)
    assert await look(operated, moment + 2 * 24 * HOUR) == 0
    assert await look(operated, moment + 4 * 24 * HOUR) == 1
    assert await causes(operated) == ["audit:unverified"]


async def test_what_is_over_for_a_day_is_no_news(operated: Stores, moment: datetime) -> None:
    await fail_run(operated, moment - 25 * HOUR)
    assert await look(operated, moment) == 0


async def test_alerts_go_by_another_transport_while_the_circuit_of_the_first_is_open(
    operated: Stores, moment: datetime
) -> None:
    await open_circuit(operated, moment)
    assert await look(operated, moment) == 1
    http = {"notification_http_url": "https://mail.example/send"}
    both = replace(operated, settings=operated.settings.model_copy(update=http))
    await trip(both, moment)
    assert await look(both, moment) == 1
    await open_circuit(both, moment, "http")
    await fail_run(both, moment)
    assert await look(both, moment) == 2
    rows = await both.core.fetch("SELECT transport FROM notifications ORDER BY id")
    assert [row["transport"] for row in rows] == ["smtp", "http", "smtp", "smtp"]


@pytest.mark.parametrize("error", [ConnectionRefusedError, KeyError])
async def test_what_cannot_be_looked_at_keeps_nothing_else_from_being_told(
    operated: Stores, moment: datetime, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    async def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(troubles, "breakers", broken)
    await fail_run(operated, moment)
    if error is KeyError:
        with pytest.raises(ExceptionGroup):  # the message dies, and the log has all of it
            await look(operated, moment)
    else:
        await look(operated, moment)
    assert await causes(operated) == ["run:bookings-full"]


async def test_without_a_mail_service_the_log_says_it_once(operated: Stores, moment: datetime) -> None:
    stores = replace(operated, settings=operated.settings.model_copy(update={"notification_smtp_host": None}))
    await trip(stores, moment)
    assert await logged(stores, moment) == ["alert.raised"]


async def test_without_the_template_the_log_says_it_once(stores: Stores, moment: datetime) -> None:
    await trip(stores, moment)
    assert await logged(stores, moment) == ["alert.raised"]


async def test_without_an_operator_the_log_says_it_once_however_late(
    stores: Stores, moment: datetime
) -> None:
    await ensure_shipped(stores.settings)
    await trip(stores, moment - 5 * HOUR)
    assert await logged(stores, moment) == ["alert.raised"]


async def logged(stores: Stores, moment: datetime) -> list[str]:
    """What three looks log as errors that mail nobody."""
    seen: list[str] = []
    sink = logger.add(lambda message: seen.append(message.record["message"]), level="ERROR")
    for seconds in (30, 40, 150):
        assert await look(stores, moment + timedelta(seconds=seconds)) == 0
    logger.remove(sink)
    return seen
