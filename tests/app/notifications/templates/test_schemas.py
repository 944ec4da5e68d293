"""Data are held to the schema of their template, and schemas to what can be asked for."""

from typing import Any

import pytest

from app.errors import Fault
from app.notifications.templates.schemas import (
    MOST_BYTES,
    faults_in_data,
    faults_in_schema,
    least_data,
    name_of,
)
from app.notifications.templates.shipped import shipped

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["launch", "link"],
    "properties": {
        "launch": {"$ref": "#/$defs/launch"},
        "link": {"type": "string", "format": "uri"},
        "zone": {"type": "string", "format": "zone"},
        "price": {"type": "string", "format": "decimal"},
        "currency": {"type": "string", "format": "currency"},
        "day": {"type": "string", "format": "date"},
        "seats": {"type": "array", "maxItems": 2, "items": {"type": "integer", "minimum": 1}},
    },
    "$defs": {
        "launch": {
            "type": "object",
            "required": ["date"],
            "properties": {"date": {"type": "string", "format": "date-time"}, "rocket": {"type": "string"}},
            "additionalProperties": False,
        }
    },
}
GOOD = {"launch": {"date": "2027-03-14T15:30:00+01:00"}, "link": "https://example.com/a?b=c"}


def test_of_very_many_faults_some_are_told() -> None:
    wide = {"type": "object", "properties": {"x": {}}, "additionalProperties": False}
    told = faults_in_data(wide, dict.fromkeys(map(str, range(150)), 0))
    assert len(told) == 101
    assert "100 faults" in told[-1].message
    assert len(faults_in_data(wide, {"a": ["\0"] * 150})) == 101
    # The library finds all of them, or one: here there would be 450,000.
    hard = {"type": "object", "properties": {"a": {"items": {"allOf": [{"type": "string"}] * 300}}}}
    (only,) = faults_in_data(hard, {"a": [0] * 1500})
    assert only.where == "data/a/0"


def test_every_fault_is_listed_with_its_place_and_no_value() -> None:
    bad = {
        "launch": {"dat": "SECRET"}, "zone": "SECRET", "price": "SECRET", "currency": "SECRET", "day": "SECRET",
        "seats": [0, "SECRET", 3], "extra": "SECRET",
    }  # fmt: skip
    assert sorted(faults_in_data(SCHEMA, bad), key=lambda each: each.where) == [
        Fault("data/currency", "is no currency of ISO 4217, as EUR"),
        Fault("data/day", "is no day, as 2027-03-14"),
        Fault("data/extra", "is unknown"),
        Fault("data/launch/dat", "is unknown"),
        Fault("data/launch/date", "is missing"),
        Fault("data/link", "is missing"),
        Fault("data/price", "is no decimal number in a string, as 1250.00"),
        Fault("data/seats", "has more than 2 items"),
        Fault("data/seats/0", "is less than the minimum of 1"),
        Fault("data/seats/1", 'is not of type "integer"'),
        Fault("data/zone", "is no zone of the IANA database, as Europe/Madrid"),
    ]
    assert faults_in_data(SCHEMA, GOOD) == []


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "/path", "https://", "https://a b", "ftp://example.com", 'https://x"y', "data:text/html,x", "https://x\ny", "https://[x"],
)  # fmt: skip
def test_links_are_links(link: str) -> None:
    assert faults_in_data(SCHEMA, {**GOOD, "link": link}) == [
        Fault("data/link", "is no absolute http or https URL")
    ]


@pytest.mark.parametrize(
    "date",
    [
        "2027-03-14T15:30:00", "2027-03-14", "now", "2027-02-30T00:00:00Z", "9999-12-31T23:59:59-10:00",
        "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z",
    ],
)  # fmt: skip
def test_instants_have_a_zone_and_every_zone_can_show_them(date: str) -> None:
    faults = faults_in_data(SCHEMA, {**GOOD, "launch": {"date": date}})
    assert [each.where for each in faults] == ["data/launch/date"]


