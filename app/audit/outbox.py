"""Facts about core-DB rows on their way to the audit store.

A fact is a row of `audit_outbox`, written in the transaction that makes it true; `relay` moves rows to the audit store
in order. A relay that dies in between sends a fact again: the store takes it once.
"""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec

from app.audit.entries import Fact, FactEntry
from app.audit.store import AuditStore
from app.clock import now

# Any constant will do, as long as every relay takes the same one.
_RELAY_LOCK = 4_205_502
_BATCH = 500


async def record(
    connection: asyncpg.Connection,
    name: Fact,
    *,
    by: str,
    target: str,
    reason: str | None = None,
    detail: dict[str, Any] | None = None,
    run_id: UUID | None = None,
    entity: str | None = None,
    key: str | None = None,
) -> None:
    """Record a fact in the open transaction of `connection`."""
    entry = FactEntry(
        id=uuid4(),
        at=now(),
        name=name,
        actor=by,
        target=target,
        reason=reason,
        detail=detail,
        run_id=run_id,
        entity=entity,
        key=key,
    )
    await connection.execute(
        "INSERT INTO audit_outbox (id, entry) VALUES ($1, $2)", entry.id, msgspec.json.encode(entry).decode()
    )


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
