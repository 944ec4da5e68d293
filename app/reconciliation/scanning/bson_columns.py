"""BSON as columns: batches of raw documents become canonical frames.

The column decoder converts silently in a few cases (a double to an integer, anything to an empty subdocument, …), and
takes a field that a document holds twice for two documents' fields. So every batch is first searched for such; documents
that may hold one are decoded one by one instead, exactly as the single-record compare reads them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pymongoarrow.api import Schema
from pymongoarrow.context import PyMongoArrowContext
from pymongoarrow.types import BinaryType, Decimal128Type

from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.canonical import Cells, Column, Layout
from app.reconciliation.scanning.conversion import converted
from app.reconciliation.scanning.repeats import Positions, repeating, starts_of
from app.reconciliation.sides.bson_records import (
    CODEC,
    Document,
    decode_document,
    documents_of,
    stored_at,
    value_at,
)
from app.reconciliation.sides.stored_values import read_document_value
from app.reconciliation.values import Kind, Unreadable, Value

_ARROW_TYPES: dict[Kind, Any] = {
    Kind.UUID: BinaryType(4),
    Kind.TEXT: pa.string(),
    Kind.INTEGER: pa.int64(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.DECIMAL: Decimal128Type(),
    Kind.TIMESTAMP: pa.timestamp("ms"),
    Kind.DATE: pa.timestamp("ms"),
}


class DocumentDecoder:
    """Turns raw BSON, one document after the other, into a frame of `layout`. Equal in effect to `value_at`."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        columns = (replace(column, kind=column.kind_in_documents) for column in layout.columns)
        marker = [Column("", layout.marker.kind, layout.marker.at)] if layout.marker else []
        self._spots = (layout.key, *columns, *marker)
        self._tree: Document = {}
        for spot in self._spots:
            *parents, leaf = spot.path.split(".")
            branch = self._tree
            for name in parents:
                branch = branch.setdefault(name, {})
            branch[leaf] = _ARROW_TYPES[spot.kind]
        self._schema = Schema({name: _arrow_type(branch) for name, branch in self._tree.items()})
        self._silent = _silent_patterns(self._spots)
        self._refused = _refused_pattern(self._spots)

    def decode(self, raw: bytes) -> pl.DataFrame:
        """The frame of a batch; documents that are no plain case are read one by one."""
        starts = starts_of(raw)
        single = repeating(raw, starts, self._tree) | _matching(self._silent, raw, starts)
        if not single:
            try:
                return self._decode_columns(raw)
            except (TypeError, ValueError):
                # Some value is of a type that the column decoder refuses; it does not say which.
                single = _matching([self._refused], raw, starts)
        return self._decode_around(raw, single)

    def _decode_around(self, raw: bytes, single: set[int]) -> pl.DataFrame:
        documents = list(documents_of(raw))
        rest = b"".join(each for at, each in enumerate(documents) if at not in single)
        frames = [self._decode_singly([documents[at] for at in sorted(single)])]
        try:
            frames.append(self._decode_columns(rest))
        except (TypeError, ValueError):
            return self._decode_singly(documents)
        return pl.concat(frames)

    def _decode_columns(self, raw: bytes) -> pl.DataFrame:
        context = PyMongoArrowContext(self._schema, codec_options=CODEC)
        context.process_bson_stream(raw)
        table = context.finish()
        leaves = [_leaf(table, spot.path) for spot in self._spots]
        cells = (
            converted(_cells_of_bson(spot.kind, stored), column.document_converter, column.kind)
            for column, spot, stored in zip(self.layout.columns, self._spots[1:], leaves[1:], strict=False)
        )
        key = _cells_of_bson(self.layout.key.kind, leaves[0])
        if self.layout.key.kind is Kind.TEXT and key.values.str.contains(_NUL, literal=True).any():
            raise ValueError("a key that is none")
        frame = canonical.assemble(self.layout, key, list(cells))
        return frame.filter(_lives(leaves[-1])) if self.layout.marker else frame

    def _decode_singly(self, documents: Sequence[bytes]) -> pl.DataFrame:
        found = (self._read(each) for each in documents)
        return canonical.frame_of_records(self.layout, (each for each in found if each))

    def _read(self, raw: bytes) -> tuple[Value, list[Value]] | None:
        """The key and the values of a document, None where it is marked as deleted."""
        document = decode_document(raw)
        marker = self.layout.marker
        if marker and marker.deletes(stored_at(document, marker.at)):
            return None
        key = value_at(document, self.layout.key.kind, self.layout.key.path)
        if isinstance(key, str) and _NUL in key:
            key = Unreadable(f"str {key!r}")
        return key, [read_document_value(column, document) for column in self.layout.columns]


def _lives(marker: pa.Array) -> pl.Series:
    """Which documents are not marked as deleted, by a marker that is a time, true or false, or nothing."""
    stored = canonical.plain(marker if pa.types.is_boolean(marker.type) else marker.is_valid())
    return ~stored.values.fill_null(False)


