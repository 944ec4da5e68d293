"""How a value of any type is told in a log entry: by its parts, or as text."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from uuid import UUID

import msgspec
from pydantic import BaseModel

# Of a text that are looked through for secrets; of a longer one, no more is told.
MOST_CHARACTERS = 131_072
_MOST_BYTES = (
    4 * MOST_CHARACTERS + 4
)  # of a binary value that are looked at: more characters than that, in any case
_TOLD_BY_STR = (date, time, timedelta, UUID, Decimal, PurePath, BaseException)


def parts_of(value: object) -> Mapping[object, object] | Collection[object] | None:
    """The parts of a composed value, by name where they have one; None for a value that is told as text."""
    if isinstance(value, str | bytes | Enum | type):
        return None
    if isinstance(value, Mapping):
        return value
    names = _names_of(value)
    if names is not None:
        return {name: getattr(value, name, None) for name in names}
    return value if isinstance(value, list | tuple | set | frozenset) else None


def _names_of(value: object) -> Iterable[str] | None:
    match value:
        case msgspec.Struct():
            return value.__struct_fields__
        case BaseModel():
            return type(value).model_fields
        case tuple():
            return getattr(value, "_fields", None)
        case _ if dataclasses.is_dataclass(value):
            return (each.name for each in dataclasses.fields(value))
        case _:
            return None


def text_of(value: object) -> str:
    """A value as text that can be encoded; of one that will not tell, its type. It never raises."""
    if type(value) is str and value.isascii():
        return value
    try:
        # `str.encode`, for the value may be of a class of its own, which has another.
        return str.encode(_told(value), "utf-8", "backslashreplace").decode()
    except Exception:  # noqa: BLE001  (whatever a value does when it is asked, its entry must not be lost)
        return unprintable(value)


def unprintable(value: object) -> str:
    """What stands for a value that cannot be told."""
    return f"<unprintable {type(value).__name__}>"


def _told(value: object) -> str:
    match value:
        case Enum():
            return str(value.value)
        case str():
            return value
        case bytes() | bytearray() | memoryview():
            return bytes(value[:_MOST_BYTES]).decode("utf-8", "backslashreplace")
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat(timespec="milliseconds")
        case _ if isinstance(value, _TOLD_BY_STR):
            return str(value)
        case _:
            return repr(value)
