"""Suspects: the records to look at, one row per (entity, key), in the core DB.

Scans, watermarks, events and repairs nominate; only the repair path takes away. A claim is a lease: a repairer that
dies loses it, a nomination that arrives meanwhile is counted, never waits, and makes the record be looked at again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

from app.clock import now

# Records nominated by one statement.
_AT_ONCE = 5000


@dataclass(frozen=True)
class Suspect:
    """A claimed suspect. `nominations` is what had been counted at the claim.

    `mode` is that of the job on whose behalf it was nominated, `any` where jobs of both modes did.
    """

    entity: str
    key: str
    cause: str
    run_id: UUID | None
    mode: str
    nominations: int
    attempts: int
    lease: UUID


@dataclass(frozen=True)
class Postponed:
    """Look again in `seconds`, because of `waiting_for`."""

    suspect: Suspect
    seconds: float
    waiting_for: str
    counts: bool = True
    """Whether it uses up patience: a store that is away or a tripped breaker is not the record's doing."""


async def nominate(
    connection: asyncpg.Connection | asyncpg.Pool,
    entity: str,
    keys: Iterable[str],
    *,
    cause: str,
    mode: str = "incremental",
    run_id: UUID | None = None,
) -> None:
    """Make records suspects; one that already is one is looked at (again) now."""
    # In the order of keys, so that two nominations at once cannot wait for each other.
    ordered = sorted(set(keys))
    for at in range(0, len(ordered), _AT_ONCE):
        await _nominate(connection, entity, ordered[at : at + _AT_ONCE], cause, mode, run_id)


async def _nominate(
    connection: asyncpg.Connection | asyncpg.Pool, entity: str, keys: list[str], *origin: str | UUID | None
) -> None:
    await connection.execute(
        """
        INSERT INTO suspects (entity, key, cause, mode, run_id)
        SELECT $1, key, $3, $4, $5 FROM unnest($2::text[]) AS key
        ON CONFLICT (entity, key) DO UPDATE SET
            nominations = suspects.nominations + 1,
            cause = EXCLUDED.cause,
            mode = CASE WHEN suspects.mode = EXCLUDED.mode THEN suspects.mode ELSE 'any' END,
            run_id = COALESCE(EXCLUDED.run_id, suspects.run_id),
            attempts = 0,
            waiting_for = NULL,
            due_at = LEAST(suspects.due_at, EXCLUDED.due_at)
        """,
        entity,
        keys,
        *origin,
    )


async def claim(core: asyncpg.Pool, entity: str, *, limit: int, lease_seconds: float) -> list[Suspect]:
    """Claim up to `limit` due suspects of an entity for `lease_seconds`."""
    lease = uuid4()
    rows = await core.fetch(
        """
        UPDATE suspects SET leased_by = $3, leased_until = now() + make_interval(secs => $4)
        FROM (
            SELECT key FROM suspects
            WHERE entity = $1 AND due_at <= now() AND leased_until < now()
            ORDER BY due_at, key LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS due
        WHERE suspects.entity = $1 AND suspects.key = due.key
        RETURNING suspects.key, cause, run_id, mode, nominations, attempts
        """,
        entity,
        limit,
        lease,
        lease_seconds,
    )
    return [Suspect(entity=entity, lease=lease, **dict(row)) for row in rows]


async def dismiss(connection: asyncpg.Connection | asyncpg.Pool, suspects: Sequence[Suspect]) -> None:
    """Take away suspects whose outcome is recorded; one that was nominated again meanwhile stays, due now."""
    for entity in {each.entity for each in suspects}:
        own = [each for each in suspects if each.entity == entity]
        arguments = (
            entity,
            [each.key for each in own],
            [each.nominations for each in own],
            own[0].lease,
        )
        await connection.execute(
            """
            DELETE FROM suspects USING unnest($2::text[], $3::bigint[]) AS own (key, nominations)
            WHERE suspects.entity = $1 AND suspects.key = own.key
              AND suspects.nominations = own.nominations AND leased_by = $4
            """,
            *arguments,
        )
        await connection.execute(
            """
            UPDATE suspects SET leased_until = '-infinity', due_at = now()
            WHERE entity = $1 AND key = ANY($2) AND leased_by = $3
            """,
            entity,
            arguments[1],
            arguments[3],
        )


async def postpone(connection: asyncpg.Connection | asyncpg.Pool, postponed: Sequence[Postponed]) -> None:
    """Give suspects back, to be looked at later; one that was nominated again meanwhile is due now."""
    await connection.executemany(
        """
        UPDATE suspects SET leased_until = '-infinity', attempts = attempts + $7::int, waiting_for = $5,
            due_at = CASE WHEN nominations = $3 THEN now() + make_interval(secs => $6) ELSE now() END
        WHERE entity = $1 AND key = $2 AND leased_by = $4
        """,
        [
            (
                each.suspect.entity,
                each.suspect.key,
                each.suspect.nominations,
                each.suspect.lease,
                each.waiting_for,
                each.seconds,
                int(each.counts),
            )
            for each in sorted(postponed, key=lambda each: each.suspect.key)
        ],
    )


async def next_due(core: asyncpg.Pool, entities: Sequence[str]) -> float | None:
    """Seconds until the next suspect of these entities is due, at most 0 when one is; None when there is none."""
    due_at = await core.fetchval(
        "SELECT min(due_at) FROM suspects WHERE entity = ANY($1) AND leased_until < now()", entities
    )
    return None if due_at is None else float((due_at - now()).total_seconds())


async def hasten(core: asyncpg.Pool, arrived: Sequence[str]) -> None:
    """Look now at what waits for records that have just arrived (spelled as in `waiting_for`)."""
    if arrived:
        await core.execute("UPDATE suspects SET due_at = now() WHERE waiting_for = ANY($1)", list(arrived))
