"""Drift of the two schemas: what a mapping declares against what the stores hold now, asked before anything is read.

The relational side knows its columns. The document side knows nothing, so some hundred documents are looked at: those
with the keys of the rows that changed last, where a new version of an application shows first, and of some others.
One odd document is no drift: it becomes a diff like any other.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import bson
from pymongo.errors import PyMongoError

from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Derived, Mapping, is_plain
from app.reconciliation.scanning.canonical import layout_of
from app.reconciliation.scanning.sql_columns import is_readable
from app.reconciliation.sides.bson_records import Document, decode_document, documents_of, stored_at, value_at
from app.reconciliation.sides.relational import column, from_clause
from app.reconciliation.values import Kind, Unreadable, from_relational
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

# Half of them the rows that changed last. More would only cost time: what is looked for is in half of them or in none.
_ROWS_TO_SAMPLE = 300
_DOCUMENTS_PER_BATCH = 50
_MOST_BYTES = 8 << 20
# So many documents without a field say that it is gone, so many values that their type has changed.
_ENOUGH_DOCUMENTS = 100
_ENOUGH_VALUES = 20
_SHARE_OF_ROWS = 0.1
_MOST_UNKNOWN = 20


@dataclass(frozen=True)
class Drift:
    """What is wrong, in sentences: `blocking` makes a comparison worthless or harmful, `warnings` do not."""

    blocking: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Place:
    """Something that the mapping names on both sides: where documents and rows keep it, as what."""

    name: str
    path: str
    document_kind: Kind
    expression: str
    relational_kind: Kind


async def find_drift(stores: Stores, mapping: Mapping) -> Drift:
    """What has changed under a mapping; raises StoreUnavailableError."""
    drift = Drift()
    places = list(_places(mapping))
    try:
        async with stores.admin.acquire() as connection:
            await _look_at_tables(connection, mapping, places, drift)
            # What cannot be read cannot be sampled either.
            rows = [] if drift.blocking else await _sample_rows(connection, mapping, places, drift)
    except POSTGRES_FAULTS as error:
        raise StoreUnavailableError("the admin database does not answer") from error
    if not drift.blocking:
        await _look_at_documents(stores, mapping, places, rows, drift)
    return drift


def _places(mapping: Mapping) -> Iterator[_Place]:
    """The key, `updated_at` and every field; of a derived one, the rows keep what it is derived from."""
    table, kind = mapping.table, mapping.key_kind
    yield _Place("the key", mapping.key_document, kind, f'{table}."{mapping.key_relational}"', kind)
    changed, kind = f'{table}."{mapping.updated_at}"', Kind.TIMESTAMP
    yield _Place("updated_at", mapping.updated_at_path, kind, changed, kind)
    for each in mapping.fields:
        kept = mapping.field_by_name[each.rule.base] if isinstance(each.rule, Derived) else each
        here, there = each.document_converter, kept.relational_converter
        yield _Place(
            each.name,
            each.path,
            here.stored if here else each.kind,
            column(mapping, kept),
            there.stored if there else kept.kind,
        )


async def _look_at_tables(
    connection: asyncpg.Connection, mapping: Mapping, places: Sequence[_Place], drift: Drift
) -> None:
    for table in (mapping.table, *(each.table for each in mapping.joins)):
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table):
            drift.blocking.append(f"relational side: there is no table {table}")
    if drift.blocking:
        return
    if await _type_of(connection, mapping, "1") is None:
        joins = "; ".join(f"{each.table} on {each.on}" for each in mapping.joins)
        drift.blocking.append(f"relational side: table {mapping.table} cannot be joined: {joins}")
        return
    derived = {each.name for each in mapping.derived_fields}
    wanted = [
        (each.name, each.expression, each.relational_kind) for each in places if each.name not in derived
    ]
    wanted += [
        (f"updated_at of {each.table}", f'{each.table}."{each.updated_at}"', Kind.TIMESTAMP)
        for each in mapping.joins
    ]
    if marker := mapping.relational_deleted:
        wanted.append(("the marker of deletion", f'{mapping.table}."{marker.at}"', marker.kind))
    for name, expression, kind in wanted:
        found = await _type_of(connection, mapping, expression)
        if found is None:
            drift.blocking.append(
                f"relational side: {expression}, declared as {kind} for {name}, is not there"
            )
        elif not is_readable(kind, found["typname"], enumeration=found["enumeration"]):
            drift.blocking.append(
                f"relational side: {expression}, declared as {kind} for {name}, is of type {found['shown']}"
            )
    drift.warnings.extend(await _unknown_columns(connection, mapping))


async def _type_of(connection: asyncpg.Connection, mapping: Mapping, expression: str) -> Any:
    """The SQL type of an expression over the mapped tables; None where it cannot be evaluated."""
    try:
        prepared = await connection.prepare(f"SELECT {expression} {from_clause(mapping)}")
    except asyncpg.SyntaxOrAccessError:
        return None
    return await connection.fetchrow(
        "SELECT typname, typtype = 'e' AS enumeration, format_type(oid, NULL) AS shown FROM pg_type WHERE oid = $1",
        prepared.get_attributes()[0].type.oid,
    )


async def _unknown_columns(connection: asyncpg.Connection, mapping: Mapping) -> list[str]:
    rows = await connection.fetch(
        """
        SELECT attname, format_type(atttypid, atttypmod) AS shown FROM pg_attribute
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
        """,
        mapping.table,
    )
    known = {mapping.key_relational, mapping.updated_at, *mapping.ignored}
    known |= {mapping.relational_deleted.at} if mapping.relational_deleted else set()
    known |= {each.expression or "" for each in mapping.fields if is_plain(each)}
    # Whatever an expression or a join mentions is in use.
    used = " ".join(
        [*(each.expression or "" for each in mapping.fields), *(each.on for each in mapping.joins)]
    )
    words = set("".join(letter if letter.isalnum() or letter == "_" else " " for letter in used).split())
    return [
        f"relational side: table {mapping.table} has a column {row['attname']} ({row['shown']}) "
        "that the mapping neither names nor ignores"
        for row in rows
        if row["attname"] not in known | words
    ]


async def _sample_rows(
    connection: asyncpg.Connection, mapping: Mapping, places: Sequence[_Place], drift: Drift
) -> list[asyncpg.Record]:
    """The key of some rows, and for each place after it whether they hold anything there."""
    held = ", ".join(f'{each.expression} IS NOT NULL AS "{at}"' for at, each in enumerate(places))
    layout = layout_of(mapping, ())
    live = f" WHERE {layout.live}" if layout.live else ""
    query = f'SELECT {places[0].expression} AS "key", {held} {layout.source}{live}'
    half = _ROWS_TO_SAMPLE // 2
    try:
        rows: list[asyncpg.Record] = await connection.fetch(
            f"({query} ORDER BY {places[1].expression} DESC NULLS LAST LIMIT {half}) UNION ({query} LIMIT {half})"
        )
    except asyncpg.SyntaxOrAccessError as error:
        drift.blocking.append(
            f"relational side: table {mapping.table} cannot be read (SQLSTATE {error.sqlstate})"
        )
        return []
    return rows


async def _look_at_documents(
    stores: Stores,
    mapping: Mapping,
    places: Sequence[_Place],
    rows: Sequence[asyncpg.Record],
    drift: Drift,
) -> None:
    try:
        documents = await _sample_documents(stores, mapping, rows, drift)
        if not documents and await _is_gone(stores, mapping):
            drift.blocking.append(
                f"document side: collection {mapping.collection} is gone; the last full run read documents of it"
            )
    except PyMongoError as error:
        raise StoreUnavailableError("the customer database does not answer") from error
    marker = mapping.document_deleted
    live = [each for each in documents if not (marker and marker.deletes(stored_at(each, marker.at)))]
    where = f"collection {mapping.collection}"
    for at, place in enumerate(places):
        drift.blocking.extend(_changed_type(where, place.name, place.path, place.document_kind, live))
        holding = sum(row[str(at)] for row in rows)
        if _is_missing(place.path, live) and rows and holding >= _SHARE_OF_ROWS * len(rows):
            drift.blocking.append(
                f"document side: none of {len(live)} documents of {where} has {place.path}, declared as "
                f"{place.document_kind} for {place.name}, but {holding} of {len(rows)} rows have a value"
            )
    if marker:
        held = [each for each in documents if marker.deletes(stored_at(each, marker.at))]
        drift.blocking.extend(_changed_type(where, "the marker of deletion", marker.at, marker.kind, held))
    drift.warnings.extend(_unknown_fields(where, mapping, documents))


async def _sample_documents(
    stores: Stores, mapping: Mapping, rows: Sequence[asyncpg.Record], drift: Drift
) -> list[Document]:
    """The documents of some rows; where those are few, the first documents whatever their keys."""
    keys = [from_relational(mapping.key_kind, row["key"]) for row in rows]
    known = [key for key in keys if key is not None and not isinstance(key, Unreadable)]
    found = await _find(stores, mapping, {mapping.key_document: {"$in": known}}) if known else []
    if len(found) >= _ENOUGH_DOCUMENTS:
        return found
    try:
        return await _find(stores, mapping, {})
    except PyMongoError as error:
        if not error.timeout:
            raise
        # Some stores take long to find just any documents; what is odd in them will be diffs.
        drift.warnings.append(f"document side: collection {mapping.collection} could not be sampled in time")
        return found


async def _find(stores: Stores, mapping: Mapping, query: Document) -> list[Document]:
    found: list[Document] = []
    size = 0
    collection = stores.customer[mapping.collection]
    cursor: Any = collection.find_raw_batches(query, limit=_ROWS_TO_SAMPLE, batch_size=_DOCUMENTS_PER_BATCH)
    async with cursor:
        async for batch in cursor:
            found += (decode_document(raw) for raw in documents_of(batch))
            size += len(batch)
            if size > _MOST_BYTES:
                break
    return found


async def _is_gone(stores: Stores, mapping: Mapping) -> bool:
    """Whether the collection does not exist although a full run of this very mapping read documents of it.

    A new side may well be empty, and then it does not exist: MongoDB makes a collection with its first document.
    """
    if mapping.collection in await stores.customer.list_collection_names(authorizedCollections=True):
        return False
    last: int | None = await stores.core.fetchval(
        """
        SELECT document_records FROM runs WHERE entity = $1 AND mapping_hash = $2 AND mode = 'full'
            AND status = 'done' ORDER BY id DESC LIMIT 1
        """,
        mapping.entity,
        mapping.hash,
    )
    return bool(last)


def _held_at(document: Any, path: str) -> Any:
    """What lies at a path, or what lies in the way."""
    for name in path.split("."):
        if not isinstance(document, dict):
            return document
        document = document.get(name)
    return document


def _is_missing(path: str, documents: Sequence[Document]) -> bool:
    return len(documents) >= _ENOUGH_DOCUMENTS and all(_held_at(each, path) is None for each in documents)


def _changed_type(
    where: str, name: str, path: str, kind: Kind, documents: Sequence[Document]
) -> Iterator[str]:
    values = [value_at(each, kind, path) for each in documents]
    present = [at for at, value in enumerate(values) if value is not None]
    odd = Counter(
        _bson_type(_held_at(documents[at], path)) for at in present if isinstance(values[at], Unreadable)
    )
    if len(present) >= _ENOUGH_VALUES and odd.total() > len(present) / 2:
        yield (
            f"document side: {odd.total()} of {len(present)} values at {path} of {where}, declared as {kind} for "
            f"{name}, are of another type, most of them {odd.most_common(1)[0][0]}"
        )


_BSON_TYPES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "int",
    bson.Int64: "long",
    float: "double",
    bson.Decimal128: "decimal",
    datetime: "date",
    UUID: "binData (uuid)",
    bytes: "binData",
    bson.Binary: "binData",
    bson.ObjectId: "objectId",
    dict: "object",
    list: "array",
}


def _bson_type(held: Any) -> str:
    return _BSON_TYPES.get(type(held), type(held).__name__)


def _unknown_fields(where: str, mapping: Mapping, documents: Sequence[Document]) -> list[str]:
    marker = [mapping.document_deleted.at] if mapping.document_deleted else []
    named = ["_id", mapping.key_document, mapping.updated_at_path, *marker]
    known = {*named, *(each.path for each in mapping.fields), *mapping.ignored}
    parents = {path[:at] for path in known for at, letter in enumerate(path) if letter == "."}
    counts = Counter(path for each in documents for path in _paths_outside(each, "", known, parents))
    sentences = [
        f"document side: {number} of {len(documents)} documents of {where} have a field {path[:80]} "
        "that the mapping neither names nor ignores"
        for path, number in counts.most_common(_MOST_UNKNOWN)
    ]
    if len(counts) > _MOST_UNKNOWN:
        sentences.append(f"document side: and {len(counts) - _MOST_UNKNOWN} more fields of {where}")
    return sentences


def _paths_outside(document: Document, prefix: str, known: set[str], parents: set[str]) -> Iterator[str]:
    """The fields that the mapping says nothing of: at the top, and below what it names some fields of."""
    for name, held in document.items():
        path = prefix + name
        if path in parents and isinstance(held, dict):
            yield from _paths_outside(held, f"{path}.", known, parents)
        elif path not in known | parents:
            yield path
