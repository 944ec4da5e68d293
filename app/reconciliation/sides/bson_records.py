"""Documents from raw BSON, one by one: what the columns of a scan must agree with."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bson import decode
from bson.binary import UUID_SUBTYPE, Binary, UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import InvalidBSON

from app.reconciliation.values import Kind, Unreadable, Value, from_document

Document = dict[str, Any]

CODEC = CodecOptions[Document](
    uuid_representation=UuidRepresentation.STANDARD,
    tz_aware=True,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


@dataclass(frozen=True)
class Repeated:
    """What a document holds at a name that comes more than once: of no kind, because readers of BSON choose differently.

    It cannot be encoded, so that no condition of a write may rest on it.
    """

    first: Any
    last: Any

    def __str__(self) -> str:
        return f"{self.first} … {self.last}"


class _Watchful(dict[str, Any]):
    """Takes the elements of a document as they come."""

    def __setitem__(self, name: str, held: Any) -> None:
        super().__setitem__(name, Repeated(self[name], held) if name in self else held)


_LENIENT = CODEC.with_options(
    uuid_representation=UuidRepresentation.UNSPECIFIED, unicode_decode_error_handler="surrogateescape"
)
_WATCHFUL, _WATCHFUL_LENIENT = (each.with_options(document_class=_Watchful) for each in (CODEC, _LENIENT))
_UUID_BYTES = 16


def decode_leniently(raw: bytes) -> Document:
    """A document with its UUIDs as binaries, whatever is wrong with them; broken text becomes text that is none."""
    return decode(raw, _LENIENT)


def decode_document(raw: bytes) -> Document:
    """A document. What cannot be read exactly is of no kind in its place.

    That is text that is no UTF-8 and a UUID cut short, which no client decodes, and what is `Repeated`.
    """
    try:
        found = decode(raw, _WATCHFUL)
    except InvalidBSON:
        found = decode(raw, _WATCHFUL_LENIENT)
    return {name: _plain(held) for name, held in found.items()}


def _plain(held: Any) -> Any:
    if isinstance(held, dict):
        return {name: _plain(each) for name, each in held.items()}
    if isinstance(held, Binary) and held.subtype == UUID_SUBTYPE and len(held) == _UUID_BYTES:
        return held.as_uuid()
    return held


def stored_at(document: Any, path: str) -> Any:
    """What a document holds at a dotted path; None where the path leads through something that is no subdocument."""
    for name in path.split("."):
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def value_at(document: Document, kind: Kind, path: str) -> Value:
    """The value at a dotted path. What should be a subdocument and is something else makes it unreadable."""
    held: Any = document
    for name in path.split("."):
        if held is None:
            return None
        if not isinstance(held, dict):
            return Unreadable(f"{type(held).__name__} {str(held)[:80]!r}")
        held = held.get(name)
    return from_document(kind, held)


def documents_of(raw: bytes) -> Iterator[bytes]:
    """Each document of a batch."""
    at = 0
    while at < len(raw):
        length = int.from_bytes(raw[at : at + 4], "little")
        yield raw[at : at + length]
        at += length
