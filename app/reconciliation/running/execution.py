"""The execution of a run: plan its partitions, compare each, and hand what differs to the repair path.

Every step reads its state from the core DB first, so a message that comes twice, late or again after a crash does no
harm; `sweep` finds what was left behind.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from loguru import logger

from app.audit.entries import Fact
from app.audit.outbox import record
from app.audit.store import AuditStore
from app.clock import now
from app.errors import CoreError
from app.reconciliation.ledger import agreements, breaker, runs
from app.reconciliation.ledger.suspects import nominate
from app.reconciliation.mapping import Mapping, mapping_of
from app.reconciliation.running import breaches, partitions
from app.reconciliation.running.partitions import Call, Lease
from app.reconciliation.running.proposals import propose
from app.reconciliation.running.schema import find_drift
from app.reconciliation.running.watermarks import Slice, move, read_changed
from app.reconciliation.scanning.check import CheckResult, check
from app.reconciliation.scanning.scan import Finding, KeyRange, ScanStoppedError, plan_ranges, scan
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

_WATCH_SECONDS = 0.5


@dataclass
class Progress:
    """What a scan in its thread and the task that watches it tell each other."""

    pace: float | None
    document_records: int = 0
    relational_records: int = 0
    stopped: bool = False

    def update(self, document_records: int, relational_records: int) -> None:
        self.document_records, self.relational_records = document_records, relational_records


async def begin(stores: Stores, run_id: UUID) -> list[Call]:
    """Take up a run that is queued or left behind; answers the partitions that are to be compared now."""
    run = await _take_up(stores, run_id)
    if run is None:
        return []
    mapping = mapping_of(run["entity"])
    if run["mode"] == "incremental":
        await _take_changed(stores, mapping, run_id)
        return []
    if run["status"] == "queued" and not await _plan(stores, run, mapping):
        return []
    await conclude(stores, run_id)  # whoever compared the last partition may have died before it could
    return await partitions.waiting(stores)


async def _take_up(stores: Stores, run_id: UUID) -> asyncpg.Record | None:
    """A run that may be moved on; None where it rests or has ended, as it does here when its mapping is another now."""
    run = await stores.core.fetchrow(
        "SELECT * FROM runs WHERE id = $1 AND status IN ('queued', 'comparing') AND paused_at IS NULL", run_id
    )
    if run is not None and run["mapping_hash"] != mapping_of(run["entity"]).hash:
        reason = (
            f"the mapping of {run['entity']} is another one since the run was started: start it again, "
            "once every process runs the same version"
        )
        await _end_failed(stores, run_id, reason)
        return None
    return run


async def _plan(stores: Stores, run: asyncpg.Record, mapping: Mapping) -> bool:
    """Cut a run into partitions; False where the sides are no longer as the mapping says, and the run has failed."""
    run_id, drift = run["id"], await find_drift(stores, mapping)
    if drift.blocking:
        await _end_failed(stores, run_id, f"schema drift: {'; '.join(drift.blocking)}")
        return False
    # What invariants need of other entities would be read again for every range.
    ranges = [KeyRange()]
    if run["mode"] != "invariants":
        ranges = await asyncio.to_thread(plan_ranges, stores.settings, mapping)
    async with stores.core.acquire() as connection, connection.transaction():
        if await _lock(connection, run_id, "queued"):
            await partitions.put(connection, run_id, ranges)
            await connection.execute(
                "UPDATE runs SET status = 'comparing', started_at = now(), warnings = $2 WHERE id = $1",
                run_id,
                drift.warnings,
            )
    return True


async def compare(stores: Stores, run_id: UUID, number: int) -> list[Call]:
    """Compare one partition and, after the last, decide what becomes of the findings.

    Answers what is to be compared next: what waits for the room that this one leaves, or this one again, later, where
    somebody else has it in hand, or where this process has another one in hand.
    """
    run = await _take_up(stores, run_id)
    if run is None:
        return []
    if stores.scanning.locked():
        return [Call(run_id, number, partitions.ASK_AGAIN_SECONDS)]  # for another process, or this one later
    async with stores.scanning:
        lease = await partitions.take(stores, run_id, number)
        if lease is not None:
            await _compare_leased(stores, lease, run)
    await conclude(stores, run_id)
    if lease is None:
        return await partitions.ask_again(stores.core, run_id, number)
    return await partitions.waiting(stores)


async def _compare_leased(stores: Stores, lease: Lease, run: asyncpg.Record) -> None:
    mapping = mapping_of(run["entity"])
    await stores.core.execute(
        "DELETE FROM findings WHERE run_id = $1 AND partition = $2", lease.run_id, lease.number
    )
    progress = Progress((await partitions.renew(stores.core, lease, 0, 0)).pace)
    loop = asyncio.get_running_loop()

    def keep(found: list[Finding]) -> None:
        asyncio.run_coroutine_threadsafe(_keep_findings(stores, lease, found), loop).result()

    watcher = asyncio.create_task(_watch(stores, lease, progress))
    try:
        result = await asyncio.to_thread(
            check if run["mode"] == "invariants" else scan,
            stores.settings,
            mapping,
            lease.key_range,
            on_progress=progress.update,
            on_findings=keep,
            stopped=lambda: progress.stopped,
            pace=lambda: progress.pace,
        )
        if isinstance(result, CheckResult):
            await breaches.confirm(
                stores, lease.run_id, mapping.entity, result, stopped=lambda: progress.stopped
            )
        if run["dry_run"]:
            await propose(stores, lease, mapping, stopped=lambda: progress.stopped)
    except ScanStoppedError:
        await partitions.give_back(stores.core, lease)
    except Exception:
        await partitions.give_back(stores.core, lease)
        raise
    else:
        await partitions.finish(stores.core, lease, result)
    finally:
        progress.stopped = True
        watcher.cancel()


async def _keep_findings(stores: Stores, lease: Lease, found: list[Finding]) -> None:
    await stores.core.executemany(
        """
        INSERT INTO findings (run_id, key, partition, kind, fields) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING
        """,
        [(lease.run_id, each.key, lease.number, each.kind, list(each.fields)) for each in found],
    )


async def _watch(stores: Stores, lease: Lease, progress: Progress) -> None:
    """Publish the counts, keep the lease, and tell the scan how fast it may read, or that it is no longer wanted."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        try:
            terms = await partitions.renew(
                stores.core, lease, progress.document_records, progress.relational_records
            )
        except POSTGRES_FAULTS as error:
            logger.bind(run_id=str(lease.run_id), fault=type(error).__name__).warning("scan.unwatched")
        else:
            progress.stopped, progress.pace = not terms.wanted, terms.pace


