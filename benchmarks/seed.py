"""Seeding: records/s of both sides together, beside the same records by bare insert_many and COPY."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from app.demo.drift import Drift, make_drift
from app.demo.load import empty, load
from app.demo.shapes import ENTITIES
from app.demo.sizes import Sizes
from app.demo.world import World, make_world, midnight
from app.stores.admin import ADMIN_TABLES
from app.stores.connections import Stores, open_stores
from app.stores.migrate import create_foreign_schemas
from benchmarks.figure import Figure, compare
from config.settings import Settings

_BATCH = 1000


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """One figure: loading a world and its drift; `records` are its bookings."""
    number = records or (2_000 if quick else 50_000)
    yield from asyncio.run(_measure(settings, number, 3 if quick else 5))


async def _measure(settings: Settings, bookings: int, rounds: int) -> list[Figure]:
    await create_foreign_schemas(settings)
    world = make_world(Sizes.of(bookings), random_seed=1, base=midnight(datetime.now(UTC)))
    drift = make_drift(world, share=0.01, random_seed=1)
    pairs: list[tuple[float, float]] = []
    async with open_stores(settings) as stores:
        for _ in range(rounds):
            seconds = await _timed_load(stores, world, drift)
            documents, rows = await _recorded(stores)
            await empty(stores, _silent, _silent)
            raw = await _timed_raw(stores, documents, rows)
            await empty(stores, _silent, _silent)
            number = sum(map(len, documents.values())) + sum(
                len(records) for _names, records in rows.values()
            )
            pairs.append((number / seconds, number / raw))
    return [
        compare(
            "seed",
            "records/s",
            pairs,
            limit_name="bare insert_many and COPY",
            goal="ratio >= 0.5",
            reached=lambda ratio: ratio >= 0.5,
        )
    ]


async def _timed_load(stores: Stores, world: World, drift: Drift) -> float:
    started = time.perf_counter()
    await load(stores, world, drift, _silent)
    return time.perf_counter() - started


async def _recorded(stores: Stores) -> tuple[dict[str, list[Any]], dict[str, tuple[list[str], list[Any]]]]:
    documents = {entity: await stores.customer[entity].find().to_list() for entity in ENTITIES}
    rows: dict[str, tuple[list[str], list[Any]]] = {}
    for table in ADMIN_TABLES:
        name = table._meta.tablename  # noqa: SLF001  (Piccolo's public data)
        found = await stores.admin.fetch(f"SELECT * FROM {name}")
        rows[name] = (list(found[0].keys()) if found else [], [tuple(each) for each in found])
    return documents, rows


async def _timed_raw(
    stores: Stores, documents: dict[str, list[Any]], rows: dict[str, tuple[list[str], list[Any]]]
) -> float:
    started = time.perf_counter()
    for name, (columns, records) in rows.items():
        if records:
            await stores.admin.copy_records_to_table(name, columns=columns, records=records)
    for entity, every in documents.items():
        for at in range(0, len(every), _BATCH):
            await stores.customer[entity].insert_many(every[at : at + _BATCH], ordered=False)
    return time.perf_counter() - started


def _silent(_stage: str, _count: int) -> None:
    pass