def _arrow_type(branch: Any) -> Any:
    if not isinstance(branch, dict):
        return branch
    return pa.struct([(name, _arrow_type(each)) for name, each in branch.items()])


def _leaf(table: pa.Table, path: str) -> pa.Array:
    first, *names = path.split(".")
    held = table.column(first).combine_chunks()
    for name in names:
        held = held.field(name)
    return held


def _cells_of_bson(kind: Kind, stored: pa.Array) -> Cells:
    match kind:
        case Kind.UUID:
            return canonical.uuids(stored.storage)
        case Kind.TEXT:
            return canonical.texts(stored)
        case Kind.INTEGER | Kind.BOOLEAN:
            return canonical.plain(stored)
        case Kind.DECIMAL:
            return canonical.decimals_of_bid(stored.storage)
        case Kind.TIMESTAMP:
            return canonical.timestamps(canonical.plain(stored.cast(pa.int64())).values)
        case Kind.DATE:
            return canonical.midnights(canonical.plain(stored.cast(pa.int64())).values)


# The type byte that stands before a field's name in BSON.
_DOUBLE, _SUBDOCUMENT, _BINARY, _BOOLEAN, _NULL = 0x01, 0x03, 0x05, 0x08, 0x0A
_EVERY_TYPE = frozenset({*range(0x01, 0x14), 0x7F, 0xFF})
_DECODED: dict[Kind, frozenset[int]] = {
    Kind.UUID: frozenset({_BINARY}),
    Kind.TEXT: frozenset({0x02}),
    Kind.INTEGER: frozenset({0x10, 0x12}),
    Kind.BOOLEAN: frozenset({_BOOLEAN}),
    Kind.DECIMAL: frozenset({0x13}),
    Kind.TIMESTAMP: frozenset({0x09}),
    Kind.DATE: frozenset({0x09}),
}
# No PostgreSQL text holds it: a key with it can be in no table and in no finding.
_NUL = "\0"
# Length 16, subtype 4.
_NO_UUID = rb"(?!\x10\x00\x00\x00\x04)"


def _silent_patterns(spots: Sequence[Column]) -> list[re.Pattern[bytes]]:
    """Patterns that match wherever the column decoder would convert in silence; a match too many only costs time.

    Each begins with a fixed byte or name, which lets the search skip through a batch at memory speed.
    """
    leaves = _names(spots)
    integers = _names([spot for spot in spots if spot.kind is Kind.INTEGER])
    keys = _names([spot for spot in spots if spot.kind is Kind.UUID])
    parents = {name for spot in spots for name in spot.path.split(".")[:-1]}
    patterns = [b"\\x01" + _one_of(leaves)]
    patterns += [b"\\x08" + _one_of(integers)] if integers else []
    patterns += [b"\\x05" + _one_of(keys) + _NO_UUID] if keys else []
    unexpected = _byte_class(_EVERY_TYPE - {_SUBDOCUMENT, _NULL})
    patterns += [_one_of({name}) + b"(?<=" + unexpected + _one_of({name}) + b")" for name in sorted(parents)]
    if parents:
        # A reference to another document, and names that hold a dot, look like a nested field.
        patterns.append(rb"\x02\$ref\x00")
        patterns.append(_one_of({spot.path for spot in spots if "." in spot.path}))
    return [re.compile(each, re.DOTALL) for each in patterns]


def _refused_pattern(spots: Sequence[Column]) -> re.Pattern[bytes]:
    """Matches wherever a field's type byte is not one that the column decoder takes for its kind."""
    parts = []
    for spot in spots:
        name = _one_of(_names([spot]))
        parts.append(_byte_class(_EVERY_TYPE - _DECODED[spot.kind] - {_NULL}) + name)
        if spot.kind is Kind.UUID:
            parts.append(b"\\x05" + name + _NO_UUID)
    # Looking ahead consumes nothing: no match can hide the next one.
    return re.compile(b"(?=" + b"|".join(parts) + b")", re.DOTALL)


def _names(spots: Sequence[Column]) -> set[str]:
    return {spot.path.rpartition(".")[2] for spot in spots}


def _one_of(names: set[str]) -> bytes:
    return b"(?:" + b"|".join(re.escape(name.encode()) for name in sorted(names)) + rb")\x00"


def _byte_class(members: frozenset[int]) -> bytes:
    return b"[" + b"".join(b"\\x%02x" % each for each in sorted(members)) + b"]"


def _matching(patterns: Iterable[re.Pattern[bytes]], raw: bytes, starts: Positions) -> set[int]:
    """The indexes of the documents of a batch in which one of these matches."""
    marks = [found.start() for pattern in patterns for found in pattern.finditer(raw)]
    return set((np.searchsorted(starts, marks, side="right") - 1).tolist()) if marks else set()
