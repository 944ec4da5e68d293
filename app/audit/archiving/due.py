"""What may be archived: whole seals, from the beginning on, that nothing still needs in Redis."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from msgspec import Struct
from redis.asyncio import Redis

from app.audit.archiving.kept import LAST, read_kept
from app.audit.sealing.seals import Seal
from app.audit.sealing.stream import ChainBrokenError
from app.audit.store import AuditStore

YOUNGEST = timedelta(hours=1)
"""What was sealed later stays: reads and facts are sent again within minutes, and known by their ids."""

FILE_ENTRIES = 100_000
"""One archive holds no more entries, unless one seal has them."""

_IDS_AT_ONCE = 1000
_COVERING = "SELECT number FROM audit_seals WHERE first_sequence <= $1 ORDER BY first_sequence DESC LIMIT 1"


class Due(Struct, frozen=True):
    """Seals that may be archived, and their entries; none where `last` is less than `first`.

    `held_by` says what keeps more from being archived, where it is not their age.
    """

    seals: tuple[int, int]
    first: int
    last: int
    held_by: str | None = None

    @property
    def entries(self) -> int:
        return self.last - self.first + 1


async def find_due(core: asyncpg.Pool, audit: AuditStore, before: datetime, now: datetime) -> Due:
    """What was sealed before an instant, and at least an hour ago. Raises ChainBrokenError where the core DB lacks a seal."""
    begin, first = await next_in_line(core)
    newest = await core.fetchval("SELECT max(number) FROM audit_seals") or 0
    free, held_by = newest - 1, "its seal is the newest one"
    if (needed := await _first_needed(core, audit)) is not None:
        covering = await core.fetchval(_COVERING, needed[0])
        if covering is not None and covering - 1 < free:
            free, held_by = covering - 1, needed[1]
    end = await _last_sealed_before(core, begin, free, min(before, now - YOUNGEST))
    last = (
        await core.fetchval("SELECT last_sequence FROM audit_seals WHERE number = $1", end)
        if end >= begin
        else None
    )
    return Due((begin, end), first, last or first - 1, held_by if end == free else None)


async def used_megabytes(redis: Redis) -> float:
    """The memory that the audit store's server uses, for all that lies in it."""
    return float((await redis.info(section="memory"))["used_memory"]) / 2**20


async def next_in_line(core: asyncpg.Pool) -> tuple[int, int]:
    """The seal and the entry that the next archive begins with."""
    row = await core.fetchrow(LAST)
    if row is None:
        return 1, 1
    last = read_kept(row)
    return last.seals[1] + 1, last.last + 1


async def _first_needed(core: asyncpg.Pool, audit: AuditStore) -> tuple[int, str] | None:
    """The first entry that is still looked for by its id, and what for."""
    opened = await audit.first_open()
    waiting: list[int] = []
    after = 0
    while rows := await core.fetch(
        "SELECT position, id FROM audit_outbox WHERE position > $1 ORDER BY position LIMIT $2",
        after,
        _IDS_AT_ONCE,
    ):
        after = rows[-1]["position"]
        waiting += await _first_of(audit, [row["id"] for row in rows])
    found = [(opened, "a change has no outcome yet")] if opened else []
    found += [(each, "a fact waits in the outbox") for each in waiting]
    return min(found, default=None)


async def _first_of(audit: AuditStore, ids: Sequence[UUID]) -> list[int]:
    return sorted(begun.sequence for begun, _ in (await audit.find(ids)).values())[:1]


async def _last_sealed_before(core: asyncpg.Pool, begin: int, end: int, before: datetime) -> int:
    """The last seal from `begin` to `end` that was made before an instant; `begin` - 1 where none was."""
    low, high = begin - 1, end
    while low < high:
        middle = (low + high + 1) // 2
        if (await _seal(core, middle)).time < before:
            low = middle
        else:
            high = middle - 1
    return low


async def _seal(core: asyncpg.Pool, number: int) -> Seal:
    text = await core.fetchval("SELECT seal FROM audit_seals WHERE number = $1", number)
    if text is None:
        raise ChainBrokenError(f"seal {number}", "the core DB does not have it")
    return read_seal(text, number)


def read_seal(text: str, number: int) -> Seal:
    """The seal with this number; raises ChainBrokenError where the text is none."""
    try:
        return Seal.read(text)
    except ValueError as error:
        raise ChainBrokenError(f"seal {number}", f"it cannot be read: {error}") from error
