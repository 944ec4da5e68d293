"""What the data of a mail must be like: JSON Schema 2020-12, checked when the mail is asked for.

`jsonschema-rs` checks in microseconds, with patterns that never backtrack, fetches nothing, and leaves the values, which
are personal, out of what it says.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
import msgspec

from app.errors import Fault, first_of
from app.notifications.templates import formatting

MOST_BYTES = 65_536
MOST_DEPTH = 8
MOST_SCHEMA_DEPTH = 24
MOST_RULES = 2_000
"""Parts of a schema. A reference counts as much as what it refers to: a few lines could ask for work without end."""
MOST_CHECKS = 200_000
"""Parts of a schema times values: the library tells all faults or one, and each of very many costs seconds."""


LONGEST_NAME = 100
NO_NAME = f"is no name: up to {LONGEST_NAME} characters in one line, without / : @ and www."

_DEFS = "#/$defs/"
# What leads elsewhere than it seems to: a place of its own, from which references are read, and escapes in references.
_REFUSED = frozenset(
    {"$id", "$schema", "$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"}
)
_REFERENCE = re.compile(r"#/\$defs/[A-Za-z0-9_.-]+")
# Controls, marks of direction and the like, line ends, and what links are made of.
_NO_NAME = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff/:@\uff20]|www\.", re.IGNORECASE
)


def url_of(value: Any) -> str:
    """An absolute http or https URL that is nothing but a URL; raises ValueError."""
    parts = urlsplit(value)
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not value.isprintable()
        or set(value) & set(" \"'<>\\")
    ):
        raise ValueError
    return str(value)


def name_of(value: Any) -> str:
    """A name that somebody can be greeted by; raises ValueError for what could be read as words or a link of ours."""
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME or _NO_NAME.search(value):
        raise ValueError(NO_NAME)
    return value


# What each `format` of ours takes, in place of what the library would.
_FORMATS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "date-time": (formatting.instant_of, "is no instant with its zone, as 2027-03-14T15:30:00Z"),
    "date": (formatting.day_of, "is no day, as 2027-03-14"),
    "zone": (formatting.zone_of, "is no zone of the IANA database, as Europe/Madrid"),
    "decimal": (formatting.decimal_of, "is no decimal number in a string, as 1250.00"),
    "currency": (formatting.currency_of, "is no currency of ISO 4217, as EUR"),
    "uri": (url_of, "is no absolute http or https URL"),
    "name": (name_of, NO_NAME),
}


def faults_in_data(schema: Mapping[str, Any], data: Mapping[str, Any], *, where: str = "data") -> list[Fault]:
    """What is wrong with the data of a mail, each with its place, as `data/launch/date`; see `first_of`.

    Of very many values under a large schema the first fault alone.
    """
    if shape := first_of(_faults_of_shape(data, where, depth=MOST_DEPTH)):
        return shape
    if len(msgspec.json.encode(data)) > MOST_BYTES:
        return [Fault(where, f"has more than {MOST_BYTES:,} bytes")]
    errors = _errors(schema, data)
    return first_of(fault for error in errors for fault in _faults(error, where))


def _errors(schema: Mapping[str, Any], data: Mapping[str, Any]) -> Iterable[jsonschema_rs.ValidationError]:
    validator = _validator(msgspec.json.encode(schema))
    if validator.is_valid(data):
        return []
    if _rules(schema, schema.get("$defs", {}), {}) * _values(data) <= MOST_CHECKS:
        return validator.iter_errors(data)
    try:
        validator.validate(data)
    except jsonschema_rs.ValidationError as error:
        return [error]
    return []


def _values(value: Any) -> int:
    """How many values there are in this one, itself included."""
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + sum(map(_values, value)) if isinstance(value, list) else 1


def faults_in_schema(schema: Mapping[str, Any], *, where: str = "schema") -> list[Fault]:
    """Everything that keeps this from being a schema of data: the first thing, as the library tells it."""
    if shape := first_of(_faults_of_shape(schema, where, depth=MOST_SCHEMA_DEPTH)):
        return shape
    if len(text := msgspec.json.encode(schema)) > MOST_BYTES:
        return [Fault(where, f"has more than {MOST_BYTES:,} bytes")]
    named = schema.get("$defs")
    try:
        if _rules(schema, named if isinstance(named, dict) else {}, {}) > MOST_RULES:
            return [Fault(where, f"has more than {MOST_RULES:,} rules, with what they refer to")]
        _validator(text)
    except (ValueError, RecursionError) as error:
        return [Fault(where, f"is no JSON schema: {str(error).splitlines()[0]}")]
    return [] if schema.get("type") == "object" else [Fault(f"{where}/type", 'must be "object"')]


def least_data(schema: Mapping[str, Any], data: Any) -> Any:
    """Valid data without whatever the schema does not require: what a template has to do with, if need be."""
    return _least(schema, data, schema.get("$defs", {}))


def _least(rule: Any, data: Any, named: Mapping[str, Any]) -> Any:
    if not isinstance(rule, dict):
        return data
    referred = named.get(str(rule.get("$ref")).removeprefix(_DEFS))
    rule = {**referred, **rule} if isinstance(referred, dict) else rule
    if isinstance(data, list):
        return [_least(rule.get("items"), each, named) for each in data]
    if not isinstance(data, dict):
        return data
    inner, required = rule.get("properties", {}), rule.get("required", [])
    return {name: _least(inner.get(name), each, named) for name, each in data.items() if name in required}


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> jsonschema_rs.Validator:
    return jsonschema_rs.Draft202012Validator(
        msgspec.json.decode(schema),
        formats={name: _accepting(check) for name, (check, _) in _FORMATS.items()},
        validate_formats=True,
        ignore_unknown_formats=False,
        offline=True,
        mask="it",
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _accepting(check: Callable[[Any], Any]) -> Callable[[Any], bool]:
    def accepts(value: Any) -> bool:
        try:
            check(value)
        except ValueError:
            return False
        return True

    return accepts


def _faults(error: jsonschema_rs.ValidationError, where: str) -> Iterator[Fault]:
    place = "/".join([where, *map(str, error.instance_path)])
    match error.kind.as_dict():
        case {"property": str(name)} if error.kind.name == "required":
            yield Fault(f"{place}/{name}", "is missing")
        case {"unexpected": list(names)}:
            yield from (Fault(f"{place}/{name}", "is unknown") for name in names)
        case {"format": str(name)} if name in _FORMATS:
            yield Fault(place, _FORMATS[name][1])
        case _:
            yield Fault(place, error.message.removeprefix("it "))


def _faults_of_shape(value: Any, where: str, *, depth: int) -> Iterator[Fault]:
    if isinstance(value, str) and "\0" in value:
        yield Fault(where, "holds a character that cannot be stored")
    if not isinstance(value, dict | list):
        return
    if depth == 0:
        yield Fault(where, "lies too deep")
        return
    if isinstance(value, dict):
        yield from _faults_of_shape("".join(value), where, depth=depth)
    for name, each in value.items() if isinstance(value, dict) else enumerate(value):
        yield from _faults_of_shape(each, f"{where}/{name}", depth=depth - 1)


def _rules(part: Any, named: Mapping[str, Any], counted: dict[str, int | None]) -> int:
    """How many rules a part of a schema has, those that it refers to as often as it does.

    Raises ValueError for a reference that leads to itself, elsewhere or nowhere.
    """
    if isinstance(part, list):
        return sum(_rules(each, named, counted) for each in part)
    if not isinstance(part, dict):
        return 0
    if refused := sorted(_REFUSED & part.keys()):
        raise ValueError(f"{refused[0]} is not taken")
    reference = part.get("$ref")
    referred = _rules_of(reference, named, counted) if isinstance(reference, str) else 0
    return 1 + referred + sum(_rules(each, named, counted) for each in part.values())


def _rules_of(reference: str, named: Mapping[str, Any], counted: dict[str, int | None]) -> int:
    name = reference.removeprefix(_DEFS)
    if name not in counted:
        counted[name] = None
        if name not in named or not _REFERENCE.fullmatch(reference):
            raise ValueError(f"{reference} leads to no #/$defs/NAME of it")
        counted[name] = _rules(named[name], named, counted)
    if (count := counted[name]) is None:
        raise ValueError(f"{reference} leads to itself")
    return count
