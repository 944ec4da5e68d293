"""What an operator does to a run that is under way: pause it, resume it, set how fast it may read.

To rest is no status: a run that is queued, compares, is held or repairs may rest, stays the active one of its job, and
goes on from there.
"""

from uuid import UUID

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import record
from app.errors import ConflictError, NotFoundError
from app.reconciliation.ledger.runs import ACTIVE, check_throttle, get_run, settle
from app.reconciliation.ledger.views import RunView
from app.stores.connections import Stores


async def pause_run(stores: Stores, run_id: UUID, *, by: str, reason: str) -> RunView:
    """Have a run rest: within about a second nothing is read or repaired for it.

    A partition that was being compared is compared again from its start later. Raises NotFoundError, and ConflictError
    where the run has ended or rests already.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        run = await _lock_active(connection, run_id)
        if run["paused_at"] is not None:
            raise ConflictError(f"run {run_id} is paused already")
        await connection.execute("UPDATE runs SET paused_at = now() WHERE id = $1", run_id)
        await _record(connection, Fact.RUN_PAUSED, run, by=by, reason=reason)
    return await get_run(stores, run_id)


async def resume_run(stores: Stores, run_id: UUID, *, by: str, reason: str) -> RunView:
    """Let a paused run go on; raises NotFoundError, and ConflictError where it has ended or does not rest."""
    async with stores.core.acquire() as connection, connection.transaction():
        run = await _lock_active(connection, run_id)
        if run["paused_at"] is None:
            raise ConflictError(f"run {run_id} is not paused")
        # Rest before it has started takes nothing from the time that it works.
        await connection.execute(
            """
            UPDATE runs SET paused_at = NULL, paused_seconds = paused_seconds
                + CASE WHEN started_at IS NULL THEN 0 ELSE extract(epoch FROM now() - paused_at) END
            WHERE id = $1
            """,
            run_id,
        )
        await _record(connection, Fact.RUN_RESUMED, run, by=by, reason=reason)
    await settle(stores, {run_id})
    return await get_run(stores, run_id)


async def throttle_run(
    stores: Stores, run_id: UUID, records_per_second: int | None, *, by: str, reason: str
) -> RunView:
    """Let a run read that many records a second of each side at most, over all workers; None: as fast as it can.

    Raises NotFoundError, InvalidInputError, and ConflictError where the run has ended or is none that scans.
    """
    check_throttle(records_per_second)
    async with stores.core.acquire() as connection, connection.transaction():
        run = await _lock_active(connection, run_id)
        if run["mode"] == "incremental":
            raise ConflictError(
                f"run {run_id} is incremental: it does not scan, so there is nothing to throttle"
            )
        await connection.execute(
            "UPDATE runs SET records_per_second = $2 WHERE id = $1", run_id, records_per_second
        )
        detail = {"before": run["records_per_second"], "after": records_per_second}
        await _record(connection, Fact.RUN_THROTTLED, run, by=by, reason=reason, detail=detail)
    return await get_run(stores, run_id)


async def _lock_active(connection: asyncpg.Connection, run_id: UUID) -> asyncpg.Record:
    run = await connection.fetchrow("SELECT * FROM runs WHERE id = $1 FOR UPDATE", run_id)
    if run is None:
        raise NotFoundError(f"no run {run_id}")
    if run["status"] not in ACTIVE:
        raise ConflictError(f"run {run_id} is {run['status']}")
    return run


async def _record(
    connection: asyncpg.Connection,
    fact: Fact,
    run: asyncpg.Record,
    *,
    by: str,
    reason: str,
    detail: dict[str, int | None] | None = None,
) -> None:
    await record(
        connection,
        fact,
        by=by,
        target=str(run["id"]),
        reason=reason,
        detail=detail,
        run_id=run["id"],
        entity=run["entity"],
    )
