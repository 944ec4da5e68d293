"""Runs: one execution of a job, for one entity. Their state lies in the core DB; messages only move them on.

queued -> comparing -> repairing -> done; *held* while the circuit breaker wants an operator, *skipped* when a tick
found another run of the same job active, else *cancelled* or *failed*.
"""

from collections.abc import Iterable
from dataclasses import asdict
from uuid import UUID

import asyncpg
import msgspec

from app.audit.entries import Fact
from app.audit.outbox import record
from app.clock import now
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_id, encode_cursor
from app.reconciliation.ledger import breaker, diffs
from app.reconciliation.ledger.jobs import check_mode, ensure_jobs
from app.reconciliation.ledger.progress import pace_of
from app.reconciliation.ledger.suspects import IN_ORDER, nominate
from app.reconciliation.ledger.views import LEAST_THROTTLE, MOST_THROTTLE, RunView
from app.reconciliation.mapping import Mapping, mapping_of
from app.stores.connections import Stores

ACTIVE = ("queued", "comparing", "held", "repairing")
STATUSES = (*ACTIVE, "done", "cancelled", "failed", "skipped")

_SELECT = """
SELECT runs.*,
    (SELECT count(*) FROM partitions WHERE run_id = runs.id) AS partitions,
    (SELECT count(*) FROM partitions WHERE run_id = runs.id AND status = 'done') AS partitions_done,
    (SELECT sum(document_records) FROM partitions WHERE run_id = runs.id) AS documents_so_far,
    (SELECT sum(relational_records) FROM partitions WHERE run_id = runs.id) AS rows_so_far,
    (SELECT count(*) FROM suspects WHERE run_id = runs.id) AS pending,
    (SELECT COALESCE(json_object_agg(status, number), '{}') FROM (
        SELECT status, count(*) AS number FROM diffs
        WHERE run_id = runs.id AND diffs.entity = runs.entity GROUP BY status
        UNION ALL
        SELECT proposal ->> 'verdict', count(*) FROM findings
        WHERE run_id = runs.id AND proposal IS NOT NULL GROUP BY 1
    ) AS counted) AS outcomes,
    (SELECT COALESCE(json_object_agg(kind, number), '{}') FROM (
        SELECT kind, count(*) AS number FROM findings WHERE run_id = runs.id GROUP BY kind
    ) AS counted) AS kinds,
    (SELECT COALESCE(json_object_agg(entity, number), '{}') FROM (
        SELECT diffs.entity, count(*) AS number FROM diffs
        WHERE run_id = runs.id AND diffs.entity <> runs.entity GROUP BY diffs.entity
    ) AS counted) AS consequences,
    (SELECT breakers.reason FROM breakers WHERE breakers.entity = runs.entity AND tripped_at IS NOT NULL) AS stopped
FROM runs
"""


async def start_run(
    stores: Stores,
    entity: str,
    *,
    mode: str = "full",
    dry_run: bool = False,
    records_per_second: int | None = None,
    cause: str = "operator",
    by: str,
) -> RunView:
    """Queue a run. A dry run compares and reports what would be done, and writes nothing else.

    `records_per_second` throttles a run that scans: it reads no more of each side, over all workers.
    Raises NotFoundError for an unknown entity, ConflictError, with the path of the active run, while there is one.
    """
    mapping = mapping_of(entity)
    check_mode(mode, entity)
    if dry_run and mode != "full":
        raise InvalidInputError("only a full run can be dry", [Fault("dry_run", "goes with mode full")])
    check_throttle(records_per_second, mode)
    await ensure_jobs(stores.core)
    # Before the transaction: whoever waits for a second connection while it has one may wait for ever.
    expected = await breaker.known_records(stores, entity)
    try:
        async with stores.core.acquire() as connection, connection.transaction():
            run_id = await _queue(connection, mapping, mode, dry_run, cause, by, expected, records_per_second)
            if cause != "schedule" or mode == "full":
                await record(
                    connection, Fact.RUN_STARTED, by=by, target=str(run_id), run_id=run_id, entity=entity,
                    detail={"mode": mode, "dry_run": dry_run},
                )  # fmt: skip
    except asyncpg.UniqueViolationError:
        active = await active_run(stores.core, entity, mode)
        raise ConflictError(
            f"a {mode} run of {entity} is active", f"/v1/reconciliation/runs/{active}" if active else None
        ) from None
    return await get_run(stores, run_id)


async def _queue(connection: asyncpg.Connection, mapping: Mapping, *order: str | bool | int | None) -> UUID:
    """Insert a run; `order` holds the columns from `mode` on. Raises UniqueViolationError while one is active."""
    run_id: UUID = await connection.fetchval(
        """
        INSERT INTO runs (status, entity, mapping_hash, mode, dry_run, cause, requested_by, expected_records,
            records_per_second)
        VALUES ('queued', $1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
        """,
        mapping.entity,
        mapping.hash,
        *order,
    )
    return run_id


