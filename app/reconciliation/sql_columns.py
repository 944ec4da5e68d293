"""Columns of SQL results, as ADBC delivers them, made canonical according to the SQL type that they have."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from app.reconciliation import canonical
from app.reconciliation.canonical import Cells, Column, Layout
from app.reconciliation.values import Kind

_PLAIN_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGERS = {"int2", "int4", "int8"}
_FLOATS = {"float4", "float8"}
_TEXTS = {"text", "varchar", "bpchar", "name"}
# Types that are read as text elsewhere too, and that only a cast delivers as such.
_CAST_TO_TEXT = {"json", "jsonb", "xml", "citext"}


@dataclass(frozen=True)
class ColumnReader:
    """One column of a query: its SQL, and what makes a batch of it canonical."""

    expression: str
    read: Callable[[pa.Array], Cells]


def readers_of(cursor: Any, layout: Layout, from_clause: str) -> list[ColumnReader]:
    """A reader for the key and for each column, by the types that the store says they have."""
    expressions = [qualified(layout, spot) for spot in (layout.key, *layout.columns)]
    cursor.execute(f"SELECT {', '.join(expressions)} FROM {from_clause} LIMIT 0")
    fields = cursor.fetch_arrow_table().schema
    cursor.execute("SELECT typname::text FROM pg_type WHERE typtype = 'e'")
    enumerations = {row[0] for row in cursor.fetchall()}
    return [
        _reader(spot.kind, (field.metadata or {}).get(b"POSTGRESQL:type", b"").decode(), expression, enumerations)
        for spot, field, expression in zip((layout.key, *layout.columns), fields, expressions, strict=True)
    ]


def qualified(layout: Layout, spot: Column) -> str:
    """The SQL of a column; a plain name is one of the mapped table, whatever the joined ones have."""
    return f"{layout.table}.{spot.expression}" if _PLAIN_COLUMN.fullmatch(spot.expression) else spot.expression


def _reader(kind: Kind, sql_type: str, expression: str, enumerations: set[str]) -> ColumnReader:
    as_text = f"({expression})::text"
    match kind:
        case Kind.UUID if sql_type == "uuid":
            return ColumnReader(expression, lambda stored: canonical.uuids(stored.storage))
        case Kind.TEXT if sql_type in _TEXTS:
            return ColumnReader(expression, canonical.texts)
        case Kind.TEXT if sql_type in _CAST_TO_TEXT | enumerations:
            return ColumnReader(as_text, canonical.texts)
        case Kind.INTEGER if sql_type in _INTEGERS:
            return ColumnReader(expression, canonical.plain)
        case Kind.INTEGER if sql_type in _FLOATS:
            return ColumnReader(expression, canonical.whole_doubles)
        case Kind.BOOLEAN if sql_type == "bool":
            return ColumnReader(expression, canonical.plain)
        case Kind.DECIMAL if sql_type == "numeric":
            # The server spells a number faster than the driver does.
            return ColumnReader(as_text, lambda stored: canonical.decimals_of_text(_numbers(stored)))
        case Kind.TIMESTAMP if sql_type in {"timestamptz", "timestamp"}:
            return ColumnReader(expression, lambda stored: canonical.timestamps(_numbers(stored, pa.int64()) // 1000))
        case Kind.DATE if sql_type == "date":
            return ColumnReader(expression, lambda stored: canonical.dates(_numbers(stored, pa.int32())))
        case _:
            return ColumnReader(expression, lambda stored: canonical.nothing(kind, stored))


def _numbers(stored: pa.Array, physical: pa.DataType | None = None) -> pl.Series:
    found = pl.from_arrow(stored.cast(physical) if physical else stored)
    assert isinstance(found, pl.Series)
    return found
