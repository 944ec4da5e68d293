"""Values and their spelling in the audit store."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.values import (
    Kind,
    Unreadable,
    Value,
    from_document,
    from_relational,
    parse_key,
    parse_value,
    spell,
    to_relational,
)

MILLISECONDS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
OF_KIND: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.UUID: st.uuids(),
    Kind.TEXT: st.text(),
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.BOOLEAN: st.booleans(),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False) | st.decimals(-(10**9), 10**9, places=2),
    Kind.TIMESTAMP: MILLISECONDS,
    Kind.DATE: st.dates(),
}


@given(st.data())
def test_what_is_spelled_is_read_back_exactly(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(Kind)))
    value = data.draw(OF_KIND[kind] | st.none() | st.builds(Unreadable, st.text()))

    read = parse_value(kind, json.loads(json.dumps(spell(value))))

    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "spelled"),
    [
        (Kind.UUID, "7"),
        (Kind.UUID, 7),
        (Kind.TEXT, 7),
        (Kind.INTEGER, "7"),
        (Kind.INTEGER, 7.5),
        (Kind.BOOLEAN, "yes"),
        (Kind.DECIMAL, "ten"),
        (Kind.DECIMAL, 10.5),
        (Kind.TIMESTAMP, "2026-01-01"),
        (Kind.TIMESTAMP, "today"),
        (Kind.DATE, "2026-01-01T00:00:00.000Z"),
        (Kind.DATE, {}),
    ],
)
def test_what_spells_no_value_of_the_kind_is_refused(kind: Kind, spelled: object) -> None:
    with pytest.raises(ValueError, match="spells no"):
        parse_value(kind, spelled)


def test_the_spelling_of_each_kind() -> None:
    assert spell(Decimal("10.5")) == "10.50"
    assert spell(date(2026, 1, 2)) == "2026-01-02"
    assert spell(datetime(2026, 1, 2, 3, tzinfo=UTC)) == "2026-01-02T03:00:00.000Z"
    assert spell(UUID(int=1)) == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize("number", [-(2**63), -1, 2**63 - 1])
def test_every_integer_of_64_bits_is_a_key(number: int) -> None:
    assert parse_key(Kind.INTEGER, str(number)) == number


@pytest.mark.parametrize("number", [-(2**63) - 1, 2**63])
def test_an_integer_past_64_bits_is_no_key(number: int) -> None:
    with pytest.raises(ValueError, match="no 64-bit integer"):
        parse_key(Kind.INTEGER, str(number))


FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (Kind.DATE, date.min),
        (Kind.DATE, date.max),
        (Kind.TIMESTAMP, FIRST),
        (Kind.TIMESTAMP, LAST),
        (Kind.TIMESTAMP, FIRST.replace(tzinfo=None)),
        (Kind.TIMESTAMP, LAST.replace(tzinfo=None)),
    ],
)
def test_what_a_driver_has_for_an_infinity_is_unreadable_and_never_stored(kind: Kind, end: date) -> None:
    assert isinstance(from_relational(kind, end), Unreadable)
    with pytest.raises(ValueError, match="infinity"):
        to_relational(end)


def test_documents_hold_the_first_and_last_days_themselves() -> None:
    assert from_document(Kind.TIMESTAMP, FIRST) == FIRST
    assert from_document(Kind.DATE, FIRST) == date.min
    assert from_document(Kind.DATE, datetime(9999, 12, 31, tzinfo=UTC)) == date.max


@pytest.mark.parametrize("broken", ["\ud800", "a\udcffb"])
def test_half_a_character_is_no_text(broken: str) -> None:
    assert isinstance(from_document(Kind.TEXT, broken), Unreadable)
    assert isinstance(from_relational(Kind.TEXT, broken), Unreadable)
