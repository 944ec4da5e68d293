"""The execution of a run: plan its partitions, compare each, and hand what differs to the repair path.

Every step reads its state from the core DB first, so a message that comes twice, late or again after a crash does no
harm; `sweep` finds what was left behind.
"""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from loguru import logger

from app.audit.entries import Fact
from app.audit.outbox import record
from app.audit.store import AuditStore
from app.clock import now
from app.errors import CoreError
from app.reconciliation import breaker, runs
from app.reconciliation.mapping import Mapping, mapping_of
from app.reconciliation.proposals import propose
from app.reconciliation.scanning.scan import Finding, KeyRange, ScanStoppedError, plan_ranges, scan
from app.reconciliation.suspects import nominate
from app.reconciliation.watermarks import nominate_changed
from app.stores.connections import Stores

# Renewed twice a second; shorter than it takes to notice a dead worker, so that whoever gets its message can start.
_LEASE_SECONDS = 10
_PROGRESS_SECONDS = 0.5


@dataclass
class Progress:
    """What a scan in its thread and the task that watches it tell each other."""

    document_records: int = 0
    relational_records: int = 0
    stopped: bool = False

    def update(self, document_records: int, relational_records: int) -> None:
        self.document_records, self.relational_records = document_records, relational_records


async def begin(stores: Stores, run_id: UUID) -> list[int]:
    """Take up a queued run; answers the partitions that are to be compared."""
    run = await stores.core.fetchrow("SELECT * FROM runs WHERE id = $1", run_id)
    if run is None or run["status"] not in {"queued", "comparing"}:
        return []
    mapping = mapping_of(run["entity"])
    if run["mode"] == "incremental":
        await _take_changed(stores, mapping, run_id)
        return []
    if run["status"] == "queued":
        await _plan(stores, run_id, mapping)
    rows = await stores.core.fetch(
        "SELECT number FROM partitions WHERE run_id = $1 AND status <> 'done' ORDER BY number", run_id
    )
    if not rows:  # every one is compared, and whoever compared the last one died before it could conclude
        await conclude(stores, run_id)
    return [row["number"] for row in rows]


async def _plan(stores: Stores, run_id: UUID, mapping: Mapping) -> None:
    ranges = await asyncio.to_thread(plan_ranges, stores.settings, mapping)
    async with stores.core.acquire() as connection, connection.transaction():
        if await _lock(connection, run_id, "queued"):
            await connection.executemany(
                "INSERT INTO partitions (run_id, number, low, high) VALUES ($1, $2, $3, $4)",
                [(run_id, number, each.low, each.high) for number, each in enumerate(ranges)],
            )
            await connection.execute(
                "UPDATE runs SET status = 'comparing', started_at = now() WHERE id = $1", run_id
            )


async def compare(stores: Stores, run_id: UUID, number: int) -> bool:
    """Compare one partition and, after the last, decide what becomes of the findings.

    Answers False where somebody else holds the partition: ask again later, for they may have died.
    """
    leased = await stores.core.fetchrow(
        """
        UPDATE partitions SET status = 'running', attempts = attempts + 1,
            leased_until = now() + make_interval(secs => $3), findings = 0
        WHERE run_id = $1 AND number = $2 AND status <> 'done' AND COALESCE(leased_until, '-infinity') < now()
            AND EXISTS (SELECT FROM runs WHERE id = $1 AND status = 'comparing')
        RETURNING low, high, (SELECT entity FROM runs WHERE id = $1) AS entity, attempts
        """,
        run_id,
        number,
        _LEASE_SECONDS,
    )
    if leased is not None:
        await _compare_leased(stores, run_id, number, leased)
    await conclude(stores, run_id)
    return not await stores.core.fetchval(
        """
        SELECT EXISTS (SELECT FROM partitions JOIN runs ON runs.id = run_id AND runs.status = 'comparing'
            WHERE run_id = $1 AND number = $2 AND partitions.status <> 'done')
        """,
        run_id,
        number,
    )


async def _compare_leased(stores: Stores, run_id: UUID, number: int, leased: asyncpg.Record) -> None:
    mapping, progress = mapping_of(leased["entity"]), Progress()
    await stores.core.execute("DELETE FROM findings WHERE run_id = $1 AND partition = $2", run_id, number)
    loop = asyncio.get_running_loop()

    def keep(found: list[Finding]) -> None:
        asyncio.run_coroutine_threadsafe(_keep_findings(stores, run_id, number, found), loop).result()

    watcher = asyncio.create_task(_watch(stores, run_id, number, progress))
    try:
        result = await asyncio.to_thread(
            scan,
            stores.settings,
            mapping,
            KeyRange(leased["low"], leased["high"]),
            on_progress=progress.update,
            on_findings=keep,
            stopped=lambda: progress.stopped,
        )
    except ScanStoppedError:
        return
    except Exception:
        await stores.core.execute(
            "UPDATE partitions SET leased_until = now() + interval '2 seconds' WHERE run_id = $1 AND number = $2",
            run_id,
            number,
        )
        raise
    finally:
        progress.stopped = True
        watcher.cancel()
    await stores.core.execute(
        """
        UPDATE partitions SET status = 'done', finished_at = now(), document_records = $3, relational_records = $4,
            findings = (SELECT count(*) FROM findings WHERE run_id = $1 AND partition = $2)
        WHERE run_id = $1 AND number = $2 AND attempts = $5
        """,
        run_id,
        number,
        result.document_records,
        result.relational_records,
        leased["attempts"],
    )


