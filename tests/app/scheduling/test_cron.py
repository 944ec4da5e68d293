import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from app.scheduling import cron
from tests.app.scheduling.minute_walk import DAYS, MONTHS, Walk

ZONES = (
    "Europe/Madrid",
    "Europe/Dublin",
    "America/New_York",
    "America/Havana",  # changes at midnight
    "America/Santiago",  # changes at 24:00
    "Africa/Cairo",  # changes at midnight
    "Africa/Casablanca",  # changes around Ramadan
    "Australia/Lord_Howe",  # changes by half an hour
    "Antarctica/Troll",  # changes by two hours
    "Pacific/Apia",  # left out a whole day in 2011
    "Asia/Kathmandu",  # never changes, 5:45 ahead
    "UTC",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def terms(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ordered = st.tuples(number, number).map(sorted)
    step = st.integers(1, high)
    choices = [
        number.map(str),
        ordered.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(ordered, step).map(lambda both: f"{both[0][0]}-{both[0][1]}/{both[1]}"),
    ]
    if names:
        choices.append(st.sampled_from([*names, *(name.upper() for name in names)]))
    return st.lists(st.one_of(choices), min_size=1, max_size=3).map(",".join)


def field(low: int, high: int, names: list[str] | None = None) -> st.SearchStrategy[str]:
    stars = st.one_of(st.just("*"), st.integers(1, high).map(lambda step: f"*/{step}"))
    return st.one_of(stars, terms(low, high, names))


minutes_and_hours = st.tuples(field(0, 59), field(0, 23))
specs = st.tuples(minutes_and_hours, field(1, 31), field(1, 12, MONTHS), field(0, 7, DAYS)).map(
    lambda parts: " ".join((*parts[0], *parts[1:]))
)
dense_specs = minutes_and_hours.map(lambda parts: f"{parts[0]} {parts[1]} * * *")
seconds_of_the_century = st.integers(946_684_800, 4_070_908_800)  # 2000 to 2099
instants = seconds_of_the_century.map(lambda second: datetime.fromtimestamp(second, UTC))


def is_valid(spec: str) -> bool:
    try:
        cron.parse(spec)
    except cron.CronError:
        return False
    return True


def croniter_reads_it(spec: str) -> bool:
    """It takes a range from a number to itself, such as ``0-0``, for the whole field."""
    return not re.search(r"\b(\d+)-\1\b", spec)


@cache
def changes_of_clocks(zone: str) -> list[datetime]:
    """Days, 2010 to 2037, in which the zone's offset changes."""
    days = [datetime(2010, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(28 * 365)]
    info = ZoneInfo(zone)
    return [
        day
        for day, following in pairwise(days)
        if day.astimezone(info).utcoffset() != following.astimezone(info).utcoffset()
    ]


@settings(max_examples=70, deadline=None)
@given(spec=specs.filter(croniter_reads_it).filter(is_valid), start=instants)
def test_random_specs_come_due_when_croniter_says(spec: str, start: datetime) -> None:
    theirs = croniter(spec, start, implement_cron_bug=True, max_years_between_matches=50)
    ours = start
    for _ in range(5):
        ours = cron.next_after(spec, "UTC", ours)
        assert ours == theirs.get_next(datetime)


@settings(max_examples=50, deadline=None)
@given(spec=st.one_of(specs, dense_specs).filter(is_valid), start=instants, zone=st.sampled_from(ZONES))
def test_random_specs_come_due_when_a_walk_of_every_minute_says(
    spec: str, start: datetime, zone: str
) -> None:
    until = start + timedelta(days=3)
    assert cron.ticks_between(spec, zone, start, until) == Walk(spec, zone).between(start, until)


@settings(max_examples=40, deadline=None)
@given(
    spec=dense_specs,
    zone=st.sampled_from([zone for zone in ZONES if changes_of_clocks(zone)]),
    pick=st.integers(0, 10_000),
    skew=st.integers(0, 24 * 60),
)
def test_random_specs_agree_with_the_walk_where_clocks_change(
    spec: str, zone: str, pick: int, skew: int
) -> None:
    changes = changes_of_clocks(zone)
    start = changes[pick % len(changes)] - timedelta(days=1) + timedelta(minutes=skew, seconds=skew % 60)
    until = start + timedelta(days=2)
    assert cron.ticks_between(spec, zone, start, until) == Walk(spec, zone).between(start, until)


@settings(max_examples=40, deadline=None)
@given(
    minute=st.integers(0, 59),
    hours=st.lists(st.integers(0, 3) | st.integers(0, 23), min_size=1, max_size=3).map(
        lambda found: ",".join(map(str, found))
    ),
    days=st.sampled_from(["* * *", "*/2 * *", "* * 0", "* * 1-5", "1,15 * *"]),
    zone=st.sampled_from(ZONES),
    start=instants,
)
def test_two_years_of_times_of_day_are_those_of_croniter_each_once_whatever_clocks_do(
    minute: int, hours: str, days: str, zone: str, start: datetime
) -> None:
    spec, until, info = f"{minute} {hours} {days}", start + timedelta(days=730), ZoneInfo(zone)
    ticks = cron.ticks_between(spec, zone, start, until)

    def wall(instant: datetime) -> datetime:
        return instant.astimezone(info).replace(tzinfo=None)

    # What clocks show at the ticks, and what they have jumped over in the minute before.
    shown = {wall(tick) for tick in ticks}
    first, last = wall(start) + timedelta(days=1), wall(until) - timedelta(days=1)
    theirs = set()
    found = croniter(spec, first, implement_cron_bug=True)
    while (each := found.get_next(datetime)) < last:
        theirs.add(each)
    assert not [
        each for each in shown - theirs if first < each < last and not jumped(ticks, wall, theirs, each)
    ]
    assert all(
        any(wall(tick - timedelta(minutes=1)) < each < wall(tick) for tick in ticks)
        for each in theirs - shown
    )
    assert len(ticks) == len(shown)


def jumped(
    ticks: list[datetime], wall: Callable[[datetime], datetime], skipped: set[datetime], shown: datetime
) -> bool:
    """Whether clocks jump to this time, over one of those."""
    (tick,) = (each for each in ticks if wall(each) == shown)
    before = wall(tick - timedelta(minutes=1))
    return any(before < each < shown for each in skipped)


@settings(max_examples=40, deadline=None)
@given(spec=dense_specs, zone=st.sampled_from(ZONES), start=instants, cut=st.integers(0, 2 * 24 * 3600))
def test_a_span_cut_in_two_has_the_same_ticks(spec: str, zone: str, start: datetime, cut: int) -> None:
    middle, until = start + timedelta(seconds=cut), start + timedelta(days=2)
    halves = cron.ticks_between(spec, zone, start, middle) + cron.ticks_between(spec, zone, middle, until)
    assert halves == cron.ticks_between(spec, zone, start, until)


@settings(max_examples=30, deadline=None)
@given(spec=dense_specs, zone=st.sampled_from(ZONES), start=instants, limit=st.integers(0, 200))
def test_the_next_and_the_latest_ticks_are_the_ends_of_the_span(
    spec: str, zone: str, start: datetime, limit: int
) -> None:
    until = start + timedelta(days=4)
    ticks = cron.ticks_between(spec, zone, start, until)
    assert cron.next_after(spec, zone, start) == ticks[0]
    assert cron.latest_between(spec, zone, start, until, limit) == (ticks[-limit:] if limit else [])


@pytest.mark.parametrize(
    "spec",
    [
        "0 0 * * 0",
        "0 0 * * 7",
        "0 0 * * sun",
        "0 0 * * SUN",
        "@weekly",
        "0 0 * * 0,7",
        "0 0 * * 7-7",
        "0 0 * * */7",
    ],
)
def test_sunday_comes_due_however_it_is_written(spec: str) -> None:
    ticks = cron.ticks_between(spec, "UTC", at("2025-01-01"), at("2026-01-01"))
    assert len(ticks) == 52
    assert {tick.isoweekday() for tick in ticks} == {7}


@pytest.mark.parametrize(
    ("alias", "first"),
    [
        ("@hourly", "2025-03-05T08:00"),
        ("@daily", "2025-03-06T00:00"),
        ("@midnight", "2025-03-06T00:00"),
        ("@weekly", "2025-03-09T00:00"),
        ("@monthly", "2025-04-01T00:00"),
        ("@yearly", "2026-01-01T00:00"),
        ("@Annually", "2026-01-01T00:00"),
    ],
)
def test_an_alias_stands_for_its_specification(alias: str, first: str) -> None:
    assert cron.next_after(alias, "UTC", at("2025-03-05T07:30")) == at(first)


def test_the_29th_of_february_comes_due_in_leap_years_only() -> None:
    ticks = cron.ticks_between("0 12 29 2 *", "UTC", at("2019-01-01"), at("2033-01-01"))
    assert [tick.year for tick in ticks] == [2020, 2024, 2028, 2032]
    assert cron.next_after("0 12 29 2 *", "UTC", at("2096-03-01")).year == 2104  # 2100 is none


@pytest.mark.parametrize(
    "spec", ["5-5/2 * * * *", "05-5/2 * * * *", "7 0 * jan-1/3 sun-0/2", "0 1-1/5,3 * * *"]
)
def test_a_range_from_a_number_to_itself_is_that_number(spec: str) -> None:
    ticks = cron.ticks_between(spec, "UTC", at("2025-01-01"), at("2025-02-01"))
    assert ticks
    assert ticks == Walk(spec, "UTC").between(at("2025-01-01"), at("2025-02-01"))


def test_a_named_time_that_is_skipped_is_due_once_after_the_gap() -> None:
    ticks = cron.ticks_between(
        "0,30 2 * * *", "Europe/Madrid", at("2025-03-29T12:00"), at("2025-03-30T12:00")
    )
    assert ticks == [at("2025-03-30T01:00")]  # 03:00 local, the first minute that exists


def test_a_named_time_that_comes_twice_is_due_the_first_time() -> None:
    ticks = cron.ticks_between("30 2 * * *", "Europe/Madrid", at("2025-10-25T12:00"), at("2025-10-26T12:00"))
    assert ticks == [at("2025-10-26T00:30")]


def test_an_interval_follows_the_clock_through_a_change() -> None:
    night = (at("2025-10-26T00:00"), at("2025-10-26T02:00"))
    assert len(cron.ticks_between("*/30 2 * * *", "Europe/Madrid", *night)) == 3
    assert (
        cron.ticks_between("*/30 2 * * *", "Europe/Madrid", at("2025-03-30T00:00"), at("2025-03-30T06:00"))
        == []
    )


def test_an_hour_after_a_change_at_midnight_keeps_its_ticks() -> None:
    ticks = cron.ticks_between("*/30 1 * * *", "Africa/Cairo", at("2025-04-24T12:00"), at("2025-04-25T12:00"))
    assert ticks == [at("2025-04-24T22:00"), at("2025-04-24T22:30")]


@pytest.mark.parametrize(
    ("spec", "zone", "message"),
    [
        ("", "UTC", "five fields"),
        ("* * * *", "UTC", "five fields"),
        ("0 * * * * *", "UTC", "five fields"),
        ("@reboot", "UTC", "five fields"),
        ("60 * * * *", "UTC", "bad minute"),
        ("* 24 * * *", "UTC", "bad hour"),
        ("* * 0 * *", "UTC", "bad day-of-month"),
        ("* * * 13 *", "UTC", "bad month"),
        ("* * * * 8", "UTC", "bad day-of-week"),
        ("* * * * 6-0", "UTC", "bad day-of-week"),
        ("*/0 * * * *", "UTC", "bad minute"),
        ("0 0 * * mon#1/2", "UTC", "bad day-of-week"),
        ("0 0 30 2 *", "UTC", "bad day-of-month"),
        ("* * */20 * 1L", "UTC", "never comes due"),
        ("0 0 * * *" + " " * 200, "UTC", "at most 200 characters"),
        ("* * * * *", "Mars/Olympus", "not a time zone"),
        ("* * * * *", "../UTC", "not a time zone"),
        ("* * * * *", "America", "not a time zone"),
        ("* * * * *", "", "not a time zone"),
        ("* * * * *", "localtime", "not a time zone"),
        ("* * * * *", "posixrules", "not a time zone"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(spec: str, zone: str, message: str) -> None:
    with pytest.raises(cron.CronError, match=message):
        cron.parse(spec, zone)


@settings(max_examples=70, deadline=None)
@given(spec=st.text(alphabet="0123456789*/-,#LWsunmojafebc @\n٣", max_size=30), zone=st.text(max_size=20))
def test_any_text_is_either_parsed_or_refused(spec: str, zone: str) -> None:
    try:
        cron.parse(spec, zone)
    except cron.CronError:
        return
    assert cron.next_after(spec, zone, at("2025-01-01")) > at("2025-01-01")
