"""Records as columns: one Polars frame layout for both sides, in which equal values are equal cells.

A frame has the column ``key``, one or two columns per field and ``odd``. A field's first column holds its value as

    uuid       Int128, the 128 bits read as a signed number      boolean    Boolean
    text       String                                            timestamp  Datetime("ms"), floored
    integer    Int64                                             date       Date
    decimal    Int64, in millionths, where that is exact and fits; else null

A decimal has a second column (String) with the canonical spelling of the values that the first one cannot hold.
Nothing passes through a float. Missing is null. ``odd`` lists the indexes of the fields whose value is not of their
kind ("0,4"), or is null; where the key itself is not, the key is null and ``odd`` shows it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
import polars as pl
import pyarrow as pa
from bson.decimal128 import Decimal128

from app.reconciliation.mapping import Converter, Field, Mapping, SoftDelete
from app.reconciliation.sides import relational
from app.reconciliation.values import Kind, Unreadable, Value

KEY, ODD = "key", "odd"
SCALE = 6
_INT64_MAX = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
MILLISECONDS_PER_DAY = 86_400_000
# What Python's datetime can hold; anything else is unreadable in the single-record compare.
_FIRST_MILLISECOND = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_LAST_MILLISECOND = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_FIRST_MICROSECOND, _LAST_MICROSECOND = _FIRST_MILLISECOND * 1000, _LAST_MILLISECOND * 1000 + 999
_FIRST_DAY, _LAST_DAY = (day.toordinal() - date(1970, 1, 1).toordinal() for day in (date.min, date.max))
# Both bits below the sign are set for infinities, NaN and a form that always means zero.
_SPECIAL = 3 << 61
_POWERS = np.array([10**n for n in range(19)], dtype=np.int64)
_LIMITS = np.array([_INT64_MAX // 10**n for n in range(19)], dtype=np.int64)

PHYSICAL: dict[Kind, Any] = {
    Kind.UUID: pl.Int128,
    Kind.TEXT: pl.String,
    Kind.INTEGER: pl.Int64,
    Kind.BOOLEAN: pl.Boolean,
    Kind.DECIMAL: pl.Int64,
    Kind.TIMESTAMP: pl.Datetime("ms"),
    Kind.DATE: pl.Date,
}


@dataclass(frozen=True)
class Column:
    """A field as it is read: its path in documents, its SQL expression in the query of the layout."""

    name: str
    kind: Kind
    path: str
    expression: str = ""
    document_converter: Converter | None = None
    relational_converter: Converter | None = None

    @property
    def kind_in_documents(self) -> Kind:
        return self.document_converter.stored if self.document_converter else self.kind

    @property
    def kind_in_rows(self) -> Kind:
        return self.relational_converter.stored if self.relational_converter else self.kind


@dataclass(frozen=True)
class Layout:
    """What to read of an entity, and how the frames of it look.

    `source` is the FROM clause of its rows and `live` the condition of those that are not marked as deleted, empty
    where none is; `marker` is where a document that is marked says so.
    """

    collection: str
    table: str
    source: str
    key: Column
    columns: tuple[Column, ...]
    marker: SoftDelete | None = None
    live: str = ""

    @property
    def paths(self) -> list[str]:
        """Everything that is read of a document."""
        marker = [self.marker.at] if self.marker else []
        return [self.key.path, *(column.path for column in self.columns), *marker]

    @cached_property
    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {KEY: PHYSICAL[self.key.kind]}
        for index, column in enumerate(self.columns):
            found[str(index)] = PHYSICAL[column.kind]
            if column.kind is Kind.DECIMAL:
                found[spill_of(index)] = pl.String
        return found | {ODD: pl.String}


def layout_of(mapping: Mapping, fields: Sequence[Field]) -> Layout:
    """The layout of these fields of a mapping; those that only documents keep have no expression."""
    key = Column(KEY, mapping.key_kind, mapping.key_document, f'{mapping.table}."{mapping.key_relational}"')
    columns = tuple(
        Column(
            each.name,
            each.kind,
            each.path,
            relational.column(mapping, each) if each.expression else "",
            each.document_converter,
            each.relational_converter,
        )
        for each in fields
    )
    return Layout(
        mapping.collection,
        mapping.table,
        relational.from_clause(mapping),
        key,
        columns,
        mapping.document_deleted,
        _live(mapping),
    )


def _live(mapping: Mapping) -> str:
    marker = mapping.relational_deleted
    if marker is None:
        return ""
    return f'{mapping.table}."{marker.at}" {"IS NULL" if marker.kind is Kind.TIMESTAMP else "IS NOT TRUE"}'


def spill_of(index: int) -> str:
    """The second column of the decimal with this index."""
    return f"{index}+"


@dataclass(frozen=True)
class Cells:
    """One column of a frame while it is built; `odd` marks the values that are not of the kind, None where none is."""

    values: pl.Series
    spill: pl.Series | None = None
    odd: pl.Series | None = None


def assemble(layout: Layout, key: Cells, cells: Sequence[Cells]) -> pl.DataFrame:
    """The frame of these columns, in the layout's order."""
    series = [key.values.alias(KEY)]
    odd: list[pl.Series] = []
    for index, each in enumerate(cells):
        series.append(each.values.alias(str(index)))
        if each.spill is not None:
            series.append(each.spill.alias(spill_of(index)))
        if each.odd is not None and each.odd.any():
            odd.append(each.odd.alias(str(index)))
    frame = pl.DataFrame(series)
    return frame.with_columns(_list_odd(odd).alias(ODD)).cast(pl.Schema(layout.schema))


