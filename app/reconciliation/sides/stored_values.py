"""A field's value from what a side stores, and back: the one place where converters are applied to single values."""

from typing import Any

from app.clock import now
from app.reconciliation.declarations import Converter, Field, SoftDelete
from app.reconciliation.sides.bson_records import Document, value_at
from app.reconciliation.values import (
    Kind,
    Unreadable,
    Value,
    from_relational,
    to_document,
    to_relational,
)

# What a converter raises for a value that it cannot convert.
_UNCONVERTIBLE = (ValueError, KeyError, ArithmeticError)


def read_document_value(each: Field, document: Document) -> Value:
    """The value of a field of a document."""
    converter = each.document_converter
    return _read(each, converter, value_at(document, _stored_kind(each, converter), each.path))


def read_relational_value(each: Field, stored: Any) -> Value:
    """The value of a field from its SQL value, as asyncpg gives it."""
    converter = each.relational_converter
    return _read(each, converter, from_relational(_stored_kind(each, converter), stored))


def write_document_value(each: Field, value: Value) -> Any:
    """The BSON value to store; raises ValueError for what the document side cannot hold."""
    return to_document(_write(each, each.document_converter, value))


def write_relational_value(each: Field, value: Value) -> Any:
    """The SQL value to store; raises ValueError for what the relational side cannot hold."""
    return to_relational(_write(each, each.relational_converter, value))


def marking(marker: SoftDelete, *, deleted: bool) -> Any:
    """What a marker gets from now on."""
    if marker.kind is Kind.BOOLEAN:
        return deleted
    return now() if deleted else None


def _stored_kind(each: Field, converter: Converter | None) -> Kind:
    return converter.stored if converter else each.kind


def _read(each: Field, converter: Converter | None, stored: Value) -> Value:
    return converter.value_of(each.kind, stored) if converter else stored


def _write(each: Field, converter: Converter | None, value: Value) -> Value:
    if converter is None or value is None or isinstance(value, Unreadable):
        return value
    try:
        stored = converter.write(value)
    except _UNCONVERTIBLE as error:
        raise ValueError(f"{each.name}: {converter.name} cannot convert it") from error
    if _read(each, converter, stored) != value:
        raise ValueError(f"{each.name}: {converter.name} would not read it back unchanged")
    return stored
