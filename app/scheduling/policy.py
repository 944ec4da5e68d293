"""What becomes of ticks that are handled late. Pure: the specification and the time decide, no store is asked."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from app.scheduling import cron
from app.scheduling.schedules import CATCH_UP_LIMIT, Schedule

GRACE = timedelta(seconds=90)  # a tick sent later than this after its due time is caught up, not fired


def is_late(tick: datetime, at: datetime) -> bool:
    """Whether a tick handled at that instant counts as late."""
    return at - tick > GRACE


def oldest_caught_up(schedule: Schedule, after: datetime, now: datetime) -> datetime:
    """From which tick later than `after` the policy still fires late ones; `now` where it fires none."""
    limit = CATCH_UP_LIMIT[schedule.catch_up]
    if limit == 0:
        return now
    latest = cron.latest_between(schedule.cron, schedule.zone, after, now, limit)
    return latest[0] if len(latest) == limit else after


def to_miss(schedule: Schedule, due: Sequence[datetime], now: datetime) -> set[datetime]:
    """Those of the due ticks that the policy records missed: late, and older than the ones it catches up."""
    late = [tick for tick in due if is_late(tick, now)]
    if not late:
        return set()
    oldest = oldest_caught_up(schedule, min(late) - timedelta(minutes=1), now)
    return {tick for tick in late if tick < oldest}