def _list_odd(odd: list[pl.Series]) -> pl.Expr:
    if not odd:
        return pl.lit(None, dtype=pl.String)
    names = [pl.when(pl.lit(each)).then(pl.lit(each.name)) for each in odd]
    return pl.concat_str(names, separator=",", ignore_nulls=True).replace("", None)


def frame_of_records(layout: Layout, records: Iterable[tuple[Value, Sequence[Value]]]) -> pl.DataFrame:
    """The frame of (key, values) pairs that were read one by one."""
    rows = [_row(layout, key, values) for key, values in records]
    return pl.DataFrame(rows, schema=layout.schema, orient="row", strict=True)


def _row(layout: Layout, key: Value, values: Sequence[Value]) -> list[Any]:
    cell, _spill, odd_key = canonical(layout.key.kind, key)
    row: list[Any] = [cell]
    odd: list[str] = []
    for index, (column, value) in enumerate(zip(layout.columns, values, strict=True)):
        cell, spill, is_odd = canonical(column.kind, value)
        row += [cell, spill] if column.kind is Kind.DECIMAL else [cell]
        odd += [str(index)] if is_odd else []
    if odd_key:
        return [*row, key.shown if isinstance(key, Unreadable) else repr(key)]
    return [*row, ",".join(odd) or None]


def canonical(kind: Kind, value: Value) -> tuple[Any, str | None, bool]:
    """(cell, spill, odd) of one value as `values.py` reads it."""
    if value is None:
        return None, None, False
    if isinstance(value, Decimal):
        return *canonical_decimal(value), False
    cell = _cell(kind, value)
    return cell, None, cell is None


def _cell(kind: Kind, value: Value) -> Any:
    """What a column holds of a value; None where it is not of the kind or the column cannot hold it."""
    match value:
        case UUID():
            return _signed(value.int)
        case int() if isinstance(value, bool) or -_INT64_MAX - 1 <= value <= _INT64_MAX:
            return value
        case datetime() if kind is Kind.TIMESTAMP:
            return (value - _EPOCH) // _MILLISECOND
        # A subclass, such as stored code or a time where a date should be, never equals the plain thing.
        case date() | str() if type(value) in {date, str}:
            return value
        case _:
            return None


