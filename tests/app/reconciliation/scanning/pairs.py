"""Pairs of records for tests: what a document store and a relational one may hold for the same field.

A stored BSON element is (type byte, payload), so that types which no encoder writes can be had too; None is absent.
"""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import bson
import pyarrow as pa
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from hypothesis import strategies as st

from app.reconciliation.mapping import Authority, Converter, Field, Mapping, Missing, Side, SoftDelete
from app.reconciliation.values import Kind, Unreadable, Value

DOCUMENT = Authority(Side.DOCUMENT)
PAIRED = Mapping(
    entity="pairs",
    collection="pairs",
    table="pairs",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.REVIEW,
    fields=(
        Field("owner", Kind.UUID, DOCUMENT),
        Field("title", Kind.TEXT, DOCUMENT),
        Field("seats", Kind.INTEGER, DOCUMENT),
        Field("open", Kind.BOOLEAN, DOCUMENT),
        Field("price", Kind.DECIMAL, DOCUMENT),
        Field("at", Kind.TIMESTAMP, DOCUMENT),
        Field("on", Kind.DATE, DOCUMENT),
        Field("place.title", Kind.TEXT, DOCUMENT, relational="place_title"),
        Field("place.inner.seats", Kind.INTEGER, DOCUMENT, relational="place_seats"),
    ),
)
WORDS = {0: "new", 1: "x", 5: "é", 2**31: "\U0001f600"}
CODES = {word: code for code, word in WORDS.items()}


def _never(value: Any) -> Value:
    raise ValueError(value)


def _slyly(stored: Any) -> Any:
    """What no converter should answer with: nothing, another kind, a member of an enumeration, a finer time."""
    return {"": None, "x": 5, "5": Kind.TEXT, "é": _EPOCH + timedelta(microseconds=1), "half": "\ud800"}.get(
        stored, Decimal("NaN")
    )


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CODED = Converter("codes", Kind.INTEGER, lambda code: WORDS[code], lambda word: CODES[word])
CENTS = Converter(
    "cents", Kind.INTEGER, lambda cents: Decimal(cents).scaleb(-2), lambda amount: int(amount * 100)
)
EPOCH = Converter(
    "epoch",
    Kind.INTEGER,
    lambda stored: _EPOCH + timedelta(milliseconds=stored),
    lambda moment: (moment - _EPOCH) // timedelta(milliseconds=1),
)
SPELLED_ID = Converter("spelled id", Kind.TEXT, uuid.UUID, str)
SPELLED_NUMBER = Converter("spelled number", Kind.TEXT, int, str)
SPELLED_AMOUNT = Converter("spelled amount", Kind.DECIMAL, str, Decimal)
SPELLED_TRUTH = Converter(
    "spelled truth", Kind.BOOLEAN, lambda stored: "x" if stored else "", lambda text: text == "x"
)
DAY = Converter(
    "day",
    Kind.TIMESTAMP,
    lambda moment: moment.date(),
    lambda day: datetime(day.year, day.month, day.day, tzinfo=UTC),
)
MIDNIGHT = Converter(
    "midnight",
    Kind.DATE,
    lambda day: datetime(day.year, day.month, day.day, tzinfo=UTC),
    lambda moment: moment.date(),
)
LAST_BYTE = Converter(
    "last byte", Kind.UUID, lambda stored: stored.bytes[-1], lambda last: uuid.UUID(int=last)
)
REVERSED = Converter("reversed", Kind.TEXT, lambda text: text[::-1], lambda text: text[::-1])
CONVERTED = Mapping(
    entity="converted",
    collection="converted",
    table="converted",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.REVIEW,
    document_deleted=SoftDelete("place.gone"),
    relational_deleted=SoftDelete("is_gone", Kind.BOOLEAN),
    fields=(
        Field("status", Kind.TEXT, DOCUMENT, document_converter=CODED),
        Field("word", Kind.TEXT, DOCUMENT, relational_converter=CODED),
        Field("both", Kind.TEXT, DOCUMENT, document_converter=CODED, relational_converter=SPELLED_TRUTH),
        Field("price", Kind.DECIMAL, DOCUMENT, document_converter=CENTS),
        Field("place.price", Kind.DECIMAL, DOCUMENT, relational="place_price", relational_converter=CENTS),
        Field("at", Kind.TIMESTAMP, DOCUMENT, document_converter=EPOCH),
        Field("until", Kind.TIMESTAMP, DOCUMENT, document_converter=MIDNIGHT, relational_converter=EPOCH),
        Field("owner", Kind.UUID, DOCUMENT, document_converter=SPELLED_ID),
        Field("last", Kind.INTEGER, DOCUMENT, relational_converter=LAST_BYTE),
        Field("seats", Kind.INTEGER, DOCUMENT, document_converter=SPELLED_NUMBER),
        Field(
            "amount",
            Kind.TEXT,
            DOCUMENT,
            document_converter=SPELLED_AMOUNT,
            relational_converter=SPELLED_AMOUNT,
        ),
        Field("on", Kind.DATE, DOCUMENT, document_converter=DAY),
        Field("place.inner.title", Kind.TEXT, DOCUMENT, relational="title", document_converter=REVERSED),
        *(
            Field(
                f"sly_{kind}", kind, DOCUMENT, document_converter=Converter("sly", Kind.TEXT, _slyly, _never)
            )
            for kind in Kind
        ),
    ),
)
MARKED = replace(
    CONVERTED,
    document_deleted=SoftDelete("is_gone", Kind.BOOLEAN),
    relational_deleted=SoftDelete("gone"),
    fields=PAIRED.fields,
)
SQL_TYPES = {
    Kind.UUID: "uuid",
    Kind.TEXT: "text",
    Kind.INTEGER: "int8",
    Kind.BOOLEAN: "bool",
    Kind.DECIMAL: "numeric",
    Kind.TIMESTAMP: "timestamptz",
    Kind.DATE: "date",
}
_OPTIONS = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)

