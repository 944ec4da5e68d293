"""What a field's value is, whichever store it came from.

Each kind has one Python type. A missing field and an explicit null are both None. What a store holds that is not of
the field's kind becomes an `Unreadable`: it equals nothing of the other side, so it can never pass for agreement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal, DecimalException
from enum import StrEnum
from typing import Any
from uuid import UUID

from bson.decimal128 import Decimal128


class Kind(StrEnum):
    """Kinds of values; times are UTC and compared at millisecond precision, decimals by value, text exactly."""

    UUID = "uuid"
    TEXT = "text"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    DECIMAL = "decimal"
    TIMESTAMP = "timestamp"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored value that is not of its field's kind, shown as the store's own type and text."""

    shown: str


# PostgreSQL's numeric holds up to 131,072 digits; none may be rounded away.
_EXACT = Context(prec=140_000)
_INTEGERS_END = 2**63
_CENT = Decimal("0.01")
# What asyncpg makes of PostgreSQL's infinities, which no other store has, and writes as such.
_INFINITE_TIMES = {datetime.min, datetime.max}  # noqa: DTZ901  (compared without their zone)
_INFINITE_DATES = {date.min, date.max}
_LONGEST_PLAIN = 40  # digits before the point; longer ones are shown with an exponent

Value = UUID | str | int | bool | Decimal | datetime | date | Unreadable | None
Record = dict[str, Value]


def from_document(kind: Kind, stored: Any) -> Value:
    """The value of a stored BSON value."""
    if stored is None:
        return None
    value = _DOCUMENT_READERS[kind](stored)
    return unreadable(stored) if value is None else value


def from_relational(kind: Kind, stored: Any) -> Value:
    """The value of a stored SQL value, as asyncpg gives it."""
    if stored is None:
        return None
    value = _RELATIONAL_READERS[kind](stored)
    return unreadable(stored) if value is None else value


def to_document(value: Value) -> Any:
    """The BSON value to store; raises ValueError for what the document side cannot hold."""
    match value:
        case Unreadable():
            raise ValueError("it is unreadable")
        case Decimal():
            return Decimal128(value)
        case datetime():
            return value
        case date():
            return datetime.combine(value, time(), UTC)
        case _:
            return value


def to_relational(value: Value) -> Any:
    """The SQL value to store; raises ValueError for what the relational side cannot hold."""
    match value:
        case Unreadable():
            raise ValueError("it is unreadable")
        case date() if _is_infinite(value):
            raise ValueError("it would be stored as an infinity")
        case _:
            return value


def parse_key(kind: Kind, text: str) -> UUID | int | str:
    """The key that `text` spells; raises ValueError where it spells none."""
    if kind is Kind.UUID:
        return UUID(text)
    if kind is Kind.INTEGER:
        number = int(text)
        if not -_INTEGERS_END <= number < _INTEGERS_END:
            raise ValueError(f"{number} is no 64-bit integer")
        return number
    return text


def spell(value: Value) -> Any:
    """The value as JSON: decimals as plain text, times in ISO 8601 with milliseconds, unreadable ones as shown."""
    match value:
        case Unreadable():
            return {"unreadable": value.shown}
        case Decimal():
            return _spell_decimal(value)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            return value


def parse_value(kind: Kind, spelled: Any) -> Value:
    """The value of a field of this kind that `spell` spelled so; raises ValueError where it spells none."""
    match spelled:
        case None:
            return None
        case {"unreadable": str(shown)}:
            return Unreadable(shown)
    try:
        value = _PARSERS[kind](spelled)
    except (ValueError, TypeError, AttributeError, DecimalException):
        value = None
    if spell(value) != spelled:
        raise ValueError(f"{spelled!r} spells no {kind}")
    return value


def _spell_decimal(value: Decimal) -> str:
    """One spelling per value, at least two decimals: 10.5 and 10.500 are 10.50, -0 is 0.00."""
    plain = value.normalize(_EXACT)
    if plain.is_zero():
        return "0.00"
    if plain.adjusted() > _LONGEST_PLAIN:
        return str(plain)
    cents = plain.quantize(_CENT, context=_EXACT)
    return f"{cents if cents == plain else plain:f}"


def instant_of(stored: Any) -> datetime | None:
    """The instant of a stored SQL time, aware and exact; None for what is none, such as PostgreSQL's `infinity`."""
    if not isinstance(stored, datetime) or _is_infinite(stored):
        return None
    # A column without a zone holds UTC, as everything here does.
    return stored.astimezone(UTC) if stored.tzinfo else stored.replace(tzinfo=UTC)


def _is_infinite(stored: date) -> bool:
    """Whether asyncpg has this for an infinity: `date` holds all times too."""
    if isinstance(stored, datetime):
        return stored.replace(tzinfo=None) in _INFINITE_TIMES
    return stored in _INFINITE_DATES


def unreadable(stored: Any) -> Unreadable:
    """What stands for a stored value that is not of its field's kind."""
    return Unreadable(f"{type(stored).__name__} {str(stored)[:80]!r}")


def _only(expected: type) -> Callable[[Any], Any]:
    return lambda stored: stored if isinstance(stored, expected) else None


def _text(stored: Any) -> str | None:
    """Text that both stores can hold: half of a character is what broken bytes decode to, and sly converters give."""
    if not isinstance(stored, str):
        return None
    try:
        stored.encode()
    except UnicodeEncodeError:
        return None
    return stored


def _integer(stored: Any) -> int | None:
    if isinstance(stored, bool):
        return None
    if isinstance(stored, int):
        return int(stored)
    # JavaScript writers store whole numbers as doubles; a fraction is no integer.
    return int(stored) if isinstance(stored, float) and stored.is_integer() else None


def _document_decimal(stored: Any) -> Decimal | None:
    if isinstance(stored, Decimal128):
        return _finite(stored.to_decimal())
    # A double is no money: what it shows is not what it holds.
    return Decimal(stored) if isinstance(stored, int) and not isinstance(stored, bool) else None


def _finite(stored: Any) -> Decimal | None:
    return stored if isinstance(stored, Decimal) and stored.is_finite() else None


def _relational_milliseconds(stored: Any) -> datetime | None:
    instant = instant_of(stored)
    return instant and _milliseconds(instant)


def _milliseconds(stored: Any) -> datetime | None:
    if not isinstance(stored, datetime):
        return None
    instant = stored.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _relational_date(stored: Any) -> date | None:
    return stored if isinstance(stored, date) and not _is_infinite(stored) else None


def _document_date(stored: Any) -> date | None:
    if isinstance(stored, datetime) and stored.astimezone(UTC).time() == time():
        return stored.astimezone(UTC).date()
    return None


_DOCUMENT_READERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.UUID: _only(UUID),
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _only(bool),
    Kind.DECIMAL: _document_decimal,
    Kind.TIMESTAMP: _milliseconds,
    Kind.DATE: _document_date,
}

_RELATIONAL_READERS: dict[Kind, Callable[[Any], Any]] = {
    Kind.UUID: lambda stored: UUID(int=stored.int) if isinstance(stored, UUID) else None,
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.BOOLEAN: _only(bool),
    Kind.DECIMAL: _finite,
    Kind.TIMESTAMP: _relational_milliseconds,
    Kind.DATE: _relational_date,
}

_PARSERS: dict[Kind, Callable[[Any], Value]] = {
    Kind.UUID: UUID,
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.BOOLEAN: bool,
    Kind.DECIMAL: Decimal,
    Kind.TIMESTAMP: datetime.fromisoformat,
    Kind.DATE: date.fromisoformat,
}
