"""Pages of a list: opaque cursors that go on where the last page ended."""

import base64
from collections.abc import Callable
from typing import Generic, TypeVar
from uuid import UUID

from msgspec import Struct

from app.errors import Fault, InvalidInputError

Item = TypeVar("Item")

LIMIT_DEFAULT = 50
LIMIT_MAX = 1000

_NUMBERS_END = 2**63  # of PostgreSQL's bigint


class Page(Struct, Generic[Item], frozen=True):
    """One page of a list; `next_cursor` asks for the following one and is null on the last."""

    items: list[Item]
    next_cursor: str | None = None


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor_id(cursor: str | None) -> UUID | None:
    """The id that a cursor holds; raises InvalidInputError where it is none of ours."""
    return decode_cursor(cursor, UUID)


def decode_cursor_number(cursor: str | None) -> int | None:
    """The number that a cursor holds, from 0 to 2**63 - 1; raises InvalidInputError where it is none of ours."""
    return decode_cursor(cursor, _parse_number)


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and (number := int(text)) < _NUMBERS_END):
        raise ValueError("no number of ours is spelled so")
    return number


def decode_cursor(cursor: str | None, parse: Callable[[str], Item]) -> Item | None:
    """What `parse` makes of the place that a cursor holds; raises InvalidInputError where it is none of ours."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return parse(_storable(base64.b64decode(padded, altchars=b"-_", validate=True).decode()))
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise InvalidInputError(
            "malformed cursor", [Fault("cursor", "is none that this service gave")]
        ) from None


def _storable(place: str) -> str:
    if "\0" in place:
        raise ValueError("no store can hold it")
    return place


def check_limit(limit: int) -> int:
    """The page size, refused outside 1 to 1000."""
    if not 1 <= limit <= LIMIT_MAX:
        raise InvalidInputError("bad page size", [Fault("limit", f"must lie between 1 and {LIMIT_MAX}")])
    return limit
