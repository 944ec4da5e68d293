"""Partitions of runs, and who compares which: a lease, renewed while it is compared, says that a partition is in hand.

At most `scans_in_flight` of them are in hand at once, over all workers of all machines, for each reads both stores.
One that finds no room is left where it is; whoever ends another one calls it.
"""

from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.errors import NotFoundError
from app.pages import Page, check_limit, decode_cursor_number, encode_cursor
from app.reconciliation.ledger.views import PartitionView
from app.reconciliation.scanning.scan import KeyRange, ScanResult
from app.stores.connections import Stores

# Renewed twice a second; shorter than it takes to notice a dead worker, so that whoever gets its message can start.
_LEASE_SECONDS = 10
ASK_AGAIN_SECONDS = 5.0
# Any constant will do, as long as everybody who counts the partitions in hand takes the same one.
_ROOM_LOCK = 4_205_503


@dataclass(frozen=True)
class Call:
    """A partition that is to be compared, in so many seconds."""

    run_id: UUID
    number: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Lease:
    """A partition in hand; `attempt` tells this lease from an earlier one that somebody has lost."""

    run_id: UUID
    number: int
    attempt: int
    key_range: KeyRange


@dataclass(frozen=True)
class Terms:
    """Whether a partition in hand is still wanted, and how fast it may be read: records per second and side."""

    wanted: bool
    pace: float | None


async def put(connection: asyncpg.Connection, run_id: UUID, ranges: list[KeyRange]) -> None:
    """Cut a run into partitions."""
    await connection.executemany(
        "INSERT INTO partitions (run_id, number, low, high) VALUES ($1, $2, $3, $4)",
        [(run_id, number, each.low, each.high) for number, each in enumerate(ranges)],
    )


async def take(stores: Stores, run_id: UUID, number: int) -> Lease | None:
    """Take a partition in hand; None where somebody has it, where its run does not want it, or where there is no room."""
    async with stores.core.acquire() as connection, connection.transaction():
        # One counts and takes at a time: two that counted at once would both take the last room.
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ROOM_LOCK)
        row = await connection.fetchrow(
            """
            UPDATE partitions SET status = 'running', attempts = attempts + 1, findings = 0,
                leased_until = now() + make_interval(secs => $3)
            WHERE run_id = $1 AND number = $2 AND status <> 'done' AND COALESCE(leased_until, '-infinity') < now()
                AND EXISTS (SELECT FROM runs WHERE id = $1 AND status = 'comparing' AND paused_at IS NULL)
                AND $4 > (SELECT count(*) FROM partitions WHERE status = 'running' AND leased_until > now())
            RETURNING low, high, attempts
            """,
            run_id,
            number,
            _LEASE_SECONDS,
            stores.settings.scans_in_flight,
        )
    return row and Lease(run_id, number, row["attempts"], KeyRange(row["low"], row["high"]))


async def renew(core: asyncpg.Pool, lease: Lease, document_records: int, relational_records: int) -> Terms:
    """Keep a partition in hand, and tell how much of it is read. The throttle of a run is shared by what it has in hand."""
    row = await core.fetchrow(
        """
        UPDATE partitions SET document_records = $4, relational_records = $5,
            leased_until = now() + make_interval(secs => $6)
        FROM runs
        WHERE run_id = $1 AND number = $2 AND attempts = $3 AND partitions.status = 'running' AND runs.id = run_id
        RETURNING runs.status = 'comparing' AND paused_at IS NULL AS wanted, records_per_second,
            (SELECT count(*) FROM partitions AS each
             WHERE each.run_id = $1 AND each.status = 'running' AND each.leased_until > now()) AS in_hand
        """,
        lease.run_id,
        lease.number,
        lease.attempt,
        document_records,
        relational_records,
        _LEASE_SECONDS,
    )
    if row is None:  # the lease was lost, and somebody else may have it
        return Terms(wanted=False, pace=None)
    limit = row["records_per_second"]
    return Terms(row["wanted"], limit and limit / max(row["in_hand"], 1))


async def give_back(core: asyncpg.Pool, lease: Lease) -> None:
    """Let go of a partition that was not compared to its end; whoever takes it starts at its beginning."""
    await core.execute(
        """
        UPDATE partitions SET status = 'pending', leased_until = NULL
        WHERE run_id = $1 AND number = $2 AND attempts = $3 AND status = 'running'
        """,
        lease.run_id,
        lease.number,
        lease.attempt,
    )


async def finish(core: asyncpg.Pool, lease: Lease, result: ScanResult) -> None:
    """Note that a partition is compared, unless the lease was lost."""
    await core.execute(
        """
        UPDATE partitions SET status = 'done', finished_at = now(), document_records = $4, relational_records = $5,
            findings = (SELECT count(*) FROM findings WHERE run_id = $1 AND partition = $2)
        WHERE run_id = $1 AND number = $2 AND attempts = $3 AND status = 'running'
        """,
        lease.run_id,
        lease.number,
        lease.attempt,
        result.document_records,
        result.relational_records,
    )


async def waiting(stores: Stores) -> list[Call]:
    """The partitions that may be taken now, of whatever run, as many as there is room for.

    Every run's first partitions come before any run's later ones, so that a small run does not wait for a large one.
    """
    rows = await stores.core.fetch(
        """
        SELECT run_id, number FROM partitions JOIN runs ON runs.id = run_id
        WHERE runs.status = 'comparing' AND paused_at IS NULL AND partitions.status <> 'done'
            AND COALESCE(leased_until, '-infinity') < now()
        ORDER BY number, run_id
        LIMIT greatest(0, $1 - (SELECT count(*) FROM partitions WHERE status = 'running' AND leased_until > now()))
        """,
        stores.settings.scans_in_flight,
    )
    return [Call(row["run_id"], row["number"]) for row in rows]


async def ask_again(core: asyncpg.Pool, run_id: UUID, number: int) -> list[Call]:
    """A call for later where somebody has the partition in hand, for they may have died; else none."""
    held = await core.fetchval(
        """
        SELECT EXISTS (SELECT FROM partitions JOIN runs ON runs.id = run_id
            WHERE run_id = $1 AND number = $2 AND partitions.status = 'running' AND leased_until > now()
                AND runs.status = 'comparing' AND paused_at IS NULL)
        """,
        run_id,
        number,
    )
    return [Call(run_id, number, ASK_AGAIN_SECONDS)] if held else []


async def list_partitions(
    stores: Stores, run_id: UUID, *, limit: int = 50, cursor: str | None = None
) -> Page[PartitionView]:
    """The partitions of a run, in the order of their keys; raises NotFoundError for an unknown run."""
    if not await stores.core.fetchval("SELECT EXISTS (SELECT FROM runs WHERE id = $1)", run_id):
        raise NotFoundError(f"no run {run_id}")
    rows = await stores.core.fetch(
        """
        SELECT number, low, high, status, document_records, relational_records, findings, attempts,
            leased_until, finished_at
        FROM partitions WHERE run_id = $1 AND ($2::bigint IS NULL OR number > $2) ORDER BY number LIMIT $3
        """,
        run_id,
        decode_cursor_number(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["number"])) if len(rows) > limit else None
    return Page([PartitionView(**row) for row in rows[:limit]], more)
