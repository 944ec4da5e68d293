"""Write a world and its drift into both databases, in bulk and with bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import asyncpg
import pymongo
from pymongo.errors import PyMongoError

from app.demo.drift import Drift
from app.demo.errors import DemoError
from app.demo.shapes import ENTITIES, Document, document_of, row_of
from app.demo.world import Row, World
from app.stores.admin import ADMIN_TABLES
from app.stores.connections import Stores

DOCUMENT_BATCH = 2000
ROW_BATCH = 10_000
BULK_TIMEOUT_SECONDS = 600.0  # for one statement on everything; the machine may be busy

# Called with what is being done and how many records of it are done since the last call.
Progress = Callable[[str, int], None]

EMPTYING, DOCUMENTS, ROWS = "emptying", "documents", "rows"
DOCTOR = "`astrocore doctor` shows which part is away"
Each = TypeVar("Each")


@contextmanager
def store_faults() -> Iterator[None]:
    """Within it, what the drivers raise becomes DemoError, naming the store."""
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise DemoError(
            "a PostgreSQL database refused the work",
            "`astrocore up` and `astrocore migrate` prepare the tables",
        ) from error
    except PyMongoError as error:
        raise DemoError("the customer database does not answer, or refused the work", DOCTOR) from error
    except (OSError, TimeoutError) as error:
        raise DemoError("a database does not answer", DOCTOR) from error


async def count_records(stores: Stores) -> dict[str, int]:
    """Records by "admin.table" and "customer.collection", leaving out what is empty."""
    counts = {}
    for table in ADMIN_TABLES:
        name = table._meta.tablename  # noqa: SLF001  (Piccolo's own way to name a table)
        counts[f"admin.{name}"] = int(await stores.admin.fetchval(f"SELECT count(*) FROM {name}"))
    for entity in ENTITIES:
        counts[f"customer.{entity}"] = await stores.customer[entity].count_documents({})
    return {name: count for name, count in counts.items() if count}


async def empty(stores: Stores, starting: Progress, progress: Progress) -> None:
    """Remove every record of the admin DB and of the three collections; tables and indexes stay."""
    found = await count_records(stores)
    starting(EMPTYING, sum(found.get(f"customer.{entity}", 0) for entity in ENTITIES))
    names = ", ".join(table._meta.tablename for table in ADMIN_TABLES)  # noqa: SLF001  (see above)
    await stores.admin.execute(f"TRUNCATE {names}", timeout=BULK_TIMEOUT_SECONDS)
    for entity in ENTITIES:
        with pymongo.timeout(BULK_TIMEOUT_SECONDS):
            removed = await stores.customer[entity].delete_many({})
        progress(EMPTYING, removed.deleted_count)


async def load(stores: Stores, world: World, drift: Drift, progress: Progress) -> None:
    """Write both sides. The rows are one transaction, committed once the documents are in: a failure leaves no rows."""
    async with stores.admin.acquire() as connection, connection.transaction():
        for table in ADMIN_TABLES:
            name = table._meta.tablename  # noqa: SLF001  (see above)
            await _copy(connection, name, _rows(world, drift, name), progress)
        for entity in ENTITIES:
            await _insert(stores, entity, _documents(world, drift, entity), progress)


def count_to_load(world: World) -> dict[str, int]:
    """About how many documents and rows `load` will write."""
    documents = sum(len(getattr(world, entity)) for entity in ENTITIES)
    others = world.suppliers, world.rockets, world.spaceports, world.invoices, world.employees
    return {DOCUMENTS: documents, ROWS: documents + sum(len(rows) for rows in others)}


def _documents(world: World, drift: Drift, entity: str) -> Iterator[Document]:
    left = dict(drift.documents[entity])
    for record in getattr(world, entity):
        document = left.pop(record.id) if record.id in left else document_of(record)
        if document is not None:
            yield document
    yield from (document for document in left.values() if document is not None)


def _rows(world: World, drift: Drift, table: str) -> Iterator[Row]:
    if table not in ENTITIES:
        yield from getattr(world, table)
        return
    left = dict(drift.rows[table])
    for record in getattr(world, table):
        row = left.pop(record.id) if record.id in left else row_of(record)
        if row is not None:
            yield row
    yield from (row for row in left.values() if row is not None)


async def _copy(connection: Any, table: str, rows: Iterator[Row], progress: Progress) -> None:
    for batch in _batches(rows, ROW_BATCH):
        columns = list(batch[0])
        await connection.copy_records_to_table(
            table,
            columns=columns,
            records=[tuple(row[name] for name in columns) for row in batch],
            timeout=BULK_TIMEOUT_SECONDS,
        )
        progress(ROWS, len(batch))


async def _insert(stores: Stores, entity: str, documents: Iterator[Document], progress: Progress) -> None:
    collection = stores.customer[entity]
    for batch in _batches(documents, DOCUMENT_BATCH):
        await collection.insert_many(batch, ordered=False)
        progress(DOCUMENTS, len(batch))


def _batches(values: Iterable[Each], size: int) -> Iterator[list[Each]]:
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
