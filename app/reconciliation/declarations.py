"""What a mapping is made of: fields, the rules that say which side is right, converters, markers, joins, references."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Context, Decimal
from enum import StrEnum

from app.reconciliation.values import Kind, Unreadable, Value, from_relational, unreadable

# A column of the mapped table itself: what may be written.
COLUMN = re.compile(r"[a-z_][a-z0-9_]*\Z")
# As many digits as PostgreSQL's numeric: none may be rounded away.
_EXACT = Context(prec=140_000)
_INTEGERS_END = 2**63


class Side(StrEnum):
    DOCUMENT = "document"
    RELATIONAL = "relational"

    @property
    def other(self) -> "Side":
        return Side.RELATIONAL if self is Side.DOCUMENT else Side.DOCUMENT


@dataclass(frozen=True)
class Authority:
    """The side that is right for a field."""

    side: Side


@dataclass(frozen=True)
class Precedence:
    """(winner, loser) pairs of values, whichever side has them; what no pair settles goes to review."""

    beats: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Total:
    """A sum over the records of another entity that refer to this one, counted on the document side."""

    entity: str
    reference: str
    field: str
    where_field: str
    where_values: tuple[str, ...]


@dataclass(frozen=True)
class Derived:
    """A document field that must equal another field of the record, by its authority, less a total."""

    base: str
    less: Total


@dataclass(frozen=True)
class Review:
    """Neither side is right by rule: an operator decides."""


Rule = Authority | Precedence | Derived | Review


class Missing(StrEnum):
    """What to do when one side lacks a record: create it there, remove it from the other side, or ask."""

    CREATE = "create"
    REMOVE = "remove"
    REVIEW = "review"


@dataclass(frozen=True)
class Converter:
    """How one side stores a field otherwise than the mapping means it: codes for words, cents for an amount.

    `read` makes the field's value of a stored one of kind `stored`, `write` the reverse; both are pure, are never
    given a missing value nor answer with one, and raise ValueError for what they cannot convert. `name` tells one
    converter from another: it stands for both functions in the hash of a mapping. Readers call `value_of`.
    """

    name: str
    stored: Kind
    read: Callable[[Value], Value] = field(repr=False, compare=False)
    write: Callable[[Value], Value] = field(repr=False, compare=False)

    def value_of(self, kind: Kind, stored: Value) -> Value:
        """The value of a field of `kind`; Unreadable where `read` fails or answers with something of another kind."""
        if stored is None or isinstance(stored, Unreadable):
            return stored
        value = None
        with suppress(ValueError, KeyError, ArithmeticError):
            value = _of_kind(kind, self.read(_plainest(stored)))
        # A converter that makes nothing of something would make it agree with a missing value.
        return unreadable(stored) if value is None else value


def _plainest(stored: Value) -> Value:
    """The one form of equal values, so that no converter can tell 12.5 from 12.50."""
    if isinstance(stored, Decimal):
        return stored.normalize(_EXACT) if stored else Decimal(0)
    # Stored code is text to Python, but equals none; a whole double may be past what a column of integers holds.
    if isinstance(stored, str) and type(stored) is not str:
        raise ValueError(f"{type(stored).__name__} is no text")
    if isinstance(stored, int) and not -_INTEGERS_END <= stored < _INTEGERS_END:
        raise ValueError("past 64 bits")
    return stored


def _of_kind(kind: Kind, value: Value) -> Value:
    """The value as every reader gives those of this kind, None where it is of another."""
    found = from_relational(kind, value)
    match found:
        case Unreadable() | None:
            return None
        case datetime() if kind is Kind.DATE:
            return None
        case int() if not -_INTEGERS_END <= found < _INTEGERS_END:
            return None
        case str():
            return str.__str__(found)  # of a member of an enumeration
        case _:
            return found


@dataclass(frozen=True)
class SoftDelete:
    """A marker that makes a record count as absent although a side still has it.

    `at` is a dotted path or a plain column, of kind timestamp (set: deleted then) or boolean (true: deleted). One
    rule for every reader and both kinds: whatever is stored there deletes the record, unless it is missing, null or
    false itself (so 0, "" and a time out of range do delete). A path that leads through something that is no
    subdocument holds nothing: the record lives.
    """

    at: str
    kind: Kind = Kind.TIMESTAMP

    @staticmethod
    def deletes(stored: object) -> bool:
        """Whether a marker that holds this, as the store's driver gives it, makes its record count as absent."""
        return stored is not None and stored is not False


@dataclass(frozen=True)
class Field:
    """One field of an entity.

    `document` is a dotted path, `relational` a column of the mapped table or an SQL expression over its joins; both
    default to the name. A converter says how that side stores it where that is not its kind. `personal` marks what
    tells about a person.
    """

    name: str
    kind: Kind
    rule: Rule
    document: str = ""
    relational: str | None = ""
    personal: bool = False
    document_converter: Converter | None = None
    relational_converter: Converter | None = None

    @property
    def path(self) -> str:
        return self.document or self.name

    @property
    def expression(self) -> str | None:
        """Where the relational side keeps it; None for what it does not keep."""
        return self.name if self.relational == "" else self.relational


@dataclass(frozen=True)
class Join:
    """A table joined to the mapped one; its `updated_at` makes the joined record suspect too."""

    table: str
    on: str
    updated_at: str = "updated_at"


@dataclass(frozen=True)
class Reference:
    """A field that holds the key of a record of another entity, which must exist first."""

    field: str
    entity: str


@dataclass(frozen=True)
class Source:
    """Documents of another collection whose change makes a record of this entity suspect: `key` leads to it."""

    collection: str
    key: str
    updated_at: str = "updated_at"


def is_plain(each: Field) -> bool:
    """Whether a field is a column of the mapped table itself, which alone can be written."""
    return bool(each.expression and COLUMN.match(each.expression))