Element = tuple[int, bytes]
# No name in BSON holds it.
AGAIN = "\0"


def element(value: Any, *, replacing: tuple[bytes, bytes] = (b"", b"")) -> Element:
    """The type byte and payload that an encoder writes for a value, with some bytes replaced by what it never writes."""
    raw = bson.encode({"": value}, codec_options=_OPTIONS)
    return raw[4], raw[6:-1].replace(*replacing) if replacing[0] else raw[6:-1]


def milliseconds(number: int) -> Element:
    return 0x09, number.to_bytes(8, "little", signed=True)


UNDEFINED: Element = (0x06, b"")
SYMBOL: Element = (0x0E, b"\x02\x00\x00\x00x\x00")
POINTER: Element = (0x0C, b"\x02\x00\x00\x00x\x00" + b"1" * 12)
ODD_ELEMENTS: list[Element] = [
    UNDEFINED,
    SYMBOL,
    POINTER,
    *(
        element(value)
        for value in (
            None, 5.0, 5.5, -0.0, float("nan"), float("inf"), 1e300, "", "x", "5", "é", "e\u0301", "\U0001f600", "a\x00b", True, False,
            0, 1, 5, bson.Int64(5), bson.Int64(2**63 - 1), bson.Int64(-(2**63)), bson.Int64(2**53 + 1), 2.0**53, 2.0**63, "half", {}, {"title": "x"}, {"inner": 5}, [], ["x"], [{"title": "x"}],
            Binary(b"x" * 16, 4), Binary(b"x" * 16, 3), Binary(b"x" * 3, 4), Binary(b"x" * 16, 0), bson.ObjectId(b"1" * 12),
            Decimal128("5"), Decimal128("-0"), Decimal128("0E+3"), Decimal128("1E-40"), Decimal128("-1E-6176"), Decimal128("12.500"), Decimal128("NaN"),
            Decimal128("Infinity"), Decimal128("-Infinity"), Decimal128("9" * 34), Decimal128("1E+6000"),
            bson.Regex("x"), bson.Code("x"), bson.Code("x", {}), bson.Timestamp(1, 1), bson.MinKey(), bson.MaxKey(),
            bson.DBRef("x", 1), datetime(2020, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC),
        )
    ),
    milliseconds(2**62),
    milliseconds(-(2**62)),
    milliseconds(-86_400_000),
    milliseconds(-62_135_596_800_000),
    milliseconds(253_402_214_400_000),
    milliseconds(253_402_300_799_999),
    (0x02, b"\x03\x00\x00\x00\xff\xfe\x00"),
    (0x02, b"\x04\x00\x00\x00\xed\xa0\x80\x00"),
    element({"title": "x", "note": "aa"}, replacing=(b"aa\x00", b"\xff\xfe\x00")),
]  # fmt: skip

_texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4) | st.sampled_from(
    ["", "é", "e\u0301", "x", "5", "\U0001f600"]
)
_decimals = (
    st.decimals(allow_nan=True, allow_infinity=True)
    | st.decimals(min_value=-(10**10), max_value=10**10, places=2)
    | st.sampled_from(
        [
            Decimal(text)
            for text in (
                "0",
                "-0",
                "0E+3",
                "1E-40",
                "9" * 34,
                "9" * 40,
                "1E+30",
                "9223372036854.775807",
                "9223372036854.775808",
                # The least integer of 64 bits, and its neighbours, in whole numbers, hundredths and millionths.
                "-9223372036854775808",
                "-92233720368547758.07",
                "-92233720368547758.08",
                "-92233720368547758.09",
                "92233720368547758.08",
                "-9223372036854.775807",
                "-9223372036854.775808",
                "-9223372036854.775809",
                "12.50",
                "12.5",
            )
        ]
    )
)
# asyncpg has the ends of the years 1 to 9999 for infinities.
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_times = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(
    [
        _EPOCH - timedelta(microseconds=1),
        _EPOCH,
        _EPOCH + timedelta(microseconds=999),
        _FIRST,
        _FIRST + timedelta(microseconds=1),
        _LAST - timedelta(microseconds=1),
        _LAST,
    ]
)
SQL_VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.UUID: st.uuids() | st.just(uuid.UUID(bytes=b"x" * 16)),
    Kind.TEXT: _texts,
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1)
    | st.integers(-2, 6)
    | st.sampled_from([-(2**63), 2**63 - 1, 2**53, 2**53 + 1, 2**31]),
    Kind.BOOLEAN: st.booleans(),
    Kind.DECIMAL: _decimals,
    Kind.TIMESTAMP: _times,
    Kind.DATE: st.dates() | st.sampled_from([date.min, date.max, date(1, 1, 2), date(9999, 12, 30)]),
}