async def _keep_findings(stores: Stores, run_id: UUID, number: int, found: list[Finding]) -> None:
    await stores.core.executemany(
        """
        INSERT INTO findings (run_id, key, partition, kind, fields) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (run_id, key) DO NOTHING
        """,
        [(run_id, each.key, number, each.kind, list(each.fields)) for each in found],
    )


async def _watch(stores: Stores, run_id: UUID, number: int, progress: Progress) -> None:
    """Publish the counts, keep the lease, and stop the scan when its run is no longer comparing."""
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        try:
            alive = await stores.core.fetchval(
                """
                UPDATE partitions SET document_records = $3, relational_records = $4,
                    leased_until = now() + make_interval(secs => $5)
                WHERE run_id = $1 AND number = $2
                RETURNING (SELECT status = 'comparing' FROM runs WHERE id = $1)
                """,
                run_id,
                number,
                progress.document_records,
                progress.relational_records,
                _LEASE_SECONDS,
            )
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            logger.bind(run_id=str(run_id), fault=type(error).__name__).warning("scan.unwatched")
        else:
            progress.stopped = not alive


async def conclude(stores: Stores, run_id: UUID) -> None:
    """Once every partition is compared: let the findings pass the breaker, or report them if the run is dry."""
    async with stores.core.acquire() as connection, connection.transaction():
        run = await _lock(connection, run_id, "comparing")
        if run is None or not await _all_compared(connection, run_id):
            return
        run = await connection.fetchrow(
            """
            UPDATE runs SET (document_records, relational_records, findings) = (
                SELECT COALESCE(sum(document_records), 0), COALESCE(sum(relational_records), 0),
                    COALESCE(sum(findings), 0) FROM partitions WHERE run_id = $1
            ), compared_at = now() WHERE id = $1 RETURNING *
            """,
            run_id,
        )
        if not run["dry_run"]:
            await _pass_breaker(connection, stores, run)
    if run["dry_run"]:
        await propose(stores, run_id, mapping_of(run["entity"]))
        await stores.core.execute(
            "UPDATE runs SET status = 'done', finished_at = now() WHERE id = $1 AND status = 'comparing'",
            run_id,
        )
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


async def fail(stores: Stores, run_id: UUID, error: Exception) -> None:
    """End a run that cannot go on; the reason tells operators, not the driver's words."""
    reason = (
        str(error) if isinstance(error, CoreError) else f"an unexpected {type(error).__name__}, see the logs"
    )
    await stores.core.execute(
        "UPDATE runs SET status = 'failed', reason = $2, finished_at = now() WHERE id = $1 AND status = ANY($3)",
        run_id,
        reason,
        runs.ACTIVE,
    )


async def left_behind(stores: Stores) -> list[UUID]:
    """Runs that nobody is working on, because a message or a worker was lost; ends those that are done."""
    repairing = await stores.core.fetch("SELECT id FROM runs WHERE status = 'repairing'")
    await runs.settle(stores, {row["id"] for row in repairing})
    rows = await stores.core.fetch(
        """
        SELECT id FROM runs WHERE (status = 'queued' AND created_at < now() - interval '15 seconds')
            OR (status = 'comparing' AND NOT EXISTS (
                SELECT FROM partitions WHERE run_id = runs.id AND status = 'running' AND leased_until > now()))
        """
    )
    return [row["id"] for row in rows]


async def nominate_unfinished(stores: Stores) -> None:
    """Have the records looked at whose writer died: the look gives each open intent its outcome."""
    audit = AuditStore(stores.audit, stores.settings.namespace)
    for intent in await audit.open_intents():
        if intent.deadline < now():
            await nominate(stores.core, intent.entity, [intent.key], cause="an unfinished write")


async def forget_old(stores: Stores) -> None:
    """Delete runs, with their partitions and findings, that ended more than 90 days ago, and old ticks likewise.

    Incremental and skipped runs that found nothing go after a day: there are thousands of them a day.
    """
    await stores.core.execute(
        """
        DELETE FROM runs WHERE finished_at < now() - interval '90 days'
            OR (mode = 'incremental' AND finished_at < now() - interval '1 day' AND NOT EXISTS (
                SELECT FROM diffs WHERE diffs.run_id = runs.id))
        """
    )
    await stores.core.execute(
        "DELETE FROM ticks WHERE status <> 'pending' AND tick < now() - interval '90 days'"
    )


async def _take_changed(stores: Stores, mapping: Mapping, run_id: UUID) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        if await _lock(connection, run_id, "queued"):
            number = await nominate_changed(connection, stores, mapping, run_id)
            await connection.execute(
                """
                UPDATE runs SET status = 'repairing', started_at = now(), findings = $2 WHERE id = $1
                """,
                run_id,
                number,
            )
    await runs.settle(stores, {run_id})


async def _lock(connection: asyncpg.Connection, run_id: UUID, status: str) -> asyncpg.Record | None:
    return await connection.fetchrow(
        "SELECT * FROM runs WHERE id = $1 AND status = $2 FOR UPDATE", run_id, status
    )


async def _all_compared(connection: asyncpg.Connection, run_id: UUID) -> bool:
    return bool(
        await connection.fetchval(
            "SELECT count(*) > 0 AND bool_and(status = 'done') FROM partitions WHERE run_id = $1", run_id
        )
    )
