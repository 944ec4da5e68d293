"""Lists the seals that the core DB keeps."""

from datetime import datetime

import asyncpg
from msgspec import Struct

from app.audit.sealing.seals import Seal, hash_of
from app.pages import Page, check_limit, decode_cursor_number, encode_cursor


class SealView(Struct, frozen=True):
    """A seal, with the hash by which the next one names it."""

    number: int
    first: int
    last: int
    time: datetime
    key: str
    root: str
    hash: str


async def list_seals(core: asyncpg.Connection, *, limit: int, cursor: str | None = None) -> Page[SealView]:
    """Seals, the latest first. Raises ValueError where one cannot be read."""
    rows = await core.fetch(
        "SELECT seal FROM audit_seals WHERE $1::bigint IS NULL OR number < $1 ORDER BY number DESC LIMIT $2",
        decode_cursor_number(cursor),
        check_limit(limit) + 1,
    )
    items = [_view(row["seal"]) for row in rows[:limit]]
    return Page(items, encode_cursor(str(items[-1].number)) if len(rows) > limit else None)


def _view(text: str) -> SealView:
    seal = Seal.read(text)
    return SealView(
        seal.number, seal.first, seal.last, seal.time, seal.key, seal.root.hex(), hash_of(text).hex()
    )