def as_stored(kind: Kind, value: Any) -> Element | None:
    """The element that agrees with an SQL value, None where BSON has none for it."""
    if value is None:
        return None
    if kind is Kind.DECIMAL:
        try:
            return element(Decimal128(value))
        except ArithmeticError:
            return element(Decimal128("5"))
    if kind is Kind.DATE:
        return milliseconds((value - date(1970, 1, 1)).days * 86_400_000)
    if kind is Kind.TIMESTAMP:
        return milliseconds((value - _EPOCH) // timedelta(milliseconds=1))
    return element(bson.Int64(value) if kind is Kind.INTEGER and abs(value) > 2**31 else value)


def kinds_stored(each: Field) -> tuple[Kind, Kind]:
    """What documents and what rows store a field as."""
    document, relational = each.document_converter, each.relational_converter
    return document.stored if document else each.kind, relational.stored if relational else each.kind


def agreeing(each: Field, row_value: Any) -> Element | None:
    """The element that agrees with what a row stores, as far as converters go both ways."""
    document, relational = each.document_converter, each.relational_converter
    value = relational.value_of(each.kind, row_value) if relational else row_value
    if isinstance(value, Unreadable):
        return None
    if document and value is not None:
        try:
            value = document.write(value)
        except (ValueError, KeyError, ArithmeticError, AttributeError):
            return None
    try:
        return as_stored(kinds_stored(each)[0], value)
    except (OverflowError, ArithmeticError):
        return None


MARKERS: list[Element | None] = [
    None, element(None), UNDEFINED, element(False), element(True), element(datetime(2020, 1, 1, tzinfo=UTC)),
    milliseconds(2**62), element(0), element(0.0), element(""), element("x"), element([]), element({}), element([None]),
]  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn, mapping: Mapping) -> tuple[dict[str, Element], dict[str, Any]]:
    """(elements by path, SQL values by name), often equal, of one record on both sides."""
    elements: dict[str, Element] = {}
    row: dict[str, Any] = {}
    for each in mapping.fields:
        row[each.name] = draw(st.none() | SQL_VALUES[kinds_stored(each)[1]])
        agrees = agreeing(each, row[each.name])
        stored = draw(st.one_of(st.just(agrees), st.just(agrees), st.none(), st.sampled_from(ODD_ELEMENTS)))
        if stored is not None:
            elements[each.path] = stored
    for marker, place in ((mapping.document_deleted, elements), (mapping.relational_deleted, row)):
        if marker and (held := draw(st.none() | st.sampled_from(MARKERS))):
            place[marker.at] = held if place is elements else True
    for parent in ("place", "place.inner"):
        if draw(st.integers(0, 5)) == 0:
            elements[parent] = draw(st.sampled_from(ODD_ELEMENTS))
    for path in (
        draw(st.none() | st.lists(st.sampled_from([*elements, "place", "place.inner"]), max_size=2)) or ()
    ):
        again = draw(st.just(elements.get(path)) | st.sampled_from(ODD_ELEMENTS))
        elements[path + AGAIN] = again or draw(st.sampled_from(ODD_ELEMENTS))
    return elements, row


def raw_document(elements: dict[str, Element], key: Element) -> bytes:
    """BSON of elements by path; an element at a parent's path stands in its place.

    A name that ends with AGAIN is the same name without it, once more.
    """
    tree: dict[str, Any] = {"_id": key}
    for path, stored in sorted(elements.items()):
        *parents, leaf = path.split(".")
        branch: Any = tree
        for name in parents:
            branch = branch.setdefault(name, {}) if isinstance(branch, dict) else branch
        if isinstance(branch, dict):
            branch[leaf] = stored
    return _encode(tree)


def _encode(tree: dict[str, Any]) -> bytes:
    body = b""
    for name, stored in tree.items():
        kind, payload = (0x03, _encode(stored)) if isinstance(stored, dict) else stored
        body += bytes([kind]) + name.rstrip(AGAIN).encode() + b"\x00" + payload
    return (len(body) + 5).to_bytes(4, "little") + body + b"\x00"


def sql_array(kind: Kind, values: list[Any]) -> pa.Array:
    """A column as the driver delivers it."""
    match kind:
        case Kind.UUID:
            raw = pa.array([value and value.bytes for value in values], pa.binary(16))
            return pa.ExtensionArray.from_storage(pa.uuid(), raw)
        case Kind.TEXT:
            return pa.array(values, pa.string())
        case Kind.INTEGER:
            return pa.array(values, pa.int64())
        case Kind.BOOLEAN:
            return pa.array(values, pa.bool_())
        case Kind.DECIMAL:
            return pa.array([None if value is None else spell(value) for value in values], pa.string())
        case Kind.TIMESTAMP:
            return pa.array(
                [value and (value - _EPOCH) // timedelta(microseconds=1) for value in values],
                pa.timestamp("us", "UTC"),
            )
        case Kind.DATE:
            return pa.array(values, pa.date32())


def spell(value: Decimal) -> str:
    """A number as PostgreSQL spells it, which knows neither exponents nor a negative zero."""
    if not value.is_finite():
        return "NaN" if value.is_nan() else "Infinity" if value > 0 else "-Infinity"
    return f"{value:f}" if value else f"{abs(value):f}"
