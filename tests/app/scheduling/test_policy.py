from datetime import UTC, datetime, timedelta

import pytest

from app.scheduling.policy import to_miss
from app.scheduling.schedules import CatchUp, Schedule

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def schedule(cron: str = "* * * * *", catch_up: CatchUp = "fire_once") -> Schedule:
    return Schedule(
        "s",
        cron,
        "UTC",
        "a",
        {},
        catch_up,
        fixed=True,
        declared={},
        edited=False,
        enabled=True,
        retired_at=None,
        evaluated_until=NOW,
    )


@pytest.mark.parametrize(("catch_up", "sent"), [("skip", 0), ("fire_once", 1), ("fire_all", 1000)])
def test_of_late_ticks_the_policy_keeps_so_many_of_the_latest(catch_up: CatchUp, sent: int) -> None:
    due = [NOW + n * MINUTE for n in range(1, 1501)]
    missed = to_miss(schedule(catch_up=catch_up), due, due[-1])
    on_time = 2  # the last two are within the grace
    assert due[len(due) - max(sent, on_time) :] == [tick for tick in due if tick not in missed]


def test_a_tick_within_the_grace_is_never_missed() -> None:
    assert to_miss(schedule(catch_up="skip"), [NOW], NOW + timedelta(seconds=90)) == set()
    assert to_miss(schedule(catch_up="skip"), [NOW], NOW + timedelta(seconds=91)) == {NOW}


def test_a_late_tick_is_caught_up_once_only_while_no_later_one_is_due() -> None:
    hourly = schedule("0 * * * *")
    assert to_miss(hourly, [NOW], NOW + 59 * MINUTE) == set()
    assert to_miss(hourly, [NOW], NOW + 60 * MINUTE) == {NOW}
