"""What is past its time is deleted."""

from collections.abc import Awaitable, Callable

import asyncpg
from loguru import logger

from app.stores.connections import Stores
from app.stores.deletion import delete_rows
from app.stores.health import POSTGRES_FAULTS

_OLD = "< now() - interval '90 days'"
# Runs whose rows are deleted together.
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
            await delete_rows(core, table, "run_id = ANY($2)", run_ids)
        if not await delete_rows(core, "runs", "id = ANY($2)", run_ids):
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
    await delete_rows(core, "diffs", condition)


async def _forget_undos(core: asyncpg.Pool) -> None:
    """An undo that has taken something back stays: it is what keeps a change from being taken back again.

    The record may hold once more what the change wrote, because its owner wrote that.
    """
    old = f"""
        status = 'done' AND finished_at {_OLD}
            AND NOT EXISTS (SELECT FROM undo_items WHERE undo_id = undos.id AND undo_items.status = 'undone')
        """
    await delete_rows(core, "undo_items", f"undo_id IN (SELECT id FROM undos WHERE {old})")
    await delete_rows(core, "undos", old)


async def _forget_ticks(core: asyncpg.Pool) -> None:
    await delete_rows(core, "ticks", f"status <> 'pending' AND tick {_OLD}")


_STEPS: tuple[Callable[[asyncpg.Pool], Awaitable[None]], ...] = (
    _forget_runs,
    _forget_diffs,
    _forget_undos,
    _forget_ticks,
)
