"""The circuit breaker: repairs of an entity stop, until an operator looks, when there are too many of them.

It counts changes and deletions over a rolling hour, whatever nominated them. The limit is a share of the entity's
records, with a floor (settings `breaker_*`); what an operator approved beforehand comes on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import StoreUnavailableError
from app.reconciliation.ledger import suspects
from app.reconciliation.mapping import Mapping, mapping_of
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.settings import Settings


@dataclass(frozen=True)
class Limits:
    """A number of changes and, among them, of deletions: made, about to be made, or the most in an hour."""

    changes: int
    deletes: int


def limits(settings: Settings, records: int) -> Limits:
    """The limits for an entity of that many records."""
    return Limits(
        changes=max(settings.breaker_change_floor, int(records * settings.breaker_change_ratio)),
        deletes=max(settings.breaker_delete_floor, int(records * settings.breaker_delete_ratio)),
    )


@dataclass(frozen=True)
class Granted:
    """How many of the wanted repairs may be made now, and why no more of them may; `counted_at` is for `give_back`."""

    repairs: int
    stopped: str | None = None
    counted_at: datetime | None = None


async def reserve(stores: Stores, entity: str, wanted: Sequence[Limits]) -> Granted:
    """Count repairs that are about to be made, each with its changes and deletions: the first ones that still may."""
    records = await known_records(stores, entity)
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute("INSERT INTO breakers (entity) VALUES ($1) ON CONFLICT DO NOTHING", entity)
        breaker = await connection.fetchrow(
            """
            SELECT *, EXISTS (SELECT FROM runs WHERE id = approved_run_id
                AND COALESCE(finished_at, now()) > now() - interval '1 hour') AS still_approved
            FROM breakers WHERE entity = $1 FOR UPDATE
            """,
            entity,
        )
        if breaker["tripped_at"] is not None:
            return Granted(0, str(breaker["reason"]))
        counted = await connection.fetchrow(
            """
            SELECT COALESCE(sum(changes), 0) AS changes, COALESCE(sum(deletes), 0) AS deletes FROM repair_counts
            WHERE entity = $1 AND counted_at > GREATEST(now() - interval '1 hour', $2)
            """,
            entity,
            breaker["counted_from"],
        )
        allowed = _with_approved(limits(stores.settings, records), breaker)
        granted, total = _grant(Limits(counted["changes"], counted["deletes"]), allowed, wanted)
        counted_at = await _count(
            connection, entity, total.changes - counted["changes"], total.deletes - counted["deletes"]
        )
        if granted.stopped:
            await _trip(connection, entity, granted.stopped)
        return replace(granted, counted_at=counted_at)


async def give_back(core: asyncpg.Pool, entity: str, granted: Granted, unused: Sequence[Limits]) -> None:
    """Count no longer what was granted and then not tried."""
    await core.execute(
        "UPDATE repair_counts SET changes = changes - $3, deletes = deletes - $4 WHERE entity = $1 AND counted_at = $2",
        entity,
        granted.counted_at,
        sum(each.changes for each in unused),
        sum(each.deletes for each in unused),
    )


def _grant(counted: Limits, allowed: Limits, wanted: Sequence[Limits]) -> tuple[Granted, Limits]:
    """How many of `wanted` fit on top of what was counted, and what is counted with them."""
    for number, each in enumerate(wanted):
        total = Limits(counted.changes + each.changes, counted.deletes + each.deletes)
        reason = exceeded("changes", total.changes, allowed.changes) or exceeded(
            "deletions", total.deletes, allowed.deletes
        )
        if reason:
            return Granted(number, reason), counted
        counted = total
    return Granted(len(wanted)), counted


def _with_approved(allowed: Limits, breaker: asyncpg.Record) -> Limits:
    """What an operator approved beforehand comes on top, as long as the last hour may hold repairs of that run."""
    if not breaker["still_approved"]:
        return allowed
    return Limits(allowed.changes + breaker["allowed_changes"], allowed.deletes + breaker["allowed_deletes"])


async def allow(connection: asyncpg.Connection, entity: str, *, by: str, reason: str) -> None:
    """Let repairs of an entity go on, counting from now; raises NotFoundError for an unknown entity."""
    mapping_of(entity)
    await connection.execute(
        """
        INSERT INTO breakers (entity, counted_from) VALUES ($1, now()) ON CONFLICT (entity) DO UPDATE SET
            tripped_at = NULL, reason = NULL, counted_from = now(), approved_run_id = NULL, allowed_changes = 0,
            allowed_deletes = 0
        """,
        entity,
    )
    await suspects.look_now(connection, "entity = $1 AND due_at > now()", entity)
    await record(connection, Fact.REPAIRS_ALLOWED, by=by, target=entity, reason=reason, entity=entity)


async def allow_beforehand(
    connection: asyncpg.Connection, entity: str, run_id: UUID, *, changes: int, deletes: int
) -> None:
    """Raise the limits by what an operator has approved, until an hour after the end of that run."""
    await connection.execute(
        """
        INSERT INTO breakers (entity, counted_from, approved_run_id, allowed_changes, allowed_deletes)
        VALUES ($1, now(), $2, $3, $4)
        ON CONFLICT (entity) DO UPDATE SET tripped_at = NULL, reason = NULL, counted_from = now(),
            approved_run_id = $2, allowed_changes = $3, allowed_deletes = $4
        """,
        entity,
        run_id,
        changes,
        deletes,
    )


async def known_records(stores: Stores, entity: str) -> int:
    """How many records an entity has, on the side that has more: counted by its last full run, else estimated.

    An estimate holds for a minute: not every store makes one at no cost.
    """
    known = await stores.core.fetchval(
        """
        SELECT COALESCE((
            SELECT GREATEST(document_records, relational_records) FROM runs
            WHERE entity = $1 AND mode = 'full' AND compared_at IS NOT NULL ORDER BY compared_at DESC LIMIT 1
        ), (
            SELECT estimated_records FROM breakers WHERE entity = $1 AND estimated_at > now() - interval '1 minute'
        ))
        """,
        entity,
    )
    if known is not None:
        return int(known)
    estimated = await _estimated(stores, mapping_of(entity))
    await stores.core.execute(
        """
        INSERT INTO breakers (entity, estimated_records, estimated_at) VALUES ($1, $2, now())
        ON CONFLICT (entity) DO UPDATE SET estimated_records = $2, estimated_at = now()
        """,
        entity,
        estimated,
    )
    return estimated


async def _estimated(stores: Stores, mapping: Mapping) -> int:
    try:
        documents = await stores.customer[mapping.collection].estimated_document_count()
        rows = await stores.admin.fetchval(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)", mapping.table
        )
    except FAULTS as error:
        raise StoreUnavailableError("a database does not answer") from error
    return max(documents, rows or 0)


def exceeded(what: str, wanted: int, limit: int) -> str | None:
    """Why that many are too many; None where they are not."""
    return f"{wanted} {what} within an hour, more than {limit}" if wanted > limit else None


async def _count(connection: asyncpg.Connection, entity: str, changes: int, deletes: int) -> datetime:
    counted_at: datetime = await connection.fetchval(
        """
        INSERT INTO repair_counts (entity, counted_at, changes, deletes) VALUES ($1, now(), $2, $3)
        ON CONFLICT (entity, counted_at) DO UPDATE SET
            changes = repair_counts.changes + EXCLUDED.changes, deletes = repair_counts.deletes + EXCLUDED.deletes
        RETURNING counted_at
        """,
        entity,
        changes,
        deletes,
    )
    await connection.execute("DELETE FROM repair_counts WHERE counted_at < now() - interval '2 hours'")
    return counted_at


async def _trip(connection: asyncpg.Connection, entity: str, reason: str) -> None:
    await connection.execute(
        "UPDATE breakers SET tripped_at = now(), reason = $2 WHERE entity = $1", entity, reason
    )
    await record(connection, Fact.BREAKER_TRIPPED, by="core", target=entity, reason=reason, entity=entity)


async def stopped(core: asyncpg.Pool) -> dict[str, str]:
    """Every entity whose repairs have stopped, and why."""
    rows = await core.fetch("SELECT entity, reason FROM breakers WHERE tripped_at IS NOT NULL")
    return {row["entity"]: row["reason"] for row in rows}
