"""When a schedule is due: cron specifications in a time zone, as aware UTC instants.

The calendar is cronsim's (https://github.com/cuu508/cronsim), which follows Debian's cron: five fields, ``0`` and
``7`` and ``sun`` are Sunday, and day-of-month and day-of-week both have to match where one of them starts with
``*``, otherwise either suffices. The aliases ``@hourly`` … ``@yearly`` are resolved here.

cronsim is asked about wall-clock times only; the step to instants is taken here, because its own walk through a
zone loses ticks where clocks change at midnight (Cairo) or by half an hour (Lord Howe). The rule is Debian's,
crontab(5):

* A specification whose minute and hour both do not start with ``*`` names times of day. One that is skipped by a
  change of clocks is due at the first instant after the gap; one that occurs twice is due once, the first time.
* Any other specification follows the clock: skipped times are not due, repeated times are due twice.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from app.errors import InvalidInputError

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
FIELDS = 5
STEPPED_RANGE = re.compile(r"([^-/,]+)-([^-/,]+)/0*[1-9][0-9]*", re.ASCII)
SPEC_LENGTH_MAX = 200  # characters; the longest sensible list of minutes has 169
HORIZON = timedelta(days=366 * 50)  # cronsim gives up after as long without a match
FIRST_SPAN = timedelta(hours=1)
SPAN_GROWTH = 4
OFFSET_SAMPLE = timedelta(hours=12)  # no zone changes its clocks and changes them back within this
MADE_UP = frozenset(
    {"localtime", "posixrules", "Factory"}
)  # in the database of a machine, and no zones of the IANA


class CronError(InvalidInputError):
    """A cron specification or a zone that cannot be used; the message says which part and why."""


@dataclass(frozen=True)
class Cron:
    """A specification that was checked: five fields, a zone, and whether it names times of day."""

    fields: str
    zone: ZoneInfo
    names_times: bool


@lru_cache(maxsize=1024)
def parse(spec: str, zone: str = "UTC") -> Cron:
    """Check a specification; raises CronError where it, or the zone, is not valid or where it never comes due."""
    if len(spec) > SPEC_LENGTH_MAX:
        raise CronError(f"a cron specification has at most {SPEC_LENGTH_MAX} characters")
    parts = ALIASES.get(spec.strip().lower(), spec).split()
    if len(parts) != FIELDS:
        raise CronError(
            f"{spec!r} is not a cron specification: it takes five fields (minute, hour, day of month, month, "
            f"day of week) or one of {', '.join(ALIASES)}"
        )
    fields = _require_some_tick(parts, spec)
    return Cron(fields, _zone(zone), names_times=not (parts[0].startswith("*") or parts[1].startswith("*")))


def _require_some_tick(parts: list[str], spec: str) -> str:
    try:
        fields = " ".join(
            _plain_ranges(field, part) for field, part in zip(list(Field)[1:], parts, strict=True)
        )
        next(CronSim(fields, datetime(2000, 1, 1)))  # noqa: DTZ001 - a wall clock, on purpose
    except CronSimError as error:
        raise CronError(f"{spec!r} is not a cron specification: {str(error).lower()}") from error
    except (AssertionError, TypeError, ValueError) as error:
        raise CronError(f"{spec!r} is not a cron specification") from error
    except StopIteration:
        raise CronError(f"{spec!r} never comes due: no date matches it") from None
    return fields


def _plain_ranges(field: Field, part: str) -> str:
    """Write ``5-5/2``, which is 5, as 5: cronsim 2.8 takes it for ``5/2``, which is 5, 7, 9 and so on."""

    def single(found: re.Match[str]) -> str:
        return found[1] if len(field.parse(f"{found[1]}-{found[2]}")) == 1 else found[0]

    return STEPPED_RANGE.sub(single, part.upper())


def _zone(name: str) -> ZoneInfo:
    if name in MADE_UP:
        raise CronError(f"{name!r} is not a time zone, but what a machine takes for its own")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CronError(f"{name!r} is not a time zone; zones are named like Europe/Madrid or UTC") from error


def ticks_between(spec: str, zone: str, after: datetime, until: datetime) -> list[datetime]:
    """Every tick with ``after < tick <= until``, oldest first; none where ``until`` is not the later one.

    The list is as long as the span demands: a caller bounds the span. Raises CronError, see parse.
    """
    cron = parse(spec, zone)
    if until <= after:
        return []
    after, until = after.astimezone(UTC), until.astimezone(UTC)
    due = {tick for wall in _walls(cron, after, until) for tick in _instants(cron, wall)}
    return sorted(tick for tick in due if after < tick <= until)


def next_after(spec: str, zone: str, instant: datetime) -> datetime:
    """The first tick later than an instant; raises CronError, see parse, or where none is left in 50 years."""
    after, span = instant, FIRST_SPAN
    while after - instant < HORIZON:
        ticks = ticks_between(spec, zone, after, after + span)
        if ticks:
            return ticks[0]
        after, span = after + span, span * SPAN_GROWTH
    raise CronError(f"{spec!r} does not come due after {instant.isoformat()}")


def latest_between(spec: str, zone: str, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The latest ``limit`` ticks with ``after < tick <= until``, oldest first, without walking the whole span."""
    span = FIRST_SPAN
    while True:
        start = max(after, until - span)
        ticks = ticks_between(spec, zone, start, until)
        if len(ticks) >= limit or start == after:
            return ticks[-limit:] if limit else []
        span *= SPAN_GROWTH


def _walls(cron: Cron, after: datetime, until: datetime) -> set[datetime]:
    """Every matching wall-clock time that may fall into the span under any offset in force there."""
    samples = [after, until]
    samples += [after + OFFSET_SAMPLE * n for n in range(1, (until - after) // OFFSET_SAMPLE + 1)]
    offsets = {sample.astimezone(cron.zone).utcoffset() or timedelta(0) for sample in samples}
    first = after.replace(tzinfo=None) + min(offsets)
    last = until.replace(tzinfo=None) + max(offsets)
    return set(takewhile(lambda wall: wall <= last, CronSim(cron.fields, first)))


def _instants(cron: Cron, wall: datetime) -> set[datetime]:
    """The instants at which a wall-clock time is due: none, one or two, by the rule above."""
    found = {instant for fold in (0, 1) if (instant := _instant(cron.zone, wall, fold)) is not None}
    if not cron.names_times:
        return found
    return {min(found)} if found else {_end_of_gap(cron.zone, wall)}


def _instant(zone: ZoneInfo, wall: datetime, fold: int) -> datetime | None:
    instant = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    return instant if instant.astimezone(zone).replace(tzinfo=None) == wall else None


def _end_of_gap(zone: ZoneInfo, wall: datetime) -> datetime:
    while (instant := _instant(zone, wall, 0)) is None:
        wall += timedelta(minutes=1)  # clocks change on the minute
    return instant
