"""Comparing columns gives the verdict that comparing records gives, whatever the two sides hold."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from bson.decimal128 import Decimal128
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.reconciliation import resolve
from app.reconciliation.mapping import Field, Mapping, SoftDelete
from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.canonical import canonical_decimal, frame_of_records
from app.reconciliation.scanning.compare import Comparison, Finding, FindingKind
from app.reconciliation.scanning.sql_columns import _reader
from app.reconciliation.sides.bson_records import decode_document
from app.reconciliation.sides.stored_values import read_document_value, read_relational_value
from app.reconciliation.values import Kind, Unreadable
from tests.app.reconciliation.scanning.pairs import (
    AGAIN,
    CONVERTED,
    MARKED,
    MARKERS,
    ODD_ELEMENTS,
    PAIRED,
    SQL_TYPES,
    Element,
    agreeing,
    element,
    kinds_stored,
    pairs,
    raw_document,
    spell,
    sql_array,
)

COMPARISON = Comparison(PAIRED)
DECODER = DocumentDecoder(COMPARISON.documents)
Pair = tuple[dict[str, Element], dict[str, Any]]


def relational_frame(
    keys: list[UUID], rows: list[dict[str, Any]], comparison: Comparison = COMPARISON
) -> pl.DataFrame:
    key = canonical.uuids(sql_array(Kind.UUID, keys).storage)
    cells = [
        _reader(column, SQL_TYPES[column.kind_in_rows], set()).read(
            sql_array(column.kind_in_rows, [row[column.name] for row in rows])
        )
        for column in comparison.relational.columns
    ]
    return canonical.assemble(comparison.relational, key, cells)


def single_verdict(
    raw: bytes, row: dict[str, Any], mapping: Mapping = PAIRED
) -> tuple[resolve.Kind, tuple[str, ...]]:
    """The verdict on what the readers of single records make of both sides."""
    document = decode_document(raw)
    records = (
        {each.name: read_document_value(each, document) for each in mapping.fields},
        {each.name: read_relational_value(each, row[each.name]) for each in mapping.fields},
    )
    markers = (
        (mapping.document_deleted, stored_at(document, mapping.document_deleted)),
        (
            mapping.relational_deleted,
            mapping.relational_deleted and row.get(mapping.relational_deleted.at),
        ),
    )
    live = [
        None if marker and marker.deletes(held) else record
        for record, (marker, held) in zip(records, markers, strict=True)
    ]
    verdict = resolve.resolve(mapping, *live, derived={})
    return verdict.kind, tuple(each.name for each in verdict.fields)


def stored_at(document: Any, marker: SoftDelete | None) -> Any:
    for step in marker.at.split(".") if marker else ():
        document = document.get(step) if isinstance(document, dict) else None
    return document


def compared(
    documents: pl.DataFrame, relational: pl.DataFrame, comparison: Comparison = COMPARISON
) -> dict[str, Finding]:
    found = [each for some in comparison.compare(documents, relational) for each in some]
    assert len(found) == len({each.key for each in found})
    return {each.key: each for each in found}


def assert_same_verdict(mapping: Mapping, drawn: list[Pair], *, batched: bool = True) -> None:
    comparison = Comparison(mapping)
    decoder = DocumentDecoder(comparison.documents)
    keys = [UUID(int=at * (2**127 + 1) % 2**128) for at in range(len(drawn))]
    raws = [raw_document(stored, element(key)) for key, (stored, _row) in zip(keys, drawn, strict=True)]
    verdicts = {
        str(key): single_verdict(raw, row, mapping)
        for key, raw, (_stored, row) in zip(keys, raws, drawn, strict=True)
    }
    # A reader of the relational side leaves out what is marked as deleted by its query.
    marker = mapping.relational_deleted
    rows = [
        (key, row)
        for key, (_stored, row) in zip(keys, drawn, strict=True)
        if not (marker and row.get(marker.at))
    ]
    # Either all of them together, or each batch of documents that hold the same.
    batches = (
        [raws]
        if batched
        else [
            [raw for raw, _pair in group]
            for _stored, group in groupby(zip(raws, drawn, strict=True), key=lambda each: each[1][0])
        ]
    )
    found = compared(
        pl.concat([decoder.decode(b"".join(each)) for each in batches]),
        relational_frame([key for key, _row in rows], [row for _key, row in rows], comparison),
        comparison,
    )
    same = {resolve.Kind.EQUAL, resolve.Kind.MISSING_BOTH}
    assert {key: (each.kind.value, each.fields) for key, each in found.items()} == {
        key: (kind.value, fields) for key, (kind, fields) in verdicts.items() if kind not in same
    }


@pytest.mark.parametrize("mapping", [PAIRED, CONVERTED, MARKED], ids=["plain", "converted", "marked"])
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_verdict_is_that_of_the_single_record(mapping: Mapping, data: st.DataObject) -> None:
    assert_same_verdict(mapping, data.draw(st.lists(pairs(mapping), min_size=1, max_size=6)))


@given(st.decimals(allow_nan=False, allow_infinity=False), st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_are_equal_exactly_when_their_cells_are(left: Decimal, right: Decimal) -> None:
    assert (canonical_decimal(left) == canonical_decimal(right)) == (left == right)
    assert (
        canonical_decimal(left) == canonical_decimal(left * Decimal("1.000"))
        or len(left.as_tuple().digits) > 24
    )
    from_text = canonical.decimals_of_text(pl.Series([spell(left)]))
    assert from_text.spill is not None
    assert (from_text.values[0], from_text.spill[0]) == canonical_decimal(left)


@pytest.mark.parametrize(
    "text", ["9223372036854775808", "92233720368547758.08", "9223372036854.775808", "9223372036854.775807"]
)
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_decimal_at_the_end_of_64_bits_has_one_cell_on_both_sides(text: str, sign: str) -> None:
    amount = Decimal(sign + text)
    document = raw_document({"price": element(Decimal128(amount))}, element(UUID(int=0)))
    frame = relational_frame(
        [UUID(int=0)], [dict.fromkeys(each.name for each in PAIRED.fields) | {"price": amount}]
    )
    at = str(COMPARISON.names.index("price"))
    assert DECODER.decode(document).row(0, named=True)[at] == frame.row(0, named=True)[at]
    assert compared(DECODER.decode(document), frame) == {}
    zero = raw_document({"price": element(Decimal128("0"))}, element(UUID(int=0)))
    assert compared(DECODER.decode(zero), frame)[str(UUID(int=0))].fields == ("price",)


@pytest.mark.parametrize("text", ["9223372036854.775807", "-9223372036854.775807", "0.000001", "0", "12.5"])
def test_a_decimal_of_up_to_six_places_is_a_number(text: str) -> None:
    assert canonical_decimal(Decimal(text)) == (int(Decimal(text) * 10**6), None)


@pytest.mark.parametrize("text", ["9223372036854.775808", "0.0000001", "1E+6000", "1E-6176", "9" * 5000])
def test_other_decimals_are_text(text: str) -> None:
    number, spelled = canonical_decimal(Decimal(text))
    assert number is None
    assert spelled is not None
    assert Decimal(spelled) == Decimal(text)


def record(at: int, **values: Any) -> tuple[Any, list[Any]]:
    return UUID(int=at), [values.get(each.name) for each in PAIRED.fields]


def frames(documents: list[Any], relational: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame]:
    return (
        frame_of_records(COMPARISON.documents, documents),
        frame_of_records(COMPARISON.relational, relational),
    )


def test_a_record_of_one_side_is_missing_on_the_other() -> None:
    found = compared(*frames([record(1), record(2)], [record(2), record(3)]))
    assert found == {
        str(UUID(int=1)): Finding(str(UUID(int=1)), FindingKind.MISSING_RELATIONAL),
        str(UUID(int=3)): Finding(str(UUID(int=3)), FindingKind.MISSING_DOCUMENT),
    }


def test_every_record_may_differ_and_findings_come_in_parts() -> None:
    documents = [record(at, seats=at) for at in range(2_500)]
    relational = [record(at, seats=at + 1) for at in range(2_500)]
    parts = list(COMPARISON.compare(*frames(documents, relational)))
    assert [len(part) for part in parts] == [1_000, 1_000, 500]
    assert {each.fields for part in parts for each in part} == {("seats",)}


def test_rows_that_a_join_multiplied_are_a_finding() -> None:
    found = compared(*frames([record(1)], [record(1), record(1)]))
    assert found[str(UUID(int=1))].fields == tuple(each.name for each in PAIRED.fields)
    assert found[str(UUID(int=1))].kind is FindingKind.FIELDS


def test_multiplied_rows_without_a_document_are_one_finding() -> None:
    found = compared(*frames([], [record(1), record(1)]))
    assert [each.kind for each in found.values()] == [FindingKind.MISSING_DOCUMENT]


def test_unreadable_values_differ_even_from_each_other() -> None:
    broken = Unreadable("str 'x'")
    found = compared(*frames([record(1, seats=broken)], [record(1, seats=broken)]))
    assert found[str(UUID(int=1))].fields == ("seats",)


def test_a_number_past_64_bits_is_never_wrapped() -> None:
    found = compared(*frames([record(1, seats=2**64 + 5)], [record(1, seats=5)]))
    assert found[str(UUID(int=1))].fields == ("seats",)


def test_two_empty_sides_agree() -> None:
    assert compared(*frames([], [])) == {}


CANDIDATES: dict[Kind, list[Any]] = {
    Kind.UUID: [UUID(bytes=b"x" * 16)],
    Kind.TEXT: ["", "x", "5", "é", "e\u0301"],
    Kind.INTEGER: [0, 1, 5, -(2**63), 2**63 - 1],
    Kind.BOOLEAN: [False, True],
    Kind.DECIMAL: [
        Decimal(text)
        for text in ("0", "5", "1E-40", "9" * 34, "1E+6000", "-92233720368547758.08", "NaN", "Infinity")
    ],
    Kind.TIMESTAMP: [
        datetime(2020, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999500, tzinfo=UTC),
        datetime.min.replace(tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC),
    ],
    Kind.DATE: [date(2020, 1, 1), date(1969, 12, 31), date.min, date.max],
}


EVERY_FIELD = [(mapping, each) for mapping in (PAIRED, CONVERTED) for each in mapping.fields]


@pytest.mark.parametrize(("mapping", "field"), EVERY_FIELD, ids=[each.name for _mapping, each in EVERY_FIELD])
@pytest.mark.parametrize("batched", [True, False])
def test_every_stored_type_against_every_kind(mapping: Mapping, field: Field, batched: bool) -> None:
    """The column decoder refuses some types and converts others in silence; no such conversion may pass."""
    drawn = [
        ({field.path: stored}, {field.name: value})
        for stored in ODD_ELEMENTS
        for value in (None, *CANDIDATES[kinds_stored(field)[1]])
    ]
    assert_same_verdict(replace(mapping, fields=(field,)), drawn, batched=batched)


@pytest.mark.parametrize(("mapping", "field"), EVERY_FIELD, ids=[each.name for _mapping, each in EVERY_FIELD])
def test_every_field_and_its_parents_twice_before_a_document_without_it(
    mapping: Mapping, field: Field
) -> None:
    """The column decoder would take the second value for the next document's."""
    names = field.path.split(".")
    spots = [".".join(names[:depth]) for depth in range(1, len(names) + 1)]
    few = replace(mapping, fields=(field,))
    for value in CANDIDATES[kinds_stored(field)[1]]:
        stored = agreeing(field, value)
        for spot in spots if stored else ():
            twice = {field.path: stored, field.path.replace(spot, spot + AGAIN, 1): stored}
            assert_same_verdict(few, [(twice, {field.name: value}), ({}, {field.name: None})])


@pytest.mark.parametrize("mapping", [CONVERTED, MARKED], ids=["nested marker", "marker"])
@pytest.mark.parametrize("batched", [True, False])
def test_every_stored_type_as_a_marker(mapping: Mapping, batched: bool) -> None:
    assert mapping.document_deleted
    few = replace(mapping, fields=mapping.fields[:2])
    empty = dict.fromkeys(each.name for each in few.fields)
    drawn: list[Pair] = [
        ({mapping.document_deleted.at: stored} if stored else {}, dict(empty))
        for stored in [*MARKERS, *ODD_ELEMENTS]
    ]
    if "." in mapping.document_deleted.at:
        drawn += [({"place": stored}, dict(empty)) for stored in ODD_ELEMENTS]
    assert_same_verdict(few, drawn, batched=batched)
