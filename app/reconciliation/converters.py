"""Converters ready to be declared: each is exactly reversible and refuses what it could not give back."""

from collections.abc import Mapping as Dictionary
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from app.errors import InvalidInputError
from app.reconciliation.declarations import Converter
from app.reconciliation.values import Kind, Value

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def codes(words: Dictionary[str, str] | Dictionary[int, str]) -> Converter:
    """Codes, all texts or all integers, stored for words: `codes({"C": "Confirmed", "X": "Cancelled"})`.

    A code or a word that is not listed is not converted. Raises InvalidInputError where two codes have the same word.
    """
    by_code: dict[Any, Any] = dict(words)
    by_word = {word: code for code, word in by_code.items()}
    types = {type(code) for code in by_code}
    if len(by_word) < len(by_code) or types not in ({str}, {int}):
        raise InvalidInputError("codes are all texts or all integers, and each has a word of its own")
    pairs = ", ".join(f"{code!r}: {word!r}" for code, word in sorted(words.items(), key=repr))
    return Converter(
        name=f"codes({{{pairs}}})",
        stored=Kind.TEXT if types == {str} else Kind.INTEGER,
        read=by_code.__getitem__,
        write=by_word.__getitem__,
    )


def minor_units(digits: int) -> Converter:
    """Whole numbers stored for decimals: `minor_units(2)` keeps 12.34 as 1234 and refuses 12.345."""

    def read(stored: Value) -> Value:
        return Decimal(f"{stored}E-{digits}")

    def write(value: Value) -> Value:
        if not isinstance(value, Decimal):
            raise ValueError("no decimal")  # noqa: TRY004  (what a converter raises)
        units: Fraction = Fraction(value) * 10**digits
        if units.denominator != 1:
            raise ValueError(f"has more than {digits} decimals")
        return units.numerator

    return Converter(name=f"minor_units({digits})", stored=Kind.INTEGER, read=read, write=write)


def epoch_milliseconds() -> Converter:
    """Milliseconds since 1970 in UTC stored for times."""

    def read(stored: Value) -> Value:
        if not isinstance(stored, int):
            raise ValueError("no integer")  # noqa: TRY004  (what a converter raises)
        return _EPOCH + stored * _MILLISECOND

    def write(value: Value) -> Value:
        if not isinstance(value, datetime):
            raise ValueError("no time")  # noqa: TRY004  (what a converter raises)
        whole, rest = divmod(value - _EPOCH, _MILLISECOND)
        if rest:
            raise ValueError("is finer than a millisecond")
        return whole

    return Converter(name="epoch_milliseconds", stored=Kind.INTEGER, read=read, write=write)
