"""Facts about core-DB rows on their way to the audit store.

A fact is a row of `audit_outbox`, written in the transaction that makes it true; `relay` moves rows to the audit store
in order. A relay that dies in between sends a fact again: the store takes it once.
"""

from collections.abc import Collection, Sequence
from typing import Any, NotRequired, TypedDict, Unpack
from uuid import UUID, uuid4

import asyncpg
import msgspec
from loguru import logger

from app.audit.details import check_detail
from app.audit.entries import Fact, FactEntry
from app.audit.store import AuditStore
from app.clock import now

# Any constant will do, as long as every relay takes the same one.
_RELAY_LOCK = 4_205_502
_BATCH = 500


class About(TypedDict):
    """What a fact tells beside its name: who did what to what, and why."""

    by: str
    target: str
    reason: NotRequired[str | None]
    detail: NotRequired[dict[str, Any] | None]
    run_id: NotRequired[UUID | None]
    entity: NotRequired[str | None]
    key: NotRequired[str | None]


async def record(connection: asyncpg.Connection, name: Fact, **about: Unpack[About]) -> None:
    """Record a fact in the open transaction of `connection`."""
    await record_all(connection, name, [about])


async def record_all(connection: asyncpg.Connection, name: Fact, abouts: Sequence[About]) -> None:
    """Record facts of one name, in this order, by one statement in the open transaction of `connection`."""
    entries = [_entry(name, **about) for about in abouts]
    await connection.execute(
        """
        INSERT INTO audit_outbox (id, entry)
        SELECT id, entry FROM unnest($1::uuid[], $2::jsonb[]) WITH ORDINALITY AS given (id, entry, place) ORDER BY place
        """,
        [each.id for each in entries],
        [msgspec.json.encode(each).decode() for each in entries],
    )
    if entries:
        _log(entries)


def _log(entries: Sequence[FactEntry]) -> None:
    fact = entries[0]
    bound = logger.bind(fact=fact.name, actor=fact.actor, count=len(entries))
    if len(entries) == 1:
        bound = bound.bind(target=fact.target, entity=fact.entity, key=fact.key, run_id=fact.run_id)
    bound.info("fact.recorded")


def _entry(name: Fact, *, by: str, **about: Any) -> FactEntry:
    check_detail(name, about.get("detail"))
    return FactEntry(id=uuid4(), at=now(), name=name, actor=by, **about)


# Facts about some records that tell more than that something was done; that a person was forgotten stays as it is.
_TELLS = """
(entry ->> 'entity', entry ->> 'key') IN (SELECT * FROM unnest($1::text[], $2::text[])) AND entry ->> 'name' <> $3
AND (entry ->> 'detail' IS NOT NULL OR COALESCE(entry ->> 'reason', 'erased') <> 'erased')
"""


async def count(core: asyncpg.Pool, records: Collection[tuple[str, str]]) -> int:
    """How many waiting facts about these records (entity and key) tell a reason or a detail."""
    return int(await core.fetchval(f"SELECT count(*) FROM audit_outbox WHERE {_TELLS}", *_about(records)))


async def erase(connection: asyncpg.Connection, records: Collection[tuple[str, str]]) -> int:
    """Take detail and reason out of the waiting facts about these records; answers out of how many.

    It waits for a relay that is moving facts, and keeps others away until the transaction ends: what is counted as erased
    goes nowhere as it was.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _RELAY_LOCK)
    rows = await connection.fetch(
        f"""
        UPDATE audit_outbox SET entry = entry || jsonb_build_object(
            'detail', NULL, 'reason', CASE WHEN entry ->> 'reason' IS NOT NULL THEN 'erased' END)
        WHERE {_TELLS} RETURNING id
        """,
        *_about(records),
    )
    return len(rows)


def _about(records: Collection[tuple[str, str]]) -> tuple[list[str], list[str], str]:
    return [entity for entity, _ in records], [key for _, key in records], Fact.PERSON_FORGOTTEN


async def relay(core: asyncpg.Pool, audit: AuditStore) -> int:
    """Move every waiting fact to the audit store; answers how many. One relay works at a time."""
    moved = 0
    while True:
        async with core.acquire() as connection, connection.transaction():
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _RELAY_LOCK):
                return moved
            rows = await connection.fetch(
                "SELECT position, entry FROM audit_outbox ORDER BY position LIMIT $1", _BATCH
            )
            if not rows:
                return moved
            await audit.append([msgspec.json.decode(row["entry"], type=FactEntry) for row in rows])
            await connection.execute(
                "DELETE FROM audit_outbox WHERE position = ANY($1)", [row["position"] for row in rows]
            )
            moved += len(rows)