def test_data_are_bounded_in_size_depth_and_characters() -> None:
    anything = {"type": "object"}
    assert faults_in_data(anything, {"x": "y" * MOST_BYTES})[0].where == "data"
    deep: Any = "x"
    for _ in range(30):
        deep = [deep]
    assert faults_in_data(anything, {"x": deep})[0].message == "lies too deep"
    assert faults_in_data(anything, {"x": ["\0"]})[0].where == "data/x/0"
    assert faults_in_data(anything, {"\0": 1})[0].where == "data"


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "objekt"}, "is no JSON schema"),
        ({}, 'must be "object"'),
        ({"type": "object", "properties": 3}, "is no JSON schema"),
        ({"type": "object", "properties": {"x": {"format": "datetime"}}}, "Unknown format: 'datetime'"),
        ({"type": "object", "$ref": "https://example.com/s"}, "leads to no #/$defs/NAME"),
        ({"type": "object", "$ref": "file:///etc/passwd"}, "leads to no #/$defs/NAME"),
        ({"type": "object", "$ref": "#"}, "leads to no #/$defs/NAME"),
        ({"type": "object", "$dynamicRef": "#x"}, "is not taken"),
        ({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}, "leads to itself"),
        ({"type": "object", "properties": {"x": {"pattern": "(?=a)"}}}, "is no JSON schema"),
        ({"type": "object", "x": "y" * MOST_BYTES}, "bytes"),
        ({"type": "object", "const": "\0"}, "cannot be stored"),
    ],
)  # fmt: skip
def test_what_is_no_schema_of_data_is_refused(schema: dict[str, Any], told: str) -> None:
    assert told in faults_in_schema(schema)[0].message


def test_a_schema_whose_references_multiply_is_refused_before_anything_is_tried() -> None:
    twice = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(60)}
    schema = {"type": "object", "$ref": "#/$defs/d0", "$defs": {**twice, "d60": True}}
    assert "rules" in faults_in_schema(schema)[0].message


def test_a_pattern_never_backtracks() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a+)+$"}}}
    assert faults_in_data(schema, {"x": "a" * 60_000 + "b"})[0].where == "data/x"


@pytest.mark.parametrize("name", shipped())
def test_the_least_data_of_a_shipped_template_are_valid(name: str) -> None:
    content = shipped()[name].content
    least = least_data(content.schema, content.sample)
    assert faults_in_data(content.schema, least) == []
    assert "zone" not in least


DOUBLED: dict[str, Any] = {
    "x0": {"type": "string"},
    **{f"x{i}": {"allOf": [{"$ref": f"#/$defs/x{i - 1}"}] * 2} for i in range(1, 22)},
}


@pytest.mark.parametrize(
    ("inner", "named"),
    [
        (
            {"$id": "http://e.example/a", "$ref": "#/$defs/x21", "$defs": DOUBLED},
            dict.fromkeys(DOUBLED, True),
        ),
        ({"$ref": "#/$defs/%78"}, {"%78": True, "x": {"type": "string"}}),
        ({"$ref": "#/$defs/a~1b"}, {"a~1b": True, "a/b": {"type": "string"}}),
        ({"$ref": "#/$defs/a/not"}, {"a/not": True, "a": {"not": {"type": "string"}}}),
        ({"$anchor": "x"}, {}),
        ({"$schema": "https://json-schema.org/draft/2020-12/schema"}, {}),
    ],
)
def test_nothing_leads_elsewhere_than_where_it_was_counted(
    inner: dict[str, Any], named: dict[str, Any]
) -> None:
    assert faults_in_schema({"type": "object", "properties": {"a": inner}, "$defs": named})


def test_a_definition_may_be_true() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"$ref": "#/$defs/x"}},
        "$defs": {"x": True},
    }
    assert faults_in_schema(schema) == []
    assert least_data(schema, {"a": 1, "b": 2}) == {"a": 1}


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory"])
def test_what_a_machine_calls_a_zone_is_none(name: str) -> None:
    schema = {"type": "object", "properties": {"zone": SCHEMA["properties"]["zone"]}}
    assert faults_in_data(schema, {"zone": name}) == [
        Fault("data/zone", "is no zone of the IANA database, as Europe/Madrid")
    ]


@pytest.mark.parametrize(
    "name",
    ["Ada", "José María O'Neill-Núñez, Jr.", "李", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "x" * 100],
)
def test_names_are_names(name: str) -> None:
    assert name_of(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x" * 101,
        "there,\n\nUnlock it",
        "a\u2028b",
        "a\x85b",
        "https:evil",
        "a/b",
        "a@b",
        "WWW.evil",
        "a\u202eb",
        7,
    ],
)
def test_what_could_be_read_as_our_own_words_is_no_name(name: Any) -> None:
    with pytest.raises(ValueError, match="is no name"):
        name_of(name)
