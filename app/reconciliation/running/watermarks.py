"""What changed lately, by the `updated_at` of every source table of a mapping.

Each source has a watermark: how far it has been read, by its store's clock. A read starts two minutes earlier, for
transactions that began before the watermark and committed after it. Deletions leave no trace here: events and full
runs find them.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pymongo
from pymongo.errors import PyMongoError

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Mapping
from app.reconciliation.sides.bson_records import stored_at
from app.reconciliation.sides.relational import from_clause
from app.reconciliation.values import Unreadable, from_document
from app.stores.connections import Stores, customer_clock
from app.stores.health import POSTGRES_FAULTS

OVERLAP = timedelta(minutes=2)
# Keys read, and nominated, at a time.
SLICE = 5000
# MongoDB counts the time of all fetches of a cursor together; each of them has its own limit here.
_CURSOR_SECONDS = 3600.0


@dataclass(frozen=True)
class Slice:
    """Some keys of records that a source says have changed; `until` is how far it was read, after its last."""

    source: str
    keys: set[str]
    until: datetime | None = None


async def read_changed(
    connection: asyncpg.Connection, stores: Stores, mapping: Mapping
) -> AsyncGenerator[Slice]:
    """The keys of the records with a source that changed since its watermark, in slices; a key may come repeatedly.

    Watermarks are read from the core DB through `connection`, and stay where they are: `move` moves them. Raises
    StoreUnavailableError.
    """
    try:
        until = await _clock(stores)
        since = await _watermarks(connection, mapping, until)
        for name, slices in _sources(stores, mapping, since):
            async with aclosing(slices):
                async for keys in slices:
                    yield Slice(name, {key for key in keys if mapping.is_key(key)})
            yield Slice(name, set(), until)
    except (PyMongoError, *POSTGRES_FAULTS) as error:
        raise StoreUnavailableError("a database does not answer") from error


async def move(connection: asyncpg.Connection, mapping: Mapping, source: str, until: datetime) -> None:
    """Move the watermark of a source."""
    await connection.execute(
        "UPDATE watermarks SET seen_until = $3 WHERE entity = $1 AND source = $2",
        mapping.entity,
        source,
        until,
    )


async def _clock(stores: Stores) -> datetime:
    """The earlier of the two stores' clocks: nothing newer can have been read."""
    relational: datetime = await stores.admin.fetchval("SELECT clock_timestamp()")
    return min(await customer_clock(stores.customer), relational)


async def _watermarks(
    connection: asyncpg.Connection, mapping: Mapping, until: datetime
) -> dict[str, datetime]:
    """Since when each source is to be read. One that is new is kept at once: if this read fails, the next starts here."""
    names = [
        f"table {mapping.table}",
        *(f"table {each.table}" for each in mapping.joins),
        f"collection {mapping.collection}",
        *(f"collection {each.collection}" for each in mapping.sources),
    ]
    await connection.execute(
        """
        INSERT INTO watermarks (entity, source, seen_until) SELECT $1, source, $3 FROM unnest($2::text[]) AS source
        ON CONFLICT DO NOTHING
        """,
        mapping.entity,
        names,
        until,
    )
    rows = await connection.fetch(
        "SELECT source, seen_until FROM watermarks WHERE entity = $1", mapping.entity
    )
    return {row["source"]: row["seen_until"] - OVERLAP for row in rows}


def _sources(
    stores: Stores, mapping: Mapping, since: dict[str, datetime]
) -> Iterator[tuple[str, AsyncGenerator[list[str]]]]:
    tables = {mapping.table: mapping.updated_at} | {each.table: each.updated_at for each in mapping.joins}
    for table, updated_at in tables.items():
        name = f"table {table}"
        query = (
            f'SELECT {mapping.table}."{mapping.key_relational}" {from_clause(mapping)} '
            f'WHERE {table}."{updated_at}" >= $1::timestamptz'
        )
        yield name, _rows(stores, query, since[name])
    paths = {mapping.collection: (mapping.key_document, mapping.updated_at_path)}
    paths |= {each.collection: (each.key, each.updated_at) for each in mapping.sources}
    for collection, (path, updated_at) in paths.items():
        name = f"collection {collection}"
        cursor = stores.customer[collection].find(
            {updated_at: {"$gte": since[name]}}, {path: 1}, batch_size=SLICE
        )
        yield name, _documents(stores, cursor, mapping, path)


async def _rows(stores: Stores, query: str, since: datetime) -> AsyncGenerator[list[str]]:
    async with stores.admin.acquire() as connection, connection.transaction(readonly=True):
        cursor = await connection.cursor(query, since)
        while rows := await cursor.fetch(SLICE):
            yield [str(row[0]) for row in rows]


async def _documents(stores: Stores, cursor: Any, mapping: Mapping, path: str) -> AsyncGenerator[list[str]]:
    async with cursor:
        while cursor.alive:
            with pymongo.timeout(_CURSOR_SECONDS):
                async with asyncio.timeout(stores.settings.store_timeout_seconds):
                    documents = await cursor.to_list(SLICE)
            keys = (from_document(mapping.key_kind, stored_at(found, path)) for found in documents)
            yield [str(key) for key in keys if key is not None and not isinstance(key, Unreadable)]
