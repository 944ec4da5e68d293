"""Columns of a side that stores a field otherwise than it is meant, made cells of the field's own kind."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl

from app.reconciliation.mapping import Converter
from app.reconciliation.scanning.canonical import PHYSICAL, SCALE, Cells, canonical
from app.reconciliation.values import Kind, Value


def converted(cells: Cells, converter: Converter | None, kind: Kind) -> Cells:
    """The cells of a field of `kind` from stored ones of kind `converter.stored`; each distinct value converts once."""
    if converter is None:
        return cells
    stored = pl.DataFrame(
        [cells.values.alias("value"), *([] if cells.spill is None else [cells.spill.alias("spill")])]
    )
    distinct = stored.unique()
    found = [
        canonical(kind, converter.value_of(kind, _value(converter.stored, *row)))
        for row in distinct.iter_rows()
    ]
    made = pl.DataFrame(
        found,
        schema={"cell": PHYSICAL[kind], "rest": pl.String, "odd": pl.Boolean},
        orient="row",
        strict=True,
    )
    wide = stored.join(
        pl.concat([distinct, made], how="horizontal"),
        on=stored.columns,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    odd = wide["odd"] if cells.odd is None else wide["odd"] | cells.odd
    return Cells(wide["cell"], wide["rest"] if kind is Kind.DECIMAL else None, odd)


def _value(kind: Kind, cell: Any, spill: str | None = None) -> Value:
    """The value that a cell and its spill hold, as a reader of single records gives it."""
    if spill is not None:
        return Decimal(spill)
    if cell is None:
        return None
    match kind:
        case Kind.UUID:
            return UUID(int=cell % 2**128)
        case Kind.DECIMAL:
            return Decimal(cell).scaleb(-SCALE)
        case Kind.TIMESTAMP:
            moment: datetime = cell.replace(tzinfo=UTC)
            return moment
        case _:
            plain: Value = cell
            return plain
