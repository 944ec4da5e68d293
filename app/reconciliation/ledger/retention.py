"""What is past its time is deleted, in batches that no time-out cuts short."""

from collections.abc import Awaitable, Callable

import asyncpg
from loguru import logger

from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

_OLD = "< now() - interval '90 days'"
# Rows deleted by one statement, and runs whose rows are deleted together.
_BATCH = 5000
_RUNS = 500


async def forget_old(stores: Stores) -> None:
    """Delete what ended more than 90 days ago: runs with their partitions and findings, diffs, undos, ticks.

    One kind that cannot be deleted now is logged and holds up no other.
    """
    for forget in _STEPS:
        try:
            await forget(stores.core)
        except POSTGRES_FAULTS as error:
            kind = forget.__name__.removeprefix("_forget_")
            logger.bind(kind=kind, fault=type(error).__name__).warning("results.kept")


async def _forget_runs(core: asyncpg.Pool) -> None:
    # What hangs on a run goes first: the database would delete it with the run, by one statement.
    while run_ids := await _old_runs(core):
        for table in ("findings", "partitions"):
            await _delete(core, table, "run_id = ANY($2)", run_ids)
        if not await _delete(core, "runs", "id = ANY($2)", run_ids):
            return


async def _old_runs(core: asyncpg.Pool) -> list[object]:
    rows = await core.fetch(f"SELECT id FROM runs WHERE finished_at {_OLD} LIMIT $1", _RUNS)
    return [row["id"] for row in rows]


async def _forget_diffs(core: asyncpg.Pool) -> None:
    """A rejected diff stays while it is its record's last: it is the decision that keeps the record as it is."""
    condition = f"""
        closed_at {_OLD} AND (status <> 'rejected' OR EXISTS (
            SELECT FROM diffs AS later WHERE later.entity = diffs.entity AND later.key = diffs.key
                AND later.invariant = diffs.invariant AND later.id > diffs.id
                AND (later.kind = 'unreadable_key') = (diffs.kind = 'unreadable_key')))
        """
    await _delete(core, "diffs", condition)


async def _forget_undos(core: asyncpg.Pool) -> None:
    """An undo that has taken something back stays: it is what keeps a change from being taken back again.

    The record may hold once more what the change wrote, because its owner wrote that.
    """
    old = f"""
        status = 'done' AND finished_at {_OLD}
            AND NOT EXISTS (SELECT FROM undo_items WHERE undo_id = undos.id AND undo_items.status = 'undone')
        """
    await _delete(core, "undo_items", f"undo_id IN (SELECT id FROM undos WHERE {old})")
    await _delete(core, "undos", old)


async def _forget_ticks(core: asyncpg.Pool) -> None:
    await _delete(core, "ticks", f"status <> 'pending' AND tick {_OLD}")


_STEPS: tuple[Callable[[asyncpg.Pool], Awaitable[None]], ...] = (
    _forget_runs,
    _forget_diffs,
    _forget_undos,
    _forget_ticks,
)


async def _delete(core: asyncpg.Pool, table: str, condition: str, *arguments: object) -> int:
    """Delete the rows that fulfil a condition, whose parameters count from $2; answers how many.

    What is locked is left for later.
    """
    deleted, last = 0, _BATCH
    while last == _BATCH:
        answer = await core.execute(
            f"""
            DELETE FROM {table} WHERE ctid = ANY(ARRAY(
                SELECT ctid FROM {table} WHERE {condition} LIMIT $1 FOR UPDATE SKIP LOCKED))
            """,
            _BATCH,
            *arguments,
        )
        last = int(answer.split()[-1])
        deleted += last
    return deleted
