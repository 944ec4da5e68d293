"""Instants as senders write them."""

from datetime import UTC, datetime

import pytest

from app.errors import InvalidInputError
from app.notifications.asking.instants import SAID, instant

NOON = datetime(2027, 3, 14, 12, tzinfo=UTC)


def refused(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        instant(text, where="send_at")
    (fault,) = caught.value.faults
    assert fault.where == "send_at"
    return fault.message


@pytest.mark.parametrize(
    "text",
    [
        "2027-03-14T12:00:00Z",
        "2027-03-14t12:00:00.000z",
        "2027-03-14 13:00:00+01:00",
        "2027-03-14T12:00:00Z[Europe/Madrid]",
        "2027-03-14T13:00:00+01:00[Europe/Madrid]",
        "2027-03-14T13:00:00[!Europe/Madrid]",
        "2027-03-14T09:30:00-02:30[America/St_Johns]",
        "2027-03-14T09:30:00[America/St_Johns]",
    ],
)
def test_an_instant_is_spelled_in_many_ways(text: str) -> None:
    assert instant(text, where="send_at") == NOON


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2027-03-14", "2027-03-14T12:00:00", "2027-03-14T12:00Z", "2027-02-30T12:00:00Z", "2027-03-14T24:00:00Z",
        "2027-03-14T12:00:60Z", "2027-03-14T12:00:00+24:00", "2027-03-14T12:00:00+01:60", "0001-01-01T00:00:00+23:00",
        "9999-12-31T23:59:59-01:00", "2027-03-14T12:00:00Z[Europe/Madrid][u-ca=hebrew]", "2027-03-14T12:00:00[]",
        "２027-03-14T12:00:00Z", "9999-12-31T23:59:59[America/New_York]",
    ],
)  # fmt: skip
def test_what_is_no_instant_is_told_what_one_is_like(text: str) -> None:
    assert refused(text) == SAID


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "CEST", "+01:00", "../etc/passwd"])
def test_a_zone_is_one_of_the_database(zone: str) -> None:
    told = refused(f"2027-03-14T12:00:00[{zone}]")
    assert told == SAID or "IANA" in told


def test_an_offset_that_the_zone_does_not_have_then_is_refused_with_the_one_that_it_has() -> None:
    told = refused("2027-07-01T12:00:00+01:00[Europe/Madrid]")
    assert told == "has an offset that Europe/Madrid does not have then: it is at +02:00 at 12:00:00"


def test_a_time_that_is_left_out_in_spring_is_refused_with_those_around_it() -> None:
    told = refused("2027-03-28T02:30:00[Europe/Madrid]")
    assert told == (
        "is a time that Europe/Madrid leaves out that day; 2027-03-28T01:30:00+01:00 or 2027-03-28T03:30:00+02:00 is there"
    )
    assert "leaves out" in refused("2027-03-28T02:30:00+01:00[Europe/Madrid]")


def test_a_time_that_comes_twice_in_autumn_needs_its_offset() -> None:
    told = refused("2027-10-31T02:30:00[Europe/Madrid]")
    assert told == (
        "is a time that Europe/Madrid has twice that day: 2027-10-31T02:30:00+02:00 or 2027-10-31T02:30:00+01:00"
    )
    first = instant("2027-10-31T02:30:00+02:00[Europe/Madrid]", where="send_at")
    second = instant("2027-10-31T02:30:00+01:00[Europe/Madrid]", where="send_at")
    assert (first.hour, second.hour) == (0, 1)
    assert "+02:00 or +01:00" in refused("2027-10-31T02:30:00+03:00[Europe/Madrid]")
