"""Cutting an entity into ranges of keys, where both stores can serve such a range from an index."""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any
from uuid import UUID

from adbc_driver_postgresql import StatementOptions
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from app.reconciliation.mapping import Mapping
from app.reconciliation.scanning.canonical import Column, Layout, layout_of
from app.reconciliation.scanning.snapshots import (
    KeyRange,
    collection_of,
    failures_of,
    key_order,
    open_customer_client,
    open_relational,
    where_clause,
)
from app.reconciliation.sides.bson_records import CODEC, Document
from app.reconciliation.values import Kind, parse_key
from config.settings import Settings

ROWS_PER_RANGE = 200_000
_SAMPLES_PER_RANGE = 50
# Whole blocks are drawn, each or not: with ten times the rows that are needed, hardly ever too few come.
_DRAWN_PER_SAMPLE = 10
_INDEX_SCANS = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}
_INDEX_STAGES = ("IXSCAN", "CLUSTERED_IXSCAN", "EXPRESS", "IDHACK")


def plan_ranges(
    settings: Settings, mapping: Mapping, *, rows_per_range: int = ROWS_PER_RANGE
) -> list[KeyRange]:
    """Ranges that together hold every key once; the single open range where ranges would not pay.

    They do not where the entity is small, where a store would read everything for each of them, and where a total
    over another collection would have to be read for each.
    """
    if mapping.derived_fields:
        return [KeyRange()]
    layout = layout_of(mapping, mapping.compared_fields)
    with open_relational(settings) as cursor:
        _kind, rows = _known_of(cursor, layout)
        if rows <= rows_per_range:
            return [KeyRange()]
        borders = _borders(cursor, layout, -(-rows // rows_per_range))
        ranges = _between(borders)
        if not borders or not _relational_serves(cursor, mapping, layout, ranges[len(ranges) // 2]):
            return [KeyRange()]
    return ranges if _documents_serve(settings, layout, ranges[len(ranges) // 2]) else [KeyRange()]


def estimate_rows(settings: Settings, mapping: Mapping) -> int:
    """About how many rows the mapped table has, from the last ANALYZE. Nothing is counted.

    The document side is not asked: where it has far more, the open pass copes, whatever the size.
    """
    with open_relational(settings) as cursor:
        return _known_of(cursor, layout_of(mapping, ()))[1]


def _known_of(cursor: Any, layout: Layout) -> tuple[str, int]:
    """(kind, about how many rows) of the mapped relation."""
    cursor.execute(
        "SELECT relkind::text, greatest(reltuples, 0)::bigint FROM pg_class "
        f"WHERE oid = '{_quoted(layout.table)}'::regclass"
    )
    kind, rows = cursor.fetchall()[0]
    return kind, int(rows)


def _quoted(name: str) -> str:
    return name.replace("'", "''")


def _between(borders: Sequence[str]) -> list[KeyRange]:
    ends = [None, *borders, None]
    return [KeyRange(low, high) for low, high in pairwise(ends)]


def _borders(cursor: Any, layout: Layout, parts: int) -> list[str]:
    """Keys that cut the entity into about equal parts: from a sample of rows, else evenly for UUIDs."""
    sample = _sample(cursor, layout, parts)
    if len(sample) >= _SAMPLES_PER_RANGE // 2 * parts:
        borders = [sample[len(sample) * part // parts] for part in range(1, parts)]
        return list(dict.fromkeys(borders))
    if layout.key.kind is Kind.UUID:
        return [str(UUID(int=2**128 * part // parts)) for part in range(1, parts)]
    return []


def _sample(cursor: Any, layout: Layout, parts: int) -> list[str]:
    """Keys of some blocks of the table, in order."""
    kind, rows = _known_of(cursor, layout)
    if kind not in {"r", "m", "p"}:
        return []
    wanted = _SAMPLES_PER_RANGE * _DRAWN_PER_SAMPLE * parts
    percent = min(100.0, 100.0 * wanted / max(1, rows))
    cursor.execute(
        f"SELECT {layout.key.expression}::text FROM {layout.table} TABLESAMPLE SYSTEM ({percent:.6f}) "
        f"WHERE {layout.key.expression} IS NOT NULL ORDER BY {key_order(layout)}"
    )
    return [row[0] for row in cursor.fetchall()]


def _relational_serves(cursor: Any, mapping: Mapping, layout: Layout, key_range: KeyRange) -> bool:
    table, column = _quoted(layout.table), _quoted(mapping.key_relational)
    cursor.execute(
        "SELECT count(*) FROM pg_attribute "
        f"WHERE attrelid = '{table}'::regclass AND attname = '{column}' AND attnotnull"
    )
    if cursor.fetchall()[0][0] != 1:
        # A row without a key is in no range.
        return False
    cursor.adbc_statement.set_options(**{StatementOptions.USE_COPY.value: "false"})
    cursor.execute(f"EXPLAIN (FORMAT JSON) SELECT * {layout.source}{where_clause(layout, key_range)}")
    plan = json.loads(cursor.fetchall()[0][0])
    name = layout.table.rpartition(".")[2].strip('"')
    scans = [node["Node Type"] for node in _nodes(plan) if node.get("Relation Name") == name]
    return bool(scans) and all(scan in _INDEX_SCANS for scan in scans)


def _documents_serve(settings: Settings, layout: Layout, key_range: KeyRange) -> bool:
    path = layout.key.path
    ends = {"min": key_range.low, "max": key_range.high}
    bounds = {name: parse_key(layout.key.kind, text) for name, text in ends.items() if text is not None}
    operators = {"min": "$gte", "max": "$lt"}
    by_filter = {"filter": {path: {operators[name]: key for name, key in bounds.items()}}}
    by_bounds = {"filter": {}, "hint": {path: 1}} | {name: {path: key} for name, key in bounds.items()}
    with failures_of("customer database"), open_customer_client(settings) as client:
        collection = collection_of(client, settings, layout)
        try:
            return (
                _holds_all_in_order(collection, layout.key)
                and _served(collection, by_filter)
                and _served(collection, by_bounds)
            )
        except OperationFailure:
            # Also where the right to ask is missing: one range needs none but that to read.
            return False


def _holds_all_in_order(collection: Collection[Document], key: Column) -> bool:
    """Whether every index of the key holds all documents, and text in the order of its bytes."""
    if key.kind is Kind.TEXT and collection.options().get("collation"):
        return False
    return not any(_leaves_out(index, key.path) for index in collection.index_information().values())


def _leaves_out(index: Any, path: str) -> bool:
    """Whether an index of the key holds some documents only: reading by its bounds would miss the others."""
    return index["key"] == [(path, 1)] and bool(index.get("sparse") or index.get("partialFilterExpression"))


def _served(collection: Collection[Document], query: Document) -> bool:
    explained = collection.database.command(
        "explain", {"find": collection.name} | query, verbosity="queryPlanner", codec_options=CODEC
    )
    return _from_index(explained)


def _from_index(explained: Document) -> bool:
    """Whether an explained find reads an index and nothing but what the index leads to."""
    stages = [
        str(node["stage"])
        for node in _nodes(explained.get("queryPlanner", {}).get("winningPlan"))
        if "stage" in node
    ]
    return any(stage.startswith(_INDEX_STAGES) for stage in stages) and "COLLSCAN" not in stages


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """Every object of a plan, at whatever depth."""
    if isinstance(plan, dict):
        yield plan
    for each in plan.values() if isinstance(plan, dict) else plan if isinstance(plan, list) else ():
        yield from _nodes(each)
