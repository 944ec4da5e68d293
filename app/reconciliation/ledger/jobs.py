"""Predefined jobs: for each entity a full one every night and an incremental one every minute.

A job only observes until an operator lets it repair. An entity with invariants has a third one, every hour, that checks
them; it only ever observes.
"""

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import Fault, InvalidInputError, NotFoundError
from app.reconciliation.ledger import breaker
from app.reconciliation.ledger.suspects import nominate
from app.reconciliation.ledger.views import JobView
from app.reconciliation.mapping import mapping_of, mappings
from app.reconciliation.rules import invariants_of
from app.stores.connections import Stores

# Cron expressions in UTC, by mode.
SCHEDULES = {"full": "0 2 * * *", "incremental": "* * * * *", "invariants": "37 * * * *"}


def check_mode(mode: str, entity: str) -> str:
    """The mode, refused where it is unknown or the entity has nothing for it."""
    if mode not in SCHEDULES:
        raise InvalidInputError("unknown mode", [Fault("mode", f"is one of {', '.join(SCHEDULES)}")])
    if mode == "invariants" and not invariants_of(entity):
        raise InvalidInputError("nothing to check", [Fault("entity", f"{entity} has no invariants")])
    return mode


async def ensure_jobs(core: asyncpg.Pool) -> None:
    """Add the jobs of entities that have none yet; they observe."""
    await core.executemany(
        "INSERT INTO jobs (name, entity, mode) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [
            (f"{entity}-{mode}", entity, mode)
            for entity in mappings()
            for mode in SCHEDULES
            if mode != "invariants" or invariants_of(entity)
        ],
    )


async def list_jobs(stores: Stores) -> list[JobView]:
    """Every job of the declared entities, referenced entities first."""
    await ensure_jobs(stores.core)
    rows = await stores.core.fetch("SELECT * FROM jobs ORDER BY mode")
    stopped = await breaker.stopped(stores.core)
    known = list(mappings())
    views = [_view(row, stopped) for row in rows if row["entity"] in known]
    return sorted(views, key=lambda view: known.index(view.entity))


async def change_job(
    stores: Stores,
    name: str,
    *,
    repairs: bool | None = None,
    paused: bool | None = None,
    by: str,
    reason: str,
) -> JobView:
    """Let a job repair or only observe, pause it or let it go on.

    Raises NotFoundError, InvalidInputError for letting one repair that checks invariants.

    A job that may repair from now on takes up what it had only observed, and what is being looked at as it changes.
    """
    await ensure_jobs(stores.core)
    async with stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            """
            UPDATE jobs SET repairs = COALESCE($2, repairs), paused = COALESCE($3, paused), updated_at = now()
            WHERE name = $1 RETURNING *
            """,
            name,
            repairs,
            paused,
        )
        if row is None:
            raise NotFoundError(f"no job {name!r}")
        if repairs and row["mode"] == "invariants":
            raise InvalidInputError(
                "what breaks an invariant is reported, never repaired",
                [Fault("repairs", f"{name} can only observe")],
            )
        detail = {"repairs": repairs, "paused": paused}
        await record(
            connection,
            Fact.JOB_CHANGED,
            by=by,
            target=name,
            reason=reason,
            detail=detail,
            entity=row["entity"],
        )
        if repairs:
            await _take_up_observed(connection, row["entity"], row["mode"])
    return _view(row, await breaker.stopped(stores.core))


async def allow_repairs(stores: Stores, entity: str, *, by: str, reason: str) -> None:
    """Let repairs of an entity go on after the circuit breaker stopped them; raises NotFoundError."""
    mapping_of(entity)
    async with stores.core.acquire() as connection, connection.transaction():
        await breaker.allow(connection, entity, by=by, reason=reason)


async def repairing_modes(core: asyncpg.Pool, entity: str) -> set[str]:
    """The modes of an entity's jobs that may repair, once a change of a job that is under way has ended."""
    rows = await core.fetch(
        "SELECT mode, repairs FROM jobs WHERE entity = $1 ORDER BY name FOR SHARE", entity
    )
    return {row["mode"] for row in rows if row["repairs"]}


async def _take_up_observed(connection: asyncpg.Connection, entity: str, mode: str) -> None:
    rows = await connection.fetch(
        """
        SELECT key FROM diffs WHERE entity = $1 AND status = 'open' AND invariant = ''
        UNION SELECT key FROM suspects WHERE entity = $1 AND leased_until > '-infinity'
        """,
        entity,
    )
    await nominate(
        connection, entity, [row["key"] for row in rows], cause="its job may repair now", mode=mode
    )


def _view(row: asyncpg.Record, stopped: dict[str, str]) -> JobView:
    return JobView(
        **dict(row), schedule=SCHEDULES[row["mode"]], stopped=stopped.get(row["entity"])
    )  # fmt: skip
