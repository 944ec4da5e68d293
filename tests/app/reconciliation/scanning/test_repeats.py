"""Documents that hold a field twice: never read as if they held it once, and never as their neighbours' values."""

import re
from typing import Any

import bson
import pytest
from bson.errors import InvalidDocument
from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.canonical import KEY, ODD, Column, Layout
from app.reconciliation.scanning.repeats import _MOST_HEADS, repeating, starts_of
from app.reconciliation.sides.bson_records import Repeated, decode_document
from app.reconciliation.values import Kind
from tests.app.reconciliation.scanning.pairs import AGAIN, ODD_ELEMENTS, Element, element, raw_document

LAYOUT = Layout(
    "scan_repeats",
    "scan_repeats",
    "FROM scan_repeats",
    Column("key", Kind.INTEGER, "_id", "id"),
    (Column("a", Kind.TEXT, "a"), Column("city", Kind.TEXT, "place.city")),
)
TREE: dict[str, Any] = {"_id": None, "a": None, "place": {"city": None, "inner": {"a": None}}}
PATHS = ["_id", "a", "b", "place", "place.city", "place.inner", "place.inner.a", "place.b"]


def document(key: int, **elements: str) -> bytes:
    """With __ for the dot of a path and _ at the end for AGAIN."""
    named = {re.sub("_$", AGAIN, name).replace("__", "."): element(text) for name, text in elements.items()}
    return raw_document(named, element(key))


def decoded(*documents: bytes) -> list[tuple[Any, ...]]:
    return DocumentDecoder(LAYOUT).decode(b"".join(documents)).sort(KEY).select(KEY, "0", "1", ODD).rows()


def found(*documents: bytes) -> set[int]:
    raw = b"".join(documents)
    return repeating(raw, starts_of(raw), TREE)


def test_a_field_that_comes_twice_is_unreadable_and_shifts_nothing() -> None:
    rows = decoded(document(1, a="x", a_="y"), document(2), document(3, a="z"))
    assert rows == [(1, None, None, "0"), (2, None, None, None), (3, "z", None, None)]


def test_a_nested_field_that_comes_twice_is_unreadable_and_shifts_nothing() -> None:
    rows = decoded(document(1, place__city="x", place__city_="y"), document(2, place__other="x"), document(3))
    assert rows == [(1, None, None, "1"), (2, None, None, None), (3, None, None, None)]


def test_a_subdocument_that_comes_twice_is_unreadable_and_shifts_nothing() -> None:
    twice = raw_document({"place.city": element("x"), f"place{AGAIN}.city": element("y")}, element(1))
    rows = decoded(twice, document(2, a="z"), document(3, place__city="w"))
    assert rows == [(1, None, None, "1"), (2, "z", None, None), (3, None, "w", None)]


def test_a_key_that_comes_twice_is_none() -> None:
    twice = raw_document({f"_id{AGAIN}": element(7)}, element(1))
    rows = decoded(twice, document(2))
    assert rows[0][0] is None
    assert rows[0][-1] == "Repeated '1 … 7'"
    assert rows[1] == (2, None, None, None)


def test_the_same_name_in_several_places_is_no_repetition() -> None:
    once = {
        "a": element("x"),
        "place.city": element("x"),
        "place.inner.a": element("x"),
        "other.a": element("x"),
    }
    assert found(raw_document(once, element(1)), document(2, b="a", b_="a")) == set()


def test_documents_that_differ_in_everything_are_read_one_by_one() -> None:
    many = [document(at, **{f"name{at}x": "x", "a": str(at)}) for at in range(3 * _MOST_HEADS)]
    assert len(found(*many)) == 2 * _MOST_HEADS
    assert decoded(*many) == [(at, str(at), None, None) for at in range(len(many))]


def naively(raw: bytes, path: str) -> bool:
    held: Any = decode_document(raw)
    for name in path.split("."):
        held = held.get(name) if isinstance(held, dict) else None
    return isinstance(held, Repeated)


elements = st.dictionaries(
    st.sampled_from([*PATHS, *(path + AGAIN for path in PATHS)]), st.sampled_from(ODD_ELEMENTS), max_size=6
)


@given(st.lists(elements, max_size=5))
def test_exactly_the_documents_that_repeat_a_field_are_found(drawn: list[dict[str, Element]]) -> None:
    raws = [raw_document(each, element(1)) for each in drawn]
    looked_at = [path for path in PATHS if not path.endswith("b")]
    expected = {at for at, raw in enumerate(raws) if any(naively(raw, path) for path in looked_at)}
    regular = {at for at, raw in enumerate(raws) if bson.Regex not in map(type, _all(decode_document(raw)))}
    assert found(*raws) & regular == expected & regular
    assert found(*raws) >= expected


def _all(held: Any) -> list[Any]:
    if isinstance(held, dict):
        return [each for below in held.values() for each in _all(below)]
    return [held.first, held.last] if isinstance(held, Repeated) else [held]


def test_no_condition_of_a_write_rests_on_a_field_that_comes_twice() -> None:
    with pytest.raises(InvalidDocument):
        bson.encode({"a": decode_document(document(1, a="x", a_="y"))["a"]})