async def conclude(stores: Stores, run_id: UUID) -> None:
    """Once every partition is compared: let the findings pass the breaker; a run that only reports has ended then."""
    async with stores.core.acquire() as connection, connection.transaction():
        run = await _lock(connection, run_id, "comparing")
        if run is None or not await _all_compared(connection, run_id):
            return
        run = await connection.fetchrow(
            """
            UPDATE runs SET (document_records, relational_records, findings) = (
                SELECT COALESCE(sum(document_records), 0), COALESCE(sum(relational_records), 0),
                    COALESCE(sum(findings), 0) FROM partitions WHERE run_id = $1
            ), compared_at = COALESCE(compared_at, now()),
            compare_seconds = COALESCE(compare_seconds, extract(epoch FROM now() - started_at) - paused_seconds)
            WHERE id = $1 RETURNING *
            """,
            run_id,
        )
        if run["mode"] == "invariants" or run["dry_run"]:
            await connection.execute(
                "UPDATE runs SET status = 'done', finished_at = now() WHERE id = $1", run_id
            )
        else:
            await _pass_breaker(connection, stores, run)
    await runs.settle(stores, {run_id})


async def _pass_breaker(connection: asyncpg.Connection, stores: Stores, run: asyncpg.Record) -> None:
    entity: str = run["entity"]
    changes, deletes = await runs.count_findings(connection, run["id"], entity)
    allowed = breaker.limits(stores.settings, max(run["document_records"], run["relational_records"]))
    reason = breaker.exceeded("changes", changes, allowed.changes) or breaker.exceeded(
        "deletions", deletes, allowed.deletes
    )
    await connection.execute(
        "UPDATE runs SET status = $2, reason = $3 WHERE id = $1",
        run["id"],
        "held" if reason else "repairing",
        reason,
    )
    if reason is None:
        await runs.nominate_findings(connection, run["id"], entity)
        return
    await record(
        connection, Fact.RUN_HELD, by="core", target=str(run["id"]), reason=reason, run_id=run["id"], entity=entity
    )  # fmt: skip


async def fail(stores: Stores, run_id: UUID, error: Exception) -> list[Call]:
    """End a run that cannot go on; answers what may be compared in its place.

    The reason tells operators, not the driver's words.
    """
    reason = (
        str(error) if isinstance(error, CoreError) else f"an unexpected {type(error).__name__}, see the logs"
    )
    await _end_failed(stores, run_id, reason)
    return await partitions.waiting(stores)


