"""A full run's scan: pairs of records/s, beside the bare scan of the slower store; and the compare alone.

The records are bookings in a table and a collection of their own, equal on both sides but for one in ten thousand.
"""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import asyncpg
import polars as pl
import pyarrow as pa
from bson.decimal128 import Decimal128
from pymongo import MongoClient

from app.reconciliation.entities import BOOKINGS
from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.compare import Comparison, Finding
from app.reconciliation.scanning.scan import plan_ranges, scan
from app.reconciliation.scanning.snapshots import (
    DOCUMENTS_PER_BATCH,
    KeyRange,
    open_relational,
    read_raw_documents,
    select,
)
from app.reconciliation.scanning.sql_columns import ColumnReader, readers_of
from benchmarks.figure import Figure, compare
from config.settings import Settings

MAPPING = replace(BOOKINGS, collection="bench_bookings", table="bench_bookings")
_DIFFERING_ONE_IN = 10_000
_RECORDED = 100_000
_PEAK_GOAL_MEGABYTES = 300

_CREATE = """
    CREATE TABLE bench_bookings (
        id uuid PRIMARY KEY, customer_id uuid NOT NULL, launch_id uuid NOT NULL, number_of_seats int NOT NULL,
        total_price numeric(12,2) NOT NULL, status text NOT NULL, booking_date timestamptz NOT NULL,
        cancellation_date timestamptz, created_at timestamptz NOT NULL
    )
"""
_FILL = """
    INSERT INTO bench_bookings SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),
        1 + (random() * 5)::int, (random() * 1e6)::numeric(12,2),
        (ARRAY['Confirmed', 'Cancelled', 'Completed'])[1 + (random() * 2)::int],
        now() - random() * interval '900 days', CASE WHEN random() < 0.3 THEN now() END,
        now() - random() * interval '1000 days'
    FROM generate_series(1, $1)
"""
_DIFFER = """
    UPDATE bench_bookings SET status = 'Delayed'
    WHERE id IN (SELECT id FROM bench_bookings ORDER BY id LIMIT $1)
"""


def run(settings: Settings, *, quick: bool) -> Iterator[Figure]:
    """The scan beside its limit, the compare alone, and the memory that a scan takes."""
    number = 100_000 if quick else 1_000_000
    asyncio.run(_load(settings, number))
    try:
        yield from _figures(settings, number, 3 if quick else 5)
    finally:
        asyncio.run(_drop(settings))


def _figures(settings: Settings, number: int, rounds: int) -> Iterator[Figure]:
    pairs: list[tuple[float, float]] = []
    raw: dict[str, list[float]] = {"documents": [], "relational": []}
    for _ in range(rounds):
        pace = number / _timed_scan(settings, number)
        raw["documents"].append(number / _timed_raw_documents(settings, number))
        raw["relational"].append(number / asyncio.run(_timed_raw_rows(settings)))
        pairs.append((pace, min(each[-1] for each in raw.values())))
    for side, paces in raw.items():
        yield Figure(f"reconcile: bare scan, {side}", statistics.median(paces), "records/s")
    yield compare(
        "reconcile: full scan",
        "pairs/s",
        pairs,
        limit_name="bare scan of the slower store",
        goal="ratio >= 0.7",
        reached=lambda ratio: ratio >= 0.7,
    )
    yield _compare_alone(settings)
    yield _peak(settings)