def canonical_decimal(value: Decimal) -> tuple[int | None, str | None]:
    """(millionths, None) where they are whole and fit 64 bits, else (None, spelling); equal values, equal pairs."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    # As text, because a coefficient may have more digits than Python agrees to read as a number.
    spelled = "".join(map(str, digits)).lstrip("0")
    coefficient = spelled.rstrip("0")
    exponent += len(spelled) - len(coefficient)
    if not coefficient:
        return 0, None
    shift = exponent + SCALE
    if shift >= 0 and len(coefficient) + shift <= len(str(_INT64_MAX)):
        millionths = int(coefficient) * 10**shift
        if millionths <= _INT64_MAX:
            return (-millionths if sign else millionths), None
    return None, f"{'-' if sign else ''}{coefficient}E{exponent}"


def _signed(number: int) -> int:
    return number - 2**128 if number >= 2**127 else number


def key_text(kind: Kind, cell: Any) -> str:
    """The key that a cell of the column ``key`` holds, as text."""
    return str(UUID(int=cell % 2**128)) if kind is Kind.UUID else str(cell)


def uuids(stored: pa.Array) -> Cells:
    """From 16-byte binaries."""
    return Cells(_series(stored).bin.reinterpret(dtype=pl.Int128, endianness="big"))


def texts(stored: pa.Array) -> Cells:
    """From strings; raises pyarrow.ArrowInvalid where one is no valid UTF-8."""
    stored.validate(full=True)
    return Cells(_series(stored))


def plain(stored: pa.Array) -> Cells:
    """From integers and booleans, which need no conversion."""
    return Cells(_series(stored))


def whole_doubles(stored: pa.Array) -> Cells:
    """Integers from floats: exact ones only."""
    found = _series(stored).cast(pl.Float64)
    whole = (found.floor() == found) & (found >= -(2.0**63)) & (found < 2.0**63)
    return Cells(_where(whole, found).cast(pl.Int64), odd=~whole)


def timestamps(milliseconds: pl.Series) -> Cells:
    """From milliseconds since 1970 (Int64), within the years 1 to 9999."""
    fine = milliseconds.is_between(_FIRST_MILLISECOND, _LAST_MILLISECOND)
    return Cells(_where(fine, milliseconds).cast(pl.Datetime("ms")), odd=~fine)


def instants(microseconds: pl.Series) -> Cells:
    """From microseconds since 1970 (Int64), rounded down to milliseconds, also before 1970.

    The ends of the years 1 to 9999 are odd: asyncpg cannot tell them from infinities.
    """
    fine = microseconds.is_between(_FIRST_MICROSECOND, _LAST_MICROSECOND, closed="none")
    return Cells(_where(fine, microseconds // 1000).cast(pl.Datetime("ms")), odd=~fine)


def midnights(milliseconds: pl.Series) -> Cells:
    """Dates from milliseconds since 1970 (Int64) that must be midnights."""
    fine = (milliseconds % MILLISECONDS_PER_DAY == 0) & milliseconds.is_between(
        _FIRST_MILLISECOND, _LAST_MILLISECOND
    )
    days = _where(fine, milliseconds) // MILLISECONDS_PER_DAY
    return Cells(days.cast(pl.Int32).cast(pl.Date), odd=~fine)


def dates(days: pl.Series) -> Cells:
    """From days since 1970 (Int32), between the ends of the years 1 to 9999, which asyncpg takes for infinities."""
    fine = days.is_between(_FIRST_DAY, _LAST_DAY, closed="none")
    return Cells(_where(fine, days).cast(pl.Date), odd=~fine)


def nothing(kind: Kind, stored: pa.Array) -> Cells:
    """For a column that is never of its kind: whatever is there is odd."""
    empty = pl.Series([None], dtype=PHYSICAL[kind]).new_from_index(0, len(stored))
    spill = pl.Series([None], dtype=pl.String).new_from_index(0, len(stored))
    present = _series(stored.is_valid())
    return Cells(empty, spill if kind is Kind.DECIMAL else None, present)


def decimals_of_bid(stored: pa.Array) -> Cells:
    """From the 16 bytes of Decimal128, which hold sign, exponent and coefficient (binary integer decimal)."""
    words = np.frombuffer(stored.buffers()[1], "<u8")[2 * stored.offset :][: 2 * len(stored)].reshape(-1, 2)
    low, high = words[:, 0], words[:, 1]
    shift = ((high >> 49) & 0x3FFF).astype(np.int64) - 6176 + SCALE
    easy = (
        (high & _SPECIAL != _SPECIAL)
        & (high & 0x1_FFFF_FFFF_FFFF == 0)
        & (shift >= 0)
        & (shift < len(_POWERS))
    )
    shift = np.where(easy, shift, 0)
    easy &= low <= _LIMITS[shift].astype(np.uint64)
    found = np.where(easy, low, 0).astype(np.int64) * _POWERS[shift] * np.where(high >> 63, -1, 1)
    present = stored.is_valid().to_numpy(zero_copy_only=False)
    hard = np.flatnonzero(present & ~easy)
    raw = words.tobytes()
    read = [Decimal128.from_bid(raw[16 * at : 16 * at + 16]).to_decimal() for at in hard]
    return _decimals(found, present & easy, hard, read)


def decimals_of_text(stored: pl.Series) -> Cells:
    """From the plain spelling of PostgreSQL: digits, point, digits; or NaN and infinities."""
    point = stored.str.find(".", literal=True)
    decimal_places = (stored.str.len_bytes() - point - 1).fill_null(0).to_numpy().astype(np.int64)
    digits = stored.str.replace(".", "", literal=True).cast(pl.Int64, strict=False)
    present = stored.is_not_null().to_numpy()
    number = digits.fill_null(0).to_numpy()
    easy = digits.is_not_null().to_numpy() & (decimal_places <= SCALE)
    shift = np.where(easy, SCALE - decimal_places, 0)
    # Both ends, because the absolute value of the least integer is negative.
    easy &= (number <= _LIMITS[shift]) & (number >= -_LIMITS[shift])
    hard = np.flatnonzero(present & ~easy)
    read = [Decimal(text) for text in stored.gather(hard)]
    return _decimals(np.where(easy, number, 0) * _POWERS[shift], easy, hard, read)


def _decimals(found: Any, easy: Any, hard: Any, read: list[Decimal]) -> Cells:
    """`found` where `easy`; at the places `hard` what was read one by one."""
    values = _where(pl.Series(easy), pl.Series(found))
    spill = pl.Series([None], dtype=pl.String).new_from_index(0, len(values))
    if not len(hard):
        return Cells(values, spill)
    pairs = [canonical_decimal(each) if each.is_finite() else (None, None) for each in read]
    odd = np.zeros(len(values), bool)
    odd[hard] = [not each.is_finite() for each in read]
    values = values.scatter(hard, pl.Series([pair[0] for pair in pairs], dtype=pl.Int64))
    spill = spill.scatter(hard, pl.Series([pair[1] for pair in pairs], dtype=pl.String))
    return Cells(values, spill, pl.Series(odd))


def _series(stored: pa.Array) -> pl.Series:
    found = pl.from_arrow(stored)
    assert isinstance(found, pl.Series)
    return found


def _where(keep: pl.Series, values: pl.Series) -> pl.Series:
    return values.set(~keep, None)
