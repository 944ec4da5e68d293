"""Totals that derived fields depend on: sums over the documents of another entity, one number per key."""

from collections.abc import Iterable

import polars as pl

from app.reconciliation.mapping import Total, mapping_of
from app.reconciliation.scanning.canonical import KEY, ODD, SCALE, Layout, layout_of, spill_of
from app.reconciliation.scanning.compare import DOUBTFUL, TOTAL
from app.reconciliation.values import Kind

_REFERENCE, _FIELD, _WHERE = range(3)
# Rows that are held before they are summed up with the others.
_ROWS_BETWEEN_SUMS = 200_000


def layout_of_total(total: Total) -> Layout:
    """What to read of the entity that is summed up: the reference, the number, and what decides whether it counts."""
    mapping = mapping_of(total.entity)
    names = (total.reference, total.field, total.where_field)
    return layout_of(mapping, [mapping.field_by_name[name] for name in names])


def sum_up(total: Total, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """The frame (key, total in millionths, doubtful) of `frames`, which have the layout of the total.

    A key is doubtful where a record that refers to it cannot be read.
    """
    layout = layout_of_total(total)
    parts: list[pl.DataFrame] = [_nothing(layout)]
    for frame in frames:
        parts.append(_part(total, layout, frame))
        if sum(len(part) for part in parts[1:]) > _ROWS_BETWEEN_SUMS:
            parts = [_merged(parts)]
    return _merged(parts)


def _nothing(layout: Layout) -> pl.DataFrame:
    return pl.DataFrame(schema={KEY: layout.schema[str(_REFERENCE)], TOTAL: pl.Int128, DOUBTFUL: pl.Boolean})


def _part(total: Total, layout: Layout, frame: pl.DataFrame) -> pl.DataFrame:
    number = pl.col(str(_FIELD)).cast(pl.Int128)
    counts = pl.col(str(_WHERE)).cast(pl.String).is_in(total.where_values)
    doubtful = pl.col(ODD).is_not_null() | (counts & pl.col(str(_FIELD)).is_null())
    if layout.columns[_FIELD].kind is Kind.DECIMAL:
        doubtful |= pl.col(spill_of(_FIELD)).is_not_null()
    else:
        number *= 10**SCALE
    rows = frame.filter(pl.col(str(_REFERENCE)).is_not_null() & (counts | doubtful))
    part = rows.select(
        pl.col(str(_REFERENCE)).alias(KEY), number.fill_null(0).alias(TOTAL), doubtful.alias(DOUBTFUL)
    )
    return _merged([part])


def _merged(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(parts).group_by(KEY).agg(pl.col(TOTAL).sum(), pl.col(DOUBTFUL).any())
