"""A full run beside the bare scan of the slower store, the compare alone, and what users would do instead.

Each is measured in a process of its own; a round is one bare scan of both stores, one run over equal sides and one over
drifted ones. Bare means that what the store sends is thrown away: find_raw_batches and COPY in binary. A run ends here
when its findings are suspects; nothing is repaired.
"""

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import closing

import polars as pl
import pyarrow as pa

from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.compare import Comparison
from app.reconciliation.scanning.snapshots import (
    DOCUMENTS_PER_BATCH,
    KeyRange,
    open_relational,
    read_raw_documents,
    select,
)
from app.reconciliation.scanning.sql_columns import ColumnReader, readers_of
from app.stores.migrate import migrate
from benchmarks import alternatives
from benchmarks.bookings import DRIFTED, EQUAL, admin_connection, customer_client, differing, load
from benchmarks.figure import Figure, compare, say
from benchmarks.full_run import full_run, peak_figure
from benchmarks.processes import Measured, in_own_process
from config.settings import Settings

_RATIO_GOAL = 1.15
_COMPARE_GOAL = 300_000
_RECORDED = 100_000


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """The run beside its limit, the memory that it takes, the compare alone, and the alternatives."""
    number = records or (100_000 if quick else 1_000_000)
    asyncio.run(migrate(settings))
    load(settings, number)
    yield from _runs(settings, number, rounds=3)
    yield _compare_alone(settings)
    yield from alternatives.figures(settings, number)


def _runs(settings: Settings, number: int, *, rounds: int) -> Iterator[Figure]:
    bare: dict[str, list[float]] = {"documents": [], "relational": []}
    runs: dict[str, list[Measured]] = {"no drift": [], "0.1 % drift": []}
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for turn in range(rounds):
        say(f"round {turn + 1} of {rounds}")
        bare["documents"].append(in_own_process(bare_documents, settings, number).seconds)
        bare["relational"].append(in_own_process(bare_rows, settings).seconds)
        for name, mapping, expected in (("no drift", EQUAL, 0), ("0.1 % drift", DRIFTED, differing(number))):
            runs[name].append(full_run(settings, mapping, expected))
            pairs[name].append((runs[name][-1].seconds, max(each[-1] for each in bare.values())))
    for side, seconds in bare.items():
        yield Figure(f"reconcile: bare scan, {side}", number / statistics.median(seconds), "records/s")
    for name, measured in runs.items():
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
        yield alternatives.whole_figure(f"reconcile: {name}", number, measured)


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
