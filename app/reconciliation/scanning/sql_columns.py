"""Columns of SQL results, as ADBC delivers them, made canonical according to the SQL type that they have."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.canonical import Cells, Column, Layout
from app.reconciliation.scanning.conversion import converted
from app.reconciliation.values import Kind

# Types that are read as text elsewhere too, and that only a cast delivers as such.
_CAST_TO_TEXT = {"json", "jsonb", "xml", "citext"}


@dataclass(frozen=True)
class ColumnReader:
    """One column of a query: its SQL, and what makes a batch of it canonical."""

    expression: str
    read: Callable[[pa.Array], Cells]


def readers_of(cursor: Any, layout: Layout) -> list[ColumnReader]:
    """A reader for the key and for each column, by the types that the store says they have."""
    expressions = [spot.expression for spot in (layout.key, *layout.columns)]
    cursor.execute(f"SELECT {', '.join(expressions)} {layout.source} LIMIT 0")
    fields = cursor.fetch_arrow_table().schema
    cursor.execute("SELECT typname::text FROM pg_type WHERE typtype = 'e'")
    enumerations = {row[0] for row in cursor.fetchall()}
    types = [(field.metadata or {}).get(b"POSTGRESQL:type", b"").decode() for field in fields]
    return [
        _reader(spot, sql_type, enumerations)
        for spot, sql_type in zip((layout.key, *layout.columns), types, strict=True)
    ]


def is_readable(kind: Kind, sql_type: str, *, enumeration: bool) -> bool:
    """Whether columns of an SQL type (its name in pg_type) hold values of this kind."""
    if kind is Kind.TEXT:
        return enumeration or sql_type in _CAST_TO_TEXT or (kind, sql_type) in _READERS
    return (kind, sql_type) in _READERS or (kind, sql_type) == (Kind.DECIMAL, "numeric")


def _reader(spot: Column, sql_type: str, enumerations: set[str]) -> ColumnReader:
    stored = _stored_reader(spot.kind_in_rows, sql_type, spot.expression, enumerations)
    if spot.relational_converter is None:
        return stored
    return ColumnReader(
        stored.expression,
        lambda array: converted(stored.read(array), spot.relational_converter, spot.kind),
    )


def _stored_reader(kind: Kind, sql_type: str, expression: str, enumerations: set[str]) -> ColumnReader:
    if kind is Kind.TEXT and sql_type in _CAST_TO_TEXT | enumerations:
        return ColumnReader(f"({expression})::text", canonical.texts)
    if kind is Kind.DECIMAL and sql_type == "numeric":
        # The server spells a number faster than the driver does.
        return ColumnReader(
            f"({expression})::text", lambda stored: canonical.decimals_of_text(_series(stored))
        )
    read = _READERS.get((kind, sql_type))
    return ColumnReader(expression, read or (lambda stored: canonical.nothing(kind, stored)))


def _series(stored: pa.Array) -> pl.Series:
    found = pl.from_arrow(stored)
    assert isinstance(found, pl.Series)
    return found


def _uuids(stored: pa.Array) -> Cells:
    return canonical.uuids(stored.storage)


def _timestamps(stored: pa.Array) -> Cells:
    return canonical.instants(_series(stored.cast(pa.int64())))


def _dates(stored: pa.Array) -> Cells:
    return canonical.dates(_series(stored.cast(pa.int32())))


# By kind and SQL type, numbers and enumerations apart. What is not here is never of the kind.
_READERS: dict[tuple[Kind, str], Callable[[pa.Array], Cells]] = {
    (Kind.UUID, "uuid"): _uuids,
    (Kind.BOOLEAN, "bool"): canonical.plain,
    (Kind.TIMESTAMP, "timestamptz"): _timestamps,
    (Kind.TIMESTAMP, "timestamp"): _timestamps,
    (Kind.DATE, "date"): _dates,
    **{(Kind.TEXT, name): canonical.texts for name in ("text", "varchar", "bpchar", "name")},
    **{(Kind.INTEGER, name): canonical.plain for name in ("int2", "int4", "int8")},
    **{(Kind.INTEGER, name): canonical.whole_doubles for name in ("float4", "float8")},
}