def check_throttle(records_per_second: int | None, mode: str = "full") -> None:
    """Raises InvalidInputError where a throttle is none, or where there is nothing to throttle."""
    if records_per_second is None:
        return
    if mode == "incremental":
        fault = "does not go with mode incremental: such a run does not scan"
    elif not LEAST_THROTTLE <= records_per_second <= MOST_THROTTLE:
        fault = f"is null, or a number from {LEAST_THROTTLE} to {MOST_THROTTLE}"
    else:
        return
    raise InvalidInputError("bad throttle", [Fault("records_per_second", fault)])


async def start_due(stores: Stores, mode: str, *, by: str) -> list[UUID]:
    """Start a run of every job of that mode that is not paused; a blocked one is recorded as skipped."""
    await ensure_jobs(stores.core)
    rows = await stores.core.fetch("SELECT entity FROM jobs WHERE mode = $1 AND NOT paused", mode)
    started: list[UUID] = []
    for row in rows:
        try:
            run = await start_run(stores, row["entity"], mode=mode, cause="schedule", by=by)
            started.append(run.id)
        except ConflictError as error:
            await stores.core.execute(
                """
                INSERT INTO runs (entity, mode, status, cause, requested_by, mapping_hash, reason, finished_at)
                VALUES ($1, $2, 'skipped', 'schedule', $3, $4, $5, now())
                """,
                row["entity"],
                mode,
                by,
                mapping_of(row["entity"]).hash,
                f"{error}: {error.instance}",
            )
        except NotFoundError:
            continue  # a job of a mapping that is no longer declared
    return started


async def active_run(core: asyncpg.Pool, entity: str, mode: str) -> UUID | None:
    """The active run of a job, if there is one."""
    found: UUID | None = await core.fetchval(
        "SELECT id FROM runs WHERE entity = $1 AND mode = $2 AND status = ANY($3)", entity, mode, ACTIVE
    )
    return found


async def get_run(stores: Stores, run_id: UUID) -> RunView:
    """One run with its progress; raises NotFoundError."""
    row = await stores.core.fetchrow(_SELECT + "WHERE id = $1", run_id)
    if row is None:
        raise NotFoundError(f"no run {run_id}")
    return _view(row)


