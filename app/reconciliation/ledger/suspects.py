"""Suspects: the records to look at, one row per (entity, key), in the core DB.

Scans, watermarks, events and repairs nominate; only the repair path takes away. A claim is a lease: a repairer that
dies loses it, a nomination that arrives meanwhile is counted, never waits, and makes the record be looked at again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg

# What a record waits for that was written a moment ago.
SETTLING = "the record to settle"
# Whether a suspect waits with the run that found it, which an operator has paused; an event takes it out of that.
_RESTS = """EXISTS (SELECT FROM runs WHERE runs.id = suspects.run_id AND runs.paused_at IS NOT NULL
    AND suspects.cause IN ('run ' || runs.id::text, 'watermark'))"""
# Whoever locks several suspects locks them in this order, that of Python's strings: so nobody waits in a circle.
IN_ORDER = 'ORDER BY suspects.entity COLLATE "C", suspects.key COLLATE "C"'
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
    """Make records suspects; one that already is one is looked at (again) now.

    Its patience starts anew, but not that with a record that will not settle: one that is written all the time would
    never be shown as unsettled. What was nominated otherwise stays so when a run finds it too, and does not rest with
    that run.
    """
    await nominate_all(connection, {(entity, key): run_id for key in keys}, cause=cause, mode=mode)


async def nominate_all(
    connection: asyncpg.Connection | asyncpg.Pool,
    records: Mapping[tuple[str, str], UUID | None],
    *,
    cause: str,
    mode: str = "incremental",
    after_seconds: float = 0.0,
) -> None:
    """As `nominate`, for records (entity and key) of several entities, each with the run that it is nominated for.

    With `after_seconds` they are due only then, but for those that are suspects already.
    """
    ordered = sorted(records)
    for at in range(0, len(ordered), _AT_ONCE):
        some = ordered[at : at + _AT_ONCE]
        await _nominate(
            connection,
            [(entity, key, records[entity, key]) for entity, key in some],
            cause,
            mode,
            after_seconds,
        )


async def _nominate(
    connection: asyncpg.Connection | asyncpg.Pool,
    rows: list[tuple[str, str, UUID | None]],
    cause: str,
    mode: str,
    after_seconds: float,
) -> None:
    entities, keys, run_ids = zip(*rows, strict=True)
    await connection.execute(
        """
        INSERT INTO suspects (entity, key, run_id, cause, mode, due_at)
        SELECT entity, key, run_id, $4, $5, now() + make_interval(secs => $7)
        FROM unnest($1::text[], $2::text[], $3::uuid[]) AS given (entity, key, run_id)
        ON CONFLICT (entity, key) DO UPDATE SET
            nominations = suspects.nominations + 1,
            cause = CASE WHEN (EXCLUDED.cause = 'watermark' OR EXCLUDED.cause LIKE 'run %')
                    AND NOT (suspects.cause = 'watermark' OR suspects.cause LIKE 'run %')
                THEN suspects.cause ELSE EXCLUDED.cause END,
            mode = CASE WHEN suspects.mode = EXCLUDED.mode THEN suspects.mode ELSE 'any' END,
            run_id = COALESCE(EXCLUDED.run_id, suspects.run_id),
            attempts = CASE WHEN suspects.waiting_for = $6 THEN suspects.attempts ELSE 0 END,
            due_at = LEAST(suspects.due_at, EXCLUDED.due_at)
        """,
        entities,
        keys,
        run_ids,
        cause,
        mode,
        SETTLING,
        after_seconds,
    )


async def claim(core: asyncpg.Pool, entity: str, *, limit: int, lease_seconds: float) -> list[Suspect]:
    """Claim up to `limit` due suspects of an entity for `lease_seconds`; those of a run that rests, rest with it."""
    lease = uuid4()
    rows = await core.fetch(
        f"""
        UPDATE suspects SET leased_by = $3, leased_until = now() + make_interval(secs => $4)
        FROM (
            SELECT key FROM suspects
            WHERE entity = $1 AND due_at <= now() AND leased_until < now()
                AND NOT {_RESTS}
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
    for entity in sorted({each.entity for each in suspects}):
        own = [each for each in suspects if each.entity == entity]
        arguments = (
            entity,
            [each.key for each in own],
            [each.nominations for each in own],
            own[0].lease,
        )
        await connection.execute(
            f"""
            DELETE FROM suspects USING (
                SELECT suspects.key FROM suspects JOIN unnest($2::text[], $3::bigint[]) AS own (key, nominations)
                    ON suspects.key = own.key AND suspects.nominations = own.nominations
                WHERE entity = $1 AND leased_by = $4 {IN_ORDER} FOR UPDATE OF suspects
            ) AS locked
            WHERE suspects.entity = $1 AND suspects.key = locked.key
            """,
            *arguments,
        )
        await connection.execute(
            f"""
            UPDATE suspects SET leased_until = '-infinity', due_at = now()
            FROM (SELECT key FROM suspects WHERE entity = $1 AND key = ANY($2) AND leased_by = $3 {IN_ORDER} FOR UPDATE)
                AS locked
            WHERE suspects.entity = $1 AND suspects.key = locked.key
            """,
            entity,
            arguments[1],
            arguments[3],
        )


async def postpone(connection: asyncpg.Connection | asyncpg.Pool, postponed: Sequence[Postponed]) -> None:
    """Give suspects back, to be looked at later; one that was nominated again meanwhile is due now."""
    if not postponed:
        return
    await connection.execute(
        f"""
        UPDATE suspects SET leased_until = '-infinity', attempts = suspects.attempts + given.counts,
            waiting_for = given.waiting_for,
            due_at = CASE WHEN suspects.nominations = given.nominations
                THEN now() + make_interval(secs => given.seconds) ELSE now() END
        FROM (
            SELECT given.* FROM suspects
            JOIN unnest($1::text[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::float8[], $7::int[])
                AS given (entity, key, nominations, lease, waiting_for, seconds, counts)
                ON suspects.entity = given.entity AND suspects.key = given.key AND leased_by = given.lease
            {IN_ORDER} FOR UPDATE OF suspects
        ) AS given
        WHERE suspects.entity = given.entity AND suspects.key = given.key
        """,
        [each.suspect.entity for each in postponed],
        [each.suspect.key for each in postponed],
        [each.suspect.nominations for each in postponed],
        [each.suspect.lease for each in postponed],
        [each.waiting_for for each in postponed],
        [each.seconds for each in postponed],
        [int(each.counts) for each in postponed],
    )


async def suspected(core: asyncpg.Pool, entity: str, keys: Sequence[str]) -> set[str]:
    """Which of these records are suspects, but for those that rest with their run."""
    rows = await core.fetch(
        f"SELECT key FROM suspects WHERE entity = $1 AND key = ANY($2) AND NOT {_RESTS}", entity, list(keys)
    )
    return {row["key"] for row in rows}


async def next_due(core: asyncpg.Pool, entities: Sequence[str]) -> float | None:
    """Seconds until the next suspect of these entities is due, at most 0 when one is; None when there is none."""
    # By the core DB's clock alone: that is the one that they are due by.
    seconds: float | None = await core.fetchval(
        f"""
        SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM suspects
        WHERE entity = ANY($1) AND leased_until < now() AND NOT {_RESTS}
        """,
        entities,
    )
    return seconds


async def hasten(core: asyncpg.Pool, arrived: Sequence[str]) -> None:
    """Look now at what waits for records that have just arrived (spelled as in `waiting_for`)."""
    if arrived:
        await look_now(core, "waiting_for = ANY($1)", list(arrived))


async def look_now(connection: asyncpg.Connection | asyncpg.Pool, condition: str, *arguments: object) -> None:
    """Have the suspects looked at now that fulfil a condition in SQL."""
    await connection.execute(
        f"""
        UPDATE suspects SET due_at = now()
        FROM (SELECT entity, key FROM suspects WHERE {condition} {IN_ORDER} FOR UPDATE) AS locked
        WHERE suspects.entity = locked.entity AND suspects.key = locked.key
        """,
        *arguments,
    )
