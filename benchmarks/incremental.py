"""An incremental run's look for what changed, with 100 changes, beside a full run over the same records."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.reconciliation.ledger import runs
from app.reconciliation.running import execution
from app.stores.connections import Stores, open_stores
from app.stores.migrate import migrate
from benchmarks.bookings import EQUAL, load
from benchmarks.figure import Figure, compare
from benchmarks.full_run import end, full_run
from config.settings import Settings

_CHANGES = 100
_ROUNDS = 3
_RATIO_GOAL = 0.01


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """One figure: seconds until every changed record is nominated."""
    number = records or (100_000 if quick else 1_000_000)
    asyncio.run(migrate(settings))
    load(settings, number, indexed=True)
    asyncio.run(_nominate(settings, change=False))
    pairs = []
    for _ in range(_ROUNDS):
        seconds = asyncio.run(_nominate(settings, change=True))
        pairs.append((seconds, full_run(settings, EQUAL, 0).seconds))
    yield compare(
        f"incremental: {_CHANGES} changes",
        "s",
        pairs,
        limit_name="a full run",
        goal=f"ratio <= {_RATIO_GOAL}",
        reached=lambda ratio: ratio <= _RATIO_GOAL,
    )


async def _nominate(settings: Settings, *, change: bool) -> float:
    """Seconds of one incremental run's look, which must nominate what was changed before and nothing else."""
    async with open_stores(settings) as stores:
        keys = await _change(stores) if change else set()
        run = await runs.start_run(stores, EQUAL.entity, mode="incremental", by="benchmark")
        started = time.perf_counter()
        await execution.begin(stores, run.id)
        seconds = time.perf_counter() - started
        nominated = (await end(stores, run.id)).nominated
        assert nominated == len(keys), nominated
    return seconds


async def _change(stores: Stores) -> set[UUID]:
    """Touch half of the records on either side; the same ones every time, for runs look back over two minutes."""
    rows = await stores.admin.fetch(f"SELECT id FROM {EQUAL.table} ORDER BY id LIMIT {_CHANGES}")
    keys = [row["id"] for row in rows]
    instant = datetime.now(UTC)
    await stores.admin.execute(
        f"UPDATE {EQUAL.table} SET updated_at = $2 WHERE id = ANY($1)", keys[: _CHANGES // 2], instant
    )
    collection: Any = stores.customer[EQUAL.collection]
    for key in keys[_CHANGES // 2 :]:
        await collection.update_one({"_id": key}, {"$set": {"updated_at": instant}})
    return set(keys)
