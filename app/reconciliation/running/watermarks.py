"""What changed lately, by the `updated_at` of every source table of a mapping.

Each source has a watermark: how far it has been read, by its store's clock. A read starts two minutes earlier, for
transactions that began before the watermark and committed after it. Deletions leave no trace here: events and full
runs find them.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from pymongo.errors import PyMongoError

from app.errors import StoreUnavailableError
from app.reconciliation.ledger.suspects import nominate
from app.reconciliation.mapping import Mapping
from app.reconciliation.sides.bson_records import stored_at
from app.reconciliation.sides.relational import from_clause
from app.reconciliation.values import Unreadable, from_document
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

OVERLAP = timedelta(minutes=2)


async def nominate_changed(
    connection: asyncpg.Connection, stores: Stores, mapping: Mapping, run_id: UUID
) -> int:
    """Nominate every record with a source that changed since its watermark, and move the watermarks.

    Runs in the open transaction of `connection`; answers how many records were nominated.
    """
    keys: set[str] = set()
    until = await _clock(stores)
    async for source, changed in _sources(stores, mapping, await _watermarks(connection, mapping, until)):
        keys |= {key for key in changed if mapping.is_key(key)}
        await connection.execute(
            """
            INSERT INTO watermarks (entity, source, seen_until) VALUES ($1, $2, $3)
            ON CONFLICT (entity, source) DO UPDATE SET seen_until = EXCLUDED.seen_until
            """,
            mapping.entity,
            source,
            until,
        )
    await nominate(connection, mapping.entity, keys, cause="watermark", run_id=run_id)
    return len(keys)


async def _clock(stores: Stores) -> datetime:
    """The earlier of the two stores' clocks: nothing newer can have been read."""
    try:
        document: datetime = (await stores.customer.client.admin.command("hello"))["localTime"]
        relational: datetime = await stores.admin.fetchval("SELECT clock_timestamp()")
        return min(document.astimezone(UTC), relational)
    except (PyMongoError, *POSTGRES_FAULTS) as error:
        raise StoreUnavailableError("a database does not answer") from error


async def _watermarks(
    connection: asyncpg.Connection, mapping: Mapping, until: datetime
) -> dict[str, datetime]:
    rows = await connection.fetch(
        "SELECT source, seen_until FROM watermarks WHERE entity = $1", mapping.entity
    )
    known = {row["source"]: row["seen_until"] - OVERLAP for row in rows}
    names = [
        f"table {mapping.table}",
        *(f"table {each.table}" for each in mapping.joins),
        f"collection {mapping.collection}",
        *(f"collection {each.collection}" for each in mapping.sources),
    ]
    return {name: known.get(name, until - OVERLAP) for name in names}


async def _sources(
    stores: Stores, mapping: Mapping, since: dict[str, datetime]
) -> AsyncIterator[tuple[str, set[str]]]:
    tables = {mapping.table: mapping.updated_at} | {each.table: each.updated_at for each in mapping.joins}
    paths = {mapping.collection: (mapping.key_document, mapping.updated_at_path)}
    paths |= {each.collection: (each.key, each.updated_at) for each in mapping.sources}
    try:
        for table, updated_at in tables.items():
            name = f"table {table}"
            query = (
                f'SELECT DISTINCT {mapping.table}."{mapping.key_relational}" {from_clause(mapping)} '
                f'WHERE {table}."{updated_at}" >= $1::timestamptz'
            )
            yield name, {str(row[0]) for row in await stores.admin.fetch(query, since[name])}
        for collection, (path, updated_at) in paths.items():
            name = f"collection {collection}"
            cursor = stores.customer[collection].find({updated_at: {"$gte": since[name]}}, {path: 1})
            keys = {from_document(mapping.key_kind, stored_at(found, path)) async for found in cursor}
            yield name, {str(key) for key in keys if key is not None and not isinstance(key, Unreadable)}
    except (PyMongoError, *POSTGRES_FAULTS) as error:
        raise StoreUnavailableError("a database does not answer") from error