async def list_runs(
    stores: Stores,
    *,
    entity: str | None = None,
    mode: str | None = None,
    status: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[RunView]:
    """Runs from the newest to the oldest. `status` is one of theirs, or `active`."""
    if status is not None and status not in (*STATUSES, "active"):
        raise InvalidInputError(
            "unknown status", [Fault("status", f"is one of active, {', '.join(STATUSES)}")]
        )
    wanted = ACTIVE if status == "active" else (status,) if status else STATUSES
    rows = await stores.core.fetch(
        _SELECT
        + """
        WHERE status = ANY($1) AND ($2::text IS NULL OR entity = $2) AND ($3::text IS NULL OR mode = $3)
            AND ($4::uuid IS NULL OR id < $4)
        ORDER BY id DESC LIMIT $5
        """,
        wanted,
        entity,
        mode,
        decode_cursor_id(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["id"])) if len(rows) > limit else None
    return Page([_view(row) for row in rows[:limit]], more)


async def cancel_run(stores: Stores, run_id: UUID, *, by: str, reason: str) -> RunView:
    """End an active run, also one that rests.

    What it repaired stays repaired; what it nominated and nobody has looked at is dropped.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        await _move(connection, run_id, ACTIVE, "cancelled", reason)
        await _drop_suspects(connection, run_id)
        await record(
            connection, Fact.RUN_CANCELLED, by=by, target=str(run_id), reason=reason, run_id=run_id
        )  # fmt: skip
    return await get_run(stores, run_id)


async def _drop_suspects(connection: asyncpg.Connection, run_id: UUID) -> None:
    """Drop what the scan alone nominated and nobody has touched; the rest stays suspect, of no run."""
    await connection.execute(f"SELECT FROM suspects WHERE run_id = $1 {IN_ORDER} FOR UPDATE", run_id)
    await connection.execute(
        """
        DELETE FROM suspects WHERE run_id = $1 AND cause = 'run ' || $1::text
            AND nominations = 1 AND attempts = 0 AND leased_by IS NULL
        """,
        run_id,
    )
    await connection.execute("UPDATE suspects SET run_id = NULL WHERE run_id = $1", run_id)


async def approve_run(stores: Stores, run_id: UUID, *, by: str, reason: str) -> RunView:
    """Let a run that the circuit breaker holds repair what it found; raises ConflictError where it is not held."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await _move(connection, run_id, ("held",), "repairing", None)
        counts = await count_findings(connection, run_id, row["entity"])
        await breaker.allow_beforehand(
            connection, row["entity"], run_id, changes=2 * counts[0], deletes=counts[1]
        )
        await record(
            connection, Fact.RUN_APPROVED, by=by, target=str(run_id), reason=reason, run_id=run_id
        )  # fmt: skip
        await nominate_findings(connection, run_id, row["entity"])
    await settle(stores, {run_id})
    return await get_run(stores, run_id)


async def count_findings(connection: asyncpg.Connection, run_id: UUID, entity: str) -> tuple[int, int]:
    """How many records the findings of a run may lead to changes of, and how many of those may be deletions.

    Nothing ever writes to a record whose key cannot be read.
    """
    rows = await connection.fetch(
        """
        SELECT kind, count(*) AS number FROM findings WHERE run_id = $1 AND kind <> 'unreadable_key' GROUP BY kind
        """,
        run_id,
    )
    mapping = mapping_of(entity)
    removing = {
        kind
        for kind, missing in (
            ("missing_document", mapping.missing_document),
            ("missing_relational", mapping.missing_relational),
        )
        if missing == "remove"
    }
    deletes = sum(row["number"] for row in rows if row["kind"] in removing)
    return sum(row["number"] for row in rows), deletes


async def nominate_findings(connection: asyncpg.Connection, run_id: UUID, entity: str) -> None:
    """Make every finding of a run a suspect, and every record with an open diff: it may have settled by itself."""
    rows = await connection.fetch(
        """
        SELECT key FROM findings WHERE run_id = $1 AND kind <> 'unreadable_key'
        UNION SELECT key FROM diffs WHERE entity = $2 AND status IN ('open', 'in_review', 'approved', 'unsettled')
            AND kind <> 'unreadable_key' AND invariant = ''
        """,
        run_id,
        entity,
    )
    await diffs.show_unreadable_keys(connection, run_id, entity)
    await nominate(
        connection, entity, [row["key"] for row in rows], cause=f"run {run_id}", mode="full", run_id=run_id
    )  # fmt: skip
    await connection.execute("UPDATE runs SET nominated = $2 WHERE id = $1", run_id, len(rows))


async def settle(stores: Stores, run_ids: Iterable[UUID]) -> None:
    """End the runs of which no suspect is left to be looked at, but for those that rest."""
    async with stores.core.acquire() as connection, connection.transaction():
        rows = await connection.fetch(
            """
            UPDATE runs SET status = 'done', finished_at = now()
            WHERE id = ANY($1) AND status = 'repairing' AND paused_at IS NULL
              AND NOT EXISTS (SELECT FROM suspects WHERE run_id = runs.id)
            RETURNING id, entity, mode
            """,
            list(run_ids),
        )
        for row in rows:
            if row["mode"] == "full":
                await record(
                    connection, Fact.RUN_ENDED, by="core", target=str(row["id"]), run_id=row["id"],
                    entity=row["entity"],
                )  # fmt: skip


async def _move(
    connection: asyncpg.Connection, run_id: UUID, allowed: tuple[str, ...], status: str, reason: str | None
) -> asyncpg.Record:
    row = await connection.fetchrow("SELECT * FROM runs WHERE id = $1 FOR UPDATE", run_id)
    if row is None:
        raise NotFoundError(f"no run {run_id}")
    if row["status"] not in allowed:
        raise ConflictError(f"run {run_id} is {row['status']}, not {' or '.join(allowed)}")
    return await connection.fetchrow(
        """
        UPDATE runs SET status = $2, reason = $3, finished_at = CASE WHEN $2 = 'cancelled' THEN now() END,
            paused_at = CASE WHEN $2 = 'cancelled' THEN NULL ELSE paused_at END
        WHERE id = $1 RETURNING *
        """,
        run_id,
        status,
        reason,
    )


def _view(row: asyncpg.Record) -> RunView:
    values = dict(row)
    so_far = values.pop("documents_so_far"), values.pop("rows_so_far")
    if values["compared_at"] is None:
        values["document_records"], values["relational_records"] = (int(number or 0) for number in so_far)
    values |= asdict(pace_of(values, now()))
    stopped = values.pop("stopped")
    if stopped and values["status"] == "repairing":
        values["reason"] = f"repairs of {values['entity']} have stopped: {stopped}"
    return RunView(
        **values | {name: msgspec.json.decode(values[name]) for name in ("outcomes", "consequences", "kinds")}
    )
