"""Comparing the frames of both sides, column by column. Nothing here reads a store.

The verdict is the one that comparing the records one by one gives: a cell differs unless both hold the same value or
both hold none, and what is not of its field's kind always differs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import polars as pl

from app.reconciliation.mapping import Authority, Derived, Field, Mapping, Side
from app.reconciliation.scanning.canonical import KEY, ODD, SCALE, Layout, key_text, layout_of, spill_of
from app.reconciliation.values import Kind

FINDINGS_PER_CALL = 1_000
TOTAL, DOUBTFUL = "total", "doubtful"
_RIGHT = "_r"


class FindingKind(StrEnum):
    """What a scan saw of a key. `unreadable_key` is a record whose key is not of the declared kind.

    `invariant` is what a check saw instead: a record that may break an invariant.
    """

    FIELDS = "fields"
    MISSING_DOCUMENT = "missing_document"
    MISSING_RELATIONAL = "missing_relational"
    UNREADABLE_KEY = "unreadable_key"
    INVARIANT = "invariant"


@dataclass(frozen=True, slots=True)
class Finding:
    """A key that looks different on the two sides, with the fields that do; to be confirmed by reading it again."""

    key: str
    kind: FindingKind
    fields: tuple[str, ...] = ()


class Comparison:
    """The compare of one entity.

    `documents` is the layout of the document side: the compared fields and behind them the derived ones. `relational`
    has the compared fields only. A field has the same index in both.
    """

    def __init__(self, mapping: Mapping) -> None:
        self.mapping = mapping
        self.documents = layout_of(mapping, mapping.compared_fields + mapping.derived_fields)
        self.relational = layout_of(mapping, mapping.compared_fields)

    @cached_property
    def empty(self) -> dict[Side, pl.DataFrame]:
        """What a side without records gives."""
        return {
            Side.DOCUMENT: pl.DataFrame(schema=self.documents.schema),
            Side.RELATIONAL: pl.DataFrame(schema=self.relational.schema),
        }

    @cached_property
    def names(self) -> list[str]:
        return [column.name for column in self.documents.columns]

    def compare(
        self, documents: pl.DataFrame, relational: pl.DataFrame, totals: dict[str, pl.DataFrame] | None = None
    ) -> Iterator[list[Finding]]:
        """Findings of two frames that hold the same range of keys, without null keys, some at a time.

        `totals` holds a frame (key, total in millionths, doubtful) for each derived field.
        """
        joined = _without_duplicates(documents, self.documents).join(
            _without_duplicates(relational, self.relational), on=KEY, how="full", suffix=_RIGHT
        )
        differs = {str(index): self._differs(index) for index in range(len(self.relational.columns))}
        for derived in self.mapping.derived_fields:
            index = self.names.index(derived.name)
            joined = _with_total(joined, (totals or {})[derived.name], index)
            differs[str(index)] = self._derived_differs(derived, index)
        found = joined.with_columns(**{f"differs {name}": each for name, each in differs.items()}).filter(
            pl.any_horizontal(
                *(pl.col(f"differs {name}") for name in differs),
                *(pl.col(name).is_not_null() for name in (ODD, ODD + _RIGHT)),
                *(pl.col(name).is_null() for name in (KEY, KEY + _RIGHT)),
            )
        )
        yield from self._findings(found, list(differs))

    def _differs(self, index: int) -> pl.Expr:
        columns = [str(index)]
        if self.relational.columns[index].kind is Kind.DECIMAL:
            columns.append(spill_of(index))
        return pl.any_horizontal(pl.col(name).ne_missing(pl.col(name + _RIGHT)) for name in columns)

    def _derived_differs(self, field: Field, index: int) -> pl.Expr:
        rule = field.rule
        assert isinstance(rule, Derived)
        base = self.mapping.field_by_name[rule.base]
        assert isinstance(base.rule, Authority)
        at = self.names.index(base.name)
        suffix = "" if base.rule.side is Side.DOCUMENT else _RIGHT
        wanted = _millionths(str(at) + suffix, base.kind) - pl.col(f"{TOTAL} {index}").fill_null(0)
        doubts = [pl.col(f"{DOUBTFUL} {index}").fill_null(value=False), _is_odd(ODD + suffix, at)]
        doubts += [pl.col(spill_of(at) + suffix).is_not_null()] if base.kind is Kind.DECIMAL else []
        doubts += [pl.col(spill_of(index)).is_not_null()] if field.kind is Kind.DECIMAL else []
        return pl.any_horizontal(_millionths(str(index), field.kind).ne_missing(wanted), *doubts)

    def _findings(self, found: pl.DataFrame, indexes: list[str]) -> Iterator[list[Finding]]:
        for part in found.iter_slices(FINDINGS_PER_CALL):
            yield [self._finding(row, indexes) for row in part.iter_rows(named=True)]

    def _finding(self, row: dict[str, Any], indexes: list[str]) -> Finding:
        kind = self.documents.key.kind
        if row[KEY] is None:
            return Finding(key_text(kind, row[KEY + _RIGHT]), FindingKind.MISSING_DOCUMENT)
        if row[KEY + _RIGHT] is None:
            return Finding(key_text(kind, row[KEY]), FindingKind.MISSING_RELATIONAL)
        odd = {name for side in (ODD, ODD + _RIGHT) if row[side] for name in str(row[side]).split(",")}
        fields = tuple(self.names[int(name)] for name in indexes if row[f"differs {name}"] or name in odd)
        return Finding(key_text(kind, row[KEY]), FindingKind.FIELDS, fields)


def unreadable_keys(frame: pl.DataFrame) -> list[Finding]:
    """A finding for each record without a key of the declared kind."""
    shown = frame.filter(pl.col(KEY).is_null())[ODD]
    return [Finding(text or "null", FindingKind.UNREADABLE_KEY) for text in shown]


def _without_duplicates(frame: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """One row per key; where there were several, every field of it counts as unreadable, for none is the record."""
    repeated = frame[KEY].is_duplicated()
    if not repeated.any():
        return frame
    every = ",".join(str(index) for index in range(len(layout.columns)))
    marked = frame.with_columns(
        pl.when(pl.lit(repeated)).then(pl.lit(every)).otherwise(pl.col(ODD)).alias(ODD)
    )
    return marked.unique(KEY, keep="first", maintain_order=True)


def _with_total(joined: pl.DataFrame, totals: pl.DataFrame, index: int) -> pl.DataFrame:
    named = totals.rename({TOTAL: f"{TOTAL} {index}", DOUBTFUL: f"{DOUBTFUL} {index}"})
    return joined.join(named, on=KEY, how="left")


def _millionths(column: str, kind: Kind) -> pl.Expr:
    """A number wide enough for any sum of 64-bit ones; integers and decimals alike."""
    number = pl.col(column).cast(pl.Int128)
    return number if kind is Kind.DECIMAL else number * 10**SCALE


def _is_odd(column: str, index: int) -> pl.Expr:
    listed = pl.concat_str(pl.lit(","), pl.col(column), pl.lit(","))
    return listed.str.contains(f",{index},", literal=True).fill_null(value=False)
