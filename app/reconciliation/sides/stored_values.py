"""A field's value from what a side stores, and back: the one place where converters are applied to single values."""

from collections.abc import Callable
from typing import Any, Protocol

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


class DocumentField(Protocol):
    """What it takes to read a field of a document: a field as declared, or a column of a scan."""

    @property
    def kind(self) -> Kind: ...

    @property
    def path(self) -> str: ...

    @property
    def document_converter(self) -> Converter | None: ...


def read_document_value(each: DocumentField, document: Document) -> Value:
    """The value of a field of a document."""
    converter = each.document_converter
    return _read(each.kind, converter, value_at(document, _stored_kind(each.kind, converter), each.path))


def read_relational_value(each: Field, stored: Any) -> Value:
    """The value of a field from its SQL value, as asyncpg gives it."""
    converter = each.relational_converter
    return _read(each.kind, converter, from_relational(_stored_kind(each.kind, converter), stored))


def write_document_value(each: Field, value: Value) -> Any:
    """The BSON value to store; raises ValueError, which names the field and no value, for what the side cannot hold."""
    return _write(each, each.document_converter, value, to_document)


def write_relational_value(each: Field, value: Value) -> Any:
    """The SQL value to store; raises ValueError, which names the field and no value, for what the side cannot hold."""
    return _write(each, each.relational_converter, value, to_relational)


def marking(marker: SoftDelete, *, deleted: bool) -> Any:
    """What a marker gets from now on."""
    if marker.kind is Kind.BOOLEAN:
        return deleted
    return now() if deleted else None


def _stored_kind(kind: Kind, converter: Converter | None) -> Kind:
    return converter.stored if converter else kind


def _read(kind: Kind, converter: Converter | None, stored: Value) -> Value:
    return converter.value_of(kind, stored) if converter else stored


def _write(each: Field, converter: Converter | None, value: Value, store: Callable[[Value], Any]) -> Any:
    try:
        return store(_convert(each, converter, value))
    except ValueError as error:
        raise ValueError(f"{each.name}: {error}") from error


def _convert(each: Field, converter: Converter | None, value: Value) -> Value:
    if converter is None or value is None or isinstance(value, Unreadable):
        return value
    try:
        stored = converter.write(value)
    except _UNCONVERTIBLE as error:
        raise ValueError(f"{converter.name} cannot convert it") from error
    if _read(each.kind, converter, stored) != value:
        raise ValueError(f"{converter.name} would not read it back unchanged")
    return stored
