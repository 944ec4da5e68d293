from datetime import UTC, datetime

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from periodiq import PeriodiqMiddleware, cron

from actors.scheduler import read_declarations
from app.scheduling.cron import CronError, ticks_between
from app.scheduling.schedules import Declaration


class Options(PeriodiqMiddleware):
    actor_options = frozenset({"periodic", "catch_up"})


def declared(spec: str, **options: str) -> list[Declaration]:
    broker = StubBroker(middleware=[Options()])
    dramatiq.actor(lambda: None, actor_name="scan", broker=broker, periodic=cron(spec), **options)
    dramatiq.actor(lambda: None, actor_name="other", broker=broker)
    return read_declarations(broker)


def test_only_actors_with_a_period_are_schedules_and_bear_their_name() -> None:
    assert declared("*/1 * * * *") == [Declaration("scan", "*/1 * * * *", "scan")]


def test_an_actor_states_what_becomes_of_its_late_ticks() -> None:
    assert declared("@hourly", catch_up="skip")[0].catch_up == "skip"


@pytest.mark.parametrize("spec", ["0 0 * * 0", "0 0 * * sun", "@weekly", "0 0 * * 7"])
def test_a_sunday_declared_with_periodiq_comes_due(spec: str) -> None:
    (found,) = declared(spec)
    ticks = ticks_between(
        found.cron, found.zone, datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 6, 30, tzinfo=UTC)
    )
    assert [tick.day for tick in ticks] == [8, 15, 22, 29]


def test_a_specification_that_periodiq_takes_and_cron_does_not_is_refused() -> None:
    with pytest.raises(CronError, match="bad minute"):
        declared("0-75 * * * *")
