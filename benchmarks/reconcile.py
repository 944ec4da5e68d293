"""A full run's scan beside the bare scan of the slower store, the compare alone, and what users would do instead.

Every scan is measured in a process of its own; a round is one bare scan of both stores and one scan of equal sides
and one of drifted ones. Bare means that what the store sends is thrown away: find_raw_batches and COPY in binary.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import closing

import polars as pl
import pyarrow as pa

from app.reconciliation.mapping import Mapping, load_mappings
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
from benchmarks import alternatives
from benchmarks.bookings import DRIFTED, EQUAL, admin_connection, customer_client, differing, load, say
from benchmarks.figure import Figure, compare
from benchmarks.processes import Measured, in_own_process
from config.settings import Settings

PEAK_GOAL_MEGABYTES = 300
_RATIO_GOAL = 1.15
_COMPARE_GOAL = 300_000
_RECORDED = 100_000


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """The scan beside its limit, the compare alone, the memory that a scan takes, and the alternatives."""
    number = records or (100_000 if quick else 1_000_000)
    load(settings, number)
    yield from _scans(settings, number, rounds=3)
    yield _compare_alone(settings)
    yield from alternatives.figures(settings, number)


def _scans(settings: Settings, number: int, *, rounds: int) -> Iterator[Figure]:
    bare: dict[str, list[float]] = {"documents": [], "relational": []}
    scans: dict[str, list[Measured]] = {"no drift": [], "0.1 % drift": []}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in scans}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        bare["documents"].append(in_own_process(bare_documents, settings, number).seconds)
        bare["relational"].append(in_own_process(bare_rows, settings).seconds)
        for name, mapping, expected in (("no drift", EQUAL, 0), ("0.1 % drift", DRIFTED, differing(number))):
            scans[name].append(full_scan(settings, mapping, expected))
            pairs[name].append((scans[name][-1].seconds, max(each[-1] for each in bare.values())))
    for side, seconds in bare.items():
        yield Figure(f"reconcile: bare scan, {side}", number / statistics.median(seconds), "records/s")
    for name, measured in scans.items():
        yield Figure(
            f"reconcile: {name}", number / statistics.median(each.seconds for each in measured), "pairs/s"
        )
        yield compare(
            f"reconcile: {name}, time",
            "s",
            pairs[name],
            limit_name="bare scan of the slower store",
            goal=f"ratio <= {_RATIO_GOAL}",
            reached=lambda ratio: ratio <= _RATIO_GOAL,
        )
        yield peak_figure(f"reconcile: {name}, peak memory", max(each.peak_megabytes for each in measured))


def full_scan(settings: Settings, mapping: Mapping, expected: int) -> Measured:
    """One full compare, planned and scanned as a run does, in a process of its own."""
    measured = in_own_process(_scan, settings, mapping.table)
    if measured.value != expected:
        raise AssertionError(f"{measured.value} findings instead of {expected}")
    return measured


def peak_figure(name: str, megabytes: float) -> Figure:
    return Figure(
        name, megabytes, "MB", goal=f"<= {PEAK_GOAL_MEGABYTES}", ok=megabytes <= PEAK_GOAL_MEGABYTES
    )


def _scan(settings: Settings, table: str) -> int:
    load_mappings("")
    mapping = EQUAL if table == EQUAL.table else DRIFTED
    found: list[Finding] = []
    for each in plan_ranges(settings, mapping):
        scan(settings, mapping, each, on_findings=found.extend)
    return len(found)


def bare_documents(settings: Settings, number: int) -> None:
    with customer_client(settings) as client:
        collection = client.get_default_database()[EQUAL.collection]
        size = sum(map(len, collection.find_raw_batches({}, batch_size=DOCUMENTS_PER_BATCH)))
    assert size > number


def bare_rows(settings: Settings) -> None:
    async def nowhere(_chunk: bytes) -> None:
        pass

    async def copy() -> None:
        async with admin_connection(settings) as connection:
            await connection.copy_from_query(f"SELECT * FROM {EQUAL.table}", output=nowhere, format="binary")

    asyncio.run(copy())


def _compare_alone(settings: Settings) -> Figure:
    """Decoding, making canonical and comparing of recorded batches, by the processor time of all threads."""
    comparison = Comparison(EQUAL)
    documents, rows, readers = _recorded(settings, comparison)
    decoder = DocumentDecoder(comparison.documents)
    paces: list[float] = []
    for _ in range(5):
        started = time.process_time()
        left = pl.concat(decoder.decode(raw) for raw in documents)
        right = pl.concat(_frame(comparison, readers, batch) for batch in rows)
        for _findings in comparison.compare(left, right):
            pass
        paces.append((len(left) + len(right)) / 2 / (time.process_time() - started))
    pace = statistics.median(paces)
    return Figure(
        "reconcile: decode and compare alone",
        pace,
        "pairs/s/core",
        goal=f">= {_COMPARE_GOAL:,}",
        ok=pace >= _COMPARE_GOAL,
    )


def _frame(comparison: Comparison, readers: list[ColumnReader], batch: pa.RecordBatch) -> pl.DataFrame:
    key, *cells = (each.read(batch.column(at)) for at, each in enumerate(readers))
    return canonical.assemble(comparison.relational, key, cells)


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
