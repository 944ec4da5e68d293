"""Values and their spelling in the audit store."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.values import Kind, Unreadable, Value, parse_value, spell

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