async def _load(settings: Settings, number: int) -> None:
    await _drop(settings)
    connection = await asyncpg.connect(settings.url("admin_database_url"))
    try:
        await connection.execute(_CREATE)
        await connection.execute(_FILL, number)
        await connection.execute("ANALYZE bench_bookings")
        with _collection_client(settings) as client:
            collection = client.get_default_database()[MAPPING.collection]
            async with connection.transaction():
                rows = await connection.cursor("SELECT * FROM bench_bookings")
                while some := await rows.fetch(DOCUMENTS_PER_BATCH):
                    collection.insert_many(map(_document, some), ordered=False)
        await connection.execute(_DIFFER, number // _DIFFERING_ONE_IN)
    finally:
        await connection.close()


def _document(row: asyncpg.Record) -> dict[str, object]:
    return {"_id": row["id"], **dict(list(row.items())[1:]), "total_price": Decimal128(row["total_price"])}


async def _drop(settings: Settings) -> None:
    connection = await asyncpg.connect(settings.url("admin_database_url"))
    try:
        await connection.execute("DROP TABLE IF EXISTS bench_bookings")
    finally:
        await connection.close()
    with _collection_client(settings) as client:
        client.get_default_database()[MAPPING.collection].drop()


def _collection_client(settings: Settings) -> MongoClient[dict[str, object]]:
    return MongoClient(settings.url("customer_database_url"), uuidRepresentation="standard")


def _timed_scan(settings: Settings, number: int) -> float:
    found: list[Finding] = []
    started = time.perf_counter()
    for each in plan_ranges(settings, MAPPING):
        scan(settings, MAPPING, each, on_findings=found.extend)
    seconds = time.perf_counter() - started
    assert len(found) == number // _DIFFERING_ONE_IN, found[:3]
    return seconds


def _timed_raw_documents(settings: Settings, number: int) -> float:
    started = time.perf_counter()
    with _collection_client(settings) as client:
        collection = client.get_default_database()[MAPPING.collection]
        size = sum(map(len, collection.find_raw_batches({}, batch_size=DOCUMENTS_PER_BATCH)))
    assert size > number
    return time.perf_counter() - started


async def _timed_raw_rows(settings: Settings) -> float:
    async def nowhere(_chunk: bytes) -> None:
        pass

    connection = await asyncpg.connect(settings.url("admin_database_url"))
    try:
        started = time.perf_counter()
        await connection.copy_from_query("SELECT * FROM bench_bookings", output=nowhere, format="binary")
        return time.perf_counter() - started
    finally:
        await connection.close()


def _compare_alone(settings: Settings) -> Figure:
    """Decoding, making canonical and comparing of recorded batches, by the processor time of all threads."""
    comparison = Comparison(MAPPING)
    documents, rows, readers = _recorded(settings, comparison)
    decoder = DocumentDecoder(comparison.documents)
    paces = []
    for _ in range(5):
        started = time.process_time()
        left = pl.concat([decoder.decode(raw) for raw in documents])
        right = pl.concat(
            canonical.assemble(
                comparison.relational,
                *_key_and_rest([each.read(batch.column(at)) for at, each in enumerate(readers)]),
            )
            for batch in rows
        )
        for _findings in comparison.compare(left, right):
            pass
        paces.append((len(left) + len(right)) / 2 / (time.process_time() - started))
    return Figure("reconcile: decode and compare alone", statistics.median(paces), "pairs/s/core")


def _key_and_rest(cells: list[canonical.Cells]) -> tuple[canonical.Cells, list[canonical.Cells]]:
    return cells[0], cells[1:]


def _recorded(
    settings: Settings, comparison: Comparison
) -> tuple[list[bytes], list[pa.RecordBatch], list[ColumnReader]]:
    documents: list[bytes] = []
    with closing(read_raw_documents(settings, comparison.documents, KeyRange())) as batches:
        for raw in batches:
            documents.append(raw)
            if len(documents) * DOCUMENTS_PER_BATCH >= _RECORDED:
                break
    layout = comparison.relational
    with open_relational(settings) as cursor:
        readers = readers_of(cursor, layout)
        cursor.execute(select(layout, readers, KeyRange()) + f" LIMIT {_RECORDED}")
        rows = list(cursor.fetch_record_batch())
    return documents, rows, readers


def _peak(settings: Settings) -> Figure:
    """The greatest memory of a fresh process that scans, libraries included."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        value = pool.apply(_scan_and_weigh, (settings,))
    return Figure(
        "reconcile: memory of a scanning process",
        value,
        "MB at the most",
        goal=f"<= {_PEAK_GOAL_MEGABYTES}",
        ok=value <= _PEAK_GOAL_MEGABYTES,
    )


def _scan_and_weigh(settings: Settings) -> float:
    for each in plan_ranges(settings, MAPPING):
        scan(settings, MAPPING, each, on_findings=lambda _found: None)
    # What getrusage tells includes the process that this one was forked from.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000
