"""An independent cron: it looks at every minute. Slow, simple, and shares no code with app/scheduling."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def _number(word: str, names: list[str], first: int) -> int:
    return names.index(word.lower()) + first if word.lower() in names else int(word)


def _values(field: str, low: int, high: int, names: list[str]) -> set[int]:
    values: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        if span == "*":
            start, end = low, high
        elif "-" in span:
            start, end = (_number(word, names, low) for word in span.split("-"))
        else:
            start = _number(span, names, low)
            end = high if step else start
        values.update(range(start, end + 1, int(step or 1)))
    return values


class Walk:
    def __init__(self, spec: str, zone: str) -> None:
        minute, hour, day, month, weekday = spec.split()
        self.zone = ZoneInfo(zone)
        self.minutes = _values(minute, 0, 59, [])
        self.hours = _values(hour, 0, 23, [])
        self.days = _values(day, 1, 31, [])
        self.months = _values(month, 1, 12, MONTHS)
        self.weekdays = {value % 7 for value in _values(weekday, 0, 7, DAYS)}
        self.both_days = day.startswith("*") or weekday.startswith("*")
        self.names_times = not minute.startswith("*") and not hour.startswith("*")

    def matches(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        found = (wall.day in self.days, wall.isoweekday() % 7 in self.weekdays)
        return all(found) if self.both_days else any(found)

    def wall(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None)

    def is_due(self, instant: datetime) -> bool:
        wall = self.wall(instant)
        if not self.names_times:
            return self.matches(wall)
        if wall.fold == 0 and self.matches(wall):
            return True
        skipped = self.wall(instant - MINUTE) + MINUTE
        while skipped < wall:
            if self.matches(skipped):
                return True
            skipped += MINUTE
        return False

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        instant = after.astimezone(UTC).replace(second=0, microsecond=0) + MINUTE
        ticks = []
        while instant <= until:
            if self.is_due(instant):
                ticks.append(instant)
            instant += MINUTE
        return ticks