async def _end_failed(stores: Stores, run_id: UUID, reason: str) -> None:
    status = await stores.core.execute(
        """
        UPDATE runs SET status = 'failed', reason = $2, finished_at = now(), paused_at = NULL
        WHERE id = $1 AND status = ANY($3)
        """,
        run_id,
        reason,
        runs.ACTIVE,
    )
    if status != "UPDATE 0":
        logger.bind(run_id=run_id, reason=reason).warning("run.failed")


async def left_behind(stores: Stores) -> list[UUID]:
    """Runs that nobody is working on, because a message or a worker was lost; ends those that are done.

    A paused run rests: nobody is meant to work on it.
    """
    repairing = await stores.core.fetch("SELECT id FROM runs WHERE status = 'repairing'")
    await runs.settle(stores, {row["id"] for row in repairing})
    rows = await stores.core.fetch(
        """
        SELECT id FROM runs WHERE paused_at IS NULL
            AND ((status = 'queued' AND created_at < now() - interval '15 seconds')
                OR (status = 'comparing' AND NOT EXISTS (
                    SELECT FROM partitions WHERE run_id = runs.id AND status = 'running' AND leased_until > now())))
        """
    )
    return [row["id"] for row in rows]


async def nominate_unfinished(stores: Stores) -> None:
    """Have the records looked at whose writer died: the look gives each open intent its outcome."""
    audit = AuditStore.of(stores)
    for intent in await audit.open_intents():
        if intent.deadline < now():
            await nominate(stores.core, intent.entity, [intent.key], cause="an unfinished write")


async def _take_changed(stores: Stores, mapping: Mapping, run_id: UUID) -> None:
    """Nominate what has changed, slice by slice; taken up again by itself it starts at the first unread source."""
    async with stores.core.acquire() as connection:
        # Held by the connection, not by a transaction: reading may take long, and the run's row must stay free.
        if not await connection.fetchval("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", str(run_id)):
            return
        if await _nominate_changed(connection, stores, mapping, run_id):
            await runs.settle(stores, {run_id})


async def _nominate_changed(
    connection: asyncpg.Connection, stores: Stores, mapping: Mapping, run_id: UUID
) -> bool:
    """Whether every source was read to its end: an operator may pause or cancel the run meanwhile."""
    await connection.execute(
        """
        UPDATE runs SET status = 'comparing', started_at = COALESCE(started_at, now()), findings = 0, nominated = 0
        WHERE id = $1 AND status IN ('queued', 'comparing') AND paused_at IS NULL
        """,
        run_id,
    )
    async with aclosing(read_changed(connection, stores, mapping)) as slices:
        async for each in slices:
            async with connection.transaction():
                if await _lock(connection, run_id, "comparing") is None:
                    return False
                keys = await _to_nominate(connection, mapping, each)
                await nominate(connection, mapping.entity, keys, cause="watermark", run_id=run_id)
                await connection.execute(
                    "UPDATE runs SET findings = findings + $2, nominated = nominated + $2 WHERE id = $1",
                    run_id,
                    len(keys),
                )
                if each.until is not None:
                    await move(connection, mapping, each.source, each.until)
    await connection.execute(
        """
        UPDATE runs SET status = 'repairing',
            compare_seconds = extract(epoch FROM now() - started_at) - paused_seconds
        WHERE id = $1 AND status = 'comparing' AND paused_at IS NULL
        """,
        run_id,
    )
    return True


async def _to_nominate(connection: asyncpg.Connection, mapping: Mapping, changed: Slice) -> set[str]:
    """The records of a slice without those that have been looked at since they changed, and agreed."""
    if changed.side is None:
        return {key for key, _updated_at in changed.changed}
    return await agreements.not_agreed(connection, mapping.entity, changed.side, changed.changed)


async def _lock(connection: asyncpg.Connection, run_id: UUID, status: str) -> asyncpg.Record | None:
    """The run, locked, where it is in that status and does not rest."""
    return await connection.fetchrow(
        "SELECT * FROM runs WHERE id = $1 AND status = $2 AND paused_at IS NULL FOR UPDATE", run_id, status
    )


async def _all_compared(connection: asyncpg.Connection, run_id: UUID) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) > 0 AND bool_and(status = 'done') FROM partitions WHERE run_id = $1", run_id
        )
    )
