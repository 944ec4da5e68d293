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
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.sides.bson_records import CODEC, stored_at
from app.reconciliation.sides.relational import from_clause
from app.reconciliation.values import Unreadable, from_document, instant_of
from app.stores.connections import Stores, customer_clock
from app.stores.health import POSTGRES_FAULTS

OVERLAP = timedelta(minutes=2)
# Keys read, and nominated, at a time.
SLICE = 5000
# MongoDB counts the time of all fetches of a cursor together; each of them has its own limit here.
_CURSOR_SECONDS = 3600.0
# What Python's times reach to.
_LATEST = "'9999-12-31'"


Changed = tuple[str, datetime | None]


@dataclass(frozen=True)
class Slice:
    """Some records that a source says have changed, each by its key and the `updated_at` that the source holds.

    `side` is the one whose records the source keeps; None where it only adds to them, as a joined table does. `until`
    is how far the source was read, after its last.
    """

    source: str
    side: Side | None
    changed: list[Changed]
    until: datetime | None = None


async def read_changed(
    connection: asyncpg.Connection, stores: Stores, mapping: Mapping
) -> AsyncGenerator[Slice]:
    """The records with a source that changed since its watermark, in slices; one may come repeatedly.

    Watermarks are read from the core DB through `connection`, and stay where they are: `move` moves them. Raises
    StoreUnavailableError.
    """
    try:
        until = await _clock(stores)
        since = await _watermarks(connection, mapping, until)
        for name, side, slices in _sources(stores, mapping, since):
            async with aclosing(slices):
                async for changed in slices:
                    yield Slice(name, side, [each for each in changed if mapping.is_key(each[0])])
            yield Slice(name, side, [], until)
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
) -> Iterator[tuple[str, Side | None, AsyncGenerator[list[Changed]]]]:
    tables = {mapping.table: mapping.updated_at} | {each.table: each.updated_at for each in mapping.joins}
    for table, updated_at in tables.items():
        name = f"table {table}"
        at = f'{table}."{updated_at}"'
        query = (
            f'SELECT {mapping.table}."{mapping.key_relational}", CASE WHEN {at} <= {_LATEST} THEN {at} END '
            f"{from_clause(mapping)} WHERE {at} >= $1::timestamptz"
        )
        yield name, _if(Side.RELATIONAL, table == mapping.table), _rows(stores, query, since[name])
    paths = {mapping.collection: (mapping.key_document, mapping.updated_at_path)}
    paths |= {each.collection: (each.key, each.updated_at) for each in mapping.sources}
    for collection, (path, updated_at) in paths.items():
        name = f"collection {collection}"
        cursor = (
            stores.customer[collection]
            .with_options(codec_options=CODEC)
            .find({updated_at: {"$gte": since[name]}}, {path: 1, updated_at: 1}, batch_size=SLICE)
        )
        side = _if(Side.DOCUMENT, collection == mapping.collection)
        yield name, side, _documents(stores, cursor, mapping, path, updated_at)


def _if(side: Side, keeps_records: bool) -> Side | None:  # noqa: FBT001
    return side if keeps_records else None


async def _rows(stores: Stores, query: str, since: datetime) -> AsyncGenerator[list[Changed]]:
    async with stores.admin.acquire() as connection, connection.transaction(readonly=True):
        cursor = await connection.cursor(query, since)
        while rows := await cursor.fetch(SLICE):
            yield [(str(key), instant_of(updated_at)) for key, updated_at in rows]


async def _documents(
    stores: Stores, cursor: Any, mapping: Mapping, path: str, updated_at: str
) -> AsyncGenerator[list[Changed]]:
    async with cursor:
        while cursor.alive:
            with pymongo.timeout(_CURSOR_SECONDS):
                async with asyncio.timeout(stores.settings.store_timeout_seconds):
                    documents = await cursor.to_list(SLICE)
            found = [
                (from_document(mapping.key_kind, stored_at(each, path)), stored_at(each, updated_at))
                for each in documents
            ]
            yield [
                (str(key), at if isinstance(at, datetime) else None)
                for key, at in found
                if key is not None and not isinstance(key, Unreadable)
            ]
