"""Converters: what they read they write, and they refuse what they could not give back."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.errors import InvalidInputError
from app.reconciliation.converters import codes, epoch_milliseconds, minor_units
from app.reconciliation.mapping import Converter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("converter", "stored", "value"),
    [
        (codes({1: "Confirmed"}), 1, "Confirmed"),
        (minor_units(2), 1234, Decimal("12.34")),
        (minor_units(2), -(2**63), Decimal("-92233720368547758.08")),
        (minor_units(0), 5, Decimal(5)),
        (minor_units(3), 5, Decimal("0.0050")),
        (epoch_milliseconds(), -1, datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)),
        (epoch_milliseconds(), 253402300799999, datetime(9999, 12, 31, 23, 59, 59, 999000, UTC)),
    ],
)
def test_a_converter_reads_what_it_writes(converter: Converter, stored: Any, value: Any) -> None:
    assert converter.read(stored) == value
    assert converter.write(value) == stored


@pytest.mark.parametrize(
    ("converter", "value"),
    [
        (codes({"C": "Confirmed"}), "C"),
        (minor_units(2), Decimal("0.001")),
        (minor_units(2), Decimal("12345678901234567890123456789012.345")),
        (minor_units(2), 5),
        (epoch_milliseconds(), NOON + timedelta(microseconds=1)),
        (epoch_milliseconds(), 5),
    ],
)
def test_a_converter_refuses_what_it_could_not_give_back(converter: Converter, value: Any) -> None:
    with pytest.raises((ValueError, KeyError, ArithmeticError)):
        converter.write(value)


@pytest.mark.parametrize("pairs", [{}, {"C": "same", "X": "same"}, {"C": "one", 1: "other"}, {True: "yes"}])
def test_codes_that_cannot_be_told_apart_are_no_converter(pairs: dict[Any, str]) -> None:
    with pytest.raises(InvalidInputError):
        codes(pairs)


def test_the_name_of_codes_shows_their_pairs_whatever_their_order() -> None:
    one, other = codes({"C": "Confirmed", "X": "Cancelled"}), codes({"X": "Cancelled", "C": "Confirmed"})
    assert one.name == other.name == "codes({'C': 'Confirmed', 'X': 'Cancelled'})"
    assert one.name != codes({"C": "Cancelled", "X": "Confirmed"}).name
