"""Reads of the audit by a person are recorded in it, as facts.

One fact stands for all calls of ten minutes by which one actor asks the same thing: paging through a long list or watching
a page that renews itself does not flood the record. What makes it one is its id, which follows from who asked what when.
The fact is durable before the answer is given: whoever reads is seen.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid5

import msgspec

from app.audit.details import check_detail
from app.audit.entries import Fact, FactEntry
from app.audit.store import AuditStore
from app.clock import now
from app.errors import ConflictError, NotFoundError

Answer = TypeVar("Answer")

SLOT_SECONDS = 600
# Any constant will do, as long as it stays.
_READS = UUID("6f1c3a52-9a5e-4f6b-8f0e-2f0c8f5d7a11")


async def record_read(
    audit: AuditStore,
    name: Fact,
    *,
    by: str,
    filters: dict[str, Any],
    run_id: UUID | None = None,
    entity: str | None = None,
    key: str | None = None,
) -> None:
    """Record that somebody reads, unless the same read was recorded in this slot of time.

    `filters` is what was asked for; what is None is left out. Raises StoreUnavailableError where it cannot be recorded:
    then nothing may be answered.
    """
    instant = now()
    given = {each: value for each, value in filters.items() if value is not None}
    asked = {each: value if isinstance(value, int) else str(value) for each, value in given.items()}
    check_detail(name, asked or None)
    await audit.append(
        [
            FactEntry(
                id=_id(name, by, given, instant),
                at=instant,
                name=name,
                actor=by,
                target=target_of(asked),
                detail=asked or None,
                run_id=run_id,
                entity=entity,
                key=key,
            )
        ]
    )


async def recorded(answer: Awaitable[Answer], record: Callable[[], Awaitable[None]]) -> Answer:
    """The answer, once `record` has recorded that it was asked for; that there is none is an answer too."""
    try:
        found = await answer
    except (NotFoundError, ConflictError):
        await record()
        raise
    await record()
    return found


def target_of(asked: dict[str, Any]) -> str:
    """What was asked for, as a person would write it: `everything` where there were no filters."""
    return ", ".join(f"{name} {value}" for name, value in asked.items()) or "everything"


def _id(name: Fact, by: str, asked: dict[str, Any], instant: datetime) -> UUID:
    # "The last 15 minutes" begin at another moment with every call, and are the same question.
    coarse = {each: _slot(value) if isinstance(value, datetime) else value for each, value in asked.items()}
    told = msgspec.json.encode([name, by, coarse, _slot(instant)], order="sorted")
    return uuid5(_READS, told.decode())


def _slot(instant: datetime) -> int:
    return int(instant.timestamp()) // SLOT_SECONDS
