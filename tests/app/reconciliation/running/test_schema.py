"""What has changed under a mapping is named before a run reads anything, on real stores."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import bson
import pytest
from bson.decimal128 import Decimal128

from app.clock import now
from app.demo.seeding import Plan, seed
from app.demo.sizes import Sizes
from app.errors import StoreUnavailableError
from app.reconciliation.mapping import (
    Authority,
    Converter,
    Field,
    Join,
    Mapping,
    Missing,
    Side,
    SoftDelete,
    mappings,
)
from app.reconciliation.running.schema import Drift, find_drift
from app.reconciliation.values import Kind
from app.stores.connections import Stores

DOCUMENT, RELATIONAL = Authority(Side.DOCUMENT), Authority(Side.RELATIONAL)
SEEN = datetime(2026, 1, 1, tzinfo=UTC)
CENTS = Converter("cents", Kind.INTEGER, lambda stored: stored, lambda amount: amount)
PARCELS = Mapping(
    entity="parcels",
    collection="parcels",
    table="post.parcels",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.REMOVE,
    joins=(Join("post.offices", on="post.offices.code = post.parcels.office", updated_at="changed"),),
    document_deleted=SoftDelete("deleted_at"),
    relational_deleted=SoftDelete("is_deleted", Kind.BOOLEAN),
    ignored=("remarks", "place.map"),
    fields=(
        Field("weight", Kind.DECIMAL, DOCUMENT, relational_converter=CENTS),
        Field("place.city", Kind.TEXT, DOCUMENT, relational="city"),
        Field("fragile", Kind.BOOLEAN, DOCUMENT),
        Field("office", Kind.TEXT, RELATIONAL, relational="post.offices.name"),
    ),
)
TABLES = """
DROP SCHEMA IF EXISTS post CASCADE;
CREATE SCHEMA post;
CREATE DOMAIN post.grams AS integer CHECK (VALUE > 0);
CREATE TYPE post.town AS ENUM ('Paris', 'Rome');
CREATE TABLE post.offices (code text PRIMARY KEY, name text, changed timestamptz);
CREATE TABLE post.parcels (
    id uuid PRIMARY KEY, weight post.grams, city post.town, fragile boolean, office text, is_deleted boolean,
    updated_at timestamptz, remarks text
);
INSERT INTO post.offices VALUES ('p', 'Paris 1', now());
"""


def parcel(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "_id": UUID(int=number),
        "weight": Decimal128("5"),
        "place": {"city": "Paris", "map": "x"},
        "fragile": None if number % 2 else True,
        "office": "Paris 1",
        "updated_at": SEEN,
        "remarks": "x",
    } | changes


@pytest.fixture
async def parcels(stores: Stores) -> Stores:
    """150 parcels on both sides that agree with the mapping."""
    await make_tables(stores)
    await stores.customer["parcels"].insert_many([parcel(number) for number in range(1, 151)])
    return stores


async def make_tables(stores: Stores) -> None:
    await stores.admin.execute(TABLES)
    await stores.admin.execute(
        "INSERT INTO post.parcels SELECT lpad(to_hex(at), 32, '0')::uuid, 500, 'Paris', true, 'p', NULL, "
        "timestamptz '2026-01-01' + make_interval(mins => at) FROM generate_series(1, 150) AS at"
    )


async def change(stores: Stores, change: dict[str, Any], query: dict[str, Any] | None = None) -> None:
    await stores.customer["parcels"].update_many(query or {}, change)


async def test_what_agrees_is_no_drift(parcels: Stores) -> None:
    assert await find_drift(parcels, PARCELS) == Drift()


GONE_OR_OTHER = [
    ("DROP TABLE post.parcels", ["there is no table post.parcels"]),
    ("DROP TABLE post.offices", ["there is no table post.offices"]),
    (
        "ALTER TABLE post.parcels RENAME office TO bureau",
        ["table post.parcels cannot be joined: post.offices on"],
    ),
    (
        "ALTER TABLE post.parcels DROP weight",
        ['post.parcels."weight", declared as integer for weight, is not there'],
    ),
    (
        "ALTER TABLE post.parcels RENAME id TO number",
        ['post.parcels."id", declared as uuid for the key, is not'],
    ),
    (
        "ALTER TABLE post.parcels DROP updated_at",
        ['"updated_at", declared as timestamp for updated_at, is not'],
    ),
    (
        "ALTER TABLE post.parcels DROP is_deleted",
        ["declared as boolean for the marker of deletion, is not there"],
    ),
    (
        "ALTER TABLE post.offices DROP changed",
        ["declared as timestamp for updated_at of post.offices, is not"],
    ),
    ("ALTER TABLE post.offices DROP name", ["post.offices.name, declared as text for office, is not there"]),
    (
        "ALTER TABLE post.parcels ALTER weight TYPE numeric(9,2), ALTER fragile TYPE text",
        ["weight, is of type numeric", "fragile, is of type text"],
    ),
]


async def test_a_table_or_column_that_is_gone_or_of_another_type_blocks(parcels: Stores) -> None:
    for statement, named in GONE_OR_OTHER:
        await make_tables(parcels)
        await parcels.admin.execute(statement)
        drift = await find_drift(parcels, PARCELS)
        assert len(drift.blocking) == len(named), drift
        for sentence, part in zip(drift.blocking, named, strict=True):
            assert sentence.startswith("relational side: ")
            assert part in sentence


async def test_a_new_column_or_field_is_a_warning(parcels: Stores) -> None:
    await parcels.admin.execute("ALTER TABLE post.parcels ADD colour varchar(9)")
    await change(parcels, {"$set": {"place.street": "1 Square", "tags": []}}, {"_id": UUID(int=7)})
    drift = await find_drift(parcels, PARCELS)
    assert drift.blocking == []
    assert drift.warnings == [
        (
            "relational side: table post.parcels has a column colour (character varying(9)) "
            "that the mapping neither names nor ignores"
        ),
        (
            "document side: 1 of 150 documents of collection parcels have a field place.street "
            "that the mapping neither names nor ignores"
        ),
        (
            "document side: 1 of 150 documents of collection parcels have a field tags "
            "that the mapping neither names nor ignores"
        ),
    ]


async def test_many_new_fields_are_counted_not_listed(parcels: Stores) -> None:
    await change(parcels, {"$set": {f"new{at}": 1 for at in range(50)}}, {"_id": UUID(int=7)})
    drift = await find_drift(parcels, PARCELS)
    assert len(drift.warnings) == 21
    assert drift.warnings[-1] == "document side: and 30 more fields of collection parcels"


async def test_a_field_that_rows_have_and_no_document_is_gone(parcels: Stores) -> None:
    await change(parcels, {"$rename": {"place.city": "place.town"}})
    await change(parcels, {"$set": {"fragile": None}})
    drift = await find_drift(parcels, PARCELS)
    assert drift.blocking == [
        (
            "document side: none of 150 documents of collection parcels has place.city, declared as text for place.city, "
            "but 150 of 150 rows have a value"
        ),
        (
            "document side: none of 150 documents of collection parcels has fragile, declared as boolean for fragile, "
            "but 150 of 150 rows have a value"
        ),
    ]


async def test_a_field_that_hardly_a_row_has_is_not_missed(parcels: Stores) -> None:
    await change(parcels, {"$unset": {"fragile": 1}})
    await parcels.admin.execute("UPDATE post.parcels SET fragile = NULL WHERE id > $1", UUID(int=14))
    assert await find_drift(parcels, PARCELS) == Drift()


async def test_a_field_that_one_document_has_is_not_gone(parcels: Stores) -> None:
    await change(parcels, {"$unset": {"fragile": 1}}, {"_id": {"$ne": UUID(int=9)}})
    await change(parcels, {"$set": {"fragile": False}}, {"_id": UUID(int=9)})
    assert await find_drift(parcels, PARCELS) == Drift()


OTHER_TYPES = [
        ("weight", 5.5, "weight of collection parcels, declared as decimal for weight, are of another type, most of them double"),
        ("place", "Paris", "place.city of collection parcels, declared as text for place.city, are of another type, most of them string"),
        ("updated_at", bson.Int64(5), "updated_at of collection parcels, declared as timestamp for updated_at, are of another type, most of them long"),
]  # fmt: skip


async def test_a_type_that_changed_blocks(parcels: Stores) -> None:
    for path, value, named in OTHER_TYPES:
        half = {"_id": {"$lte": UUID(int=76)}}
        before = parcel(1)[path]
        await change(parcels, {"$set": {path: value}}, half)
        drift = await find_drift(parcels, PARCELS)
        assert drift.blocking == [f"document side: 76 of 150 values at {named}"]
        await change(parcels, {"$set": {path: before}}, half)


async def test_odd_documents_are_diffs_and_no_drift(parcels: Stores) -> None:
    await change(parcels, {"$set": {"weight": 5.5, "place": "Paris"}}, {"_id": {"$lte": UUID(int=75)}})
    assert await find_drift(parcels, PARCELS) == Drift()


async def test_a_marker_of_another_type_blocks_and_the_marked_are_not_looked_at(parcels: Stores) -> None:
    marked = {"_id": {"$lte": UUID(int=40)}}
    await change(parcels, {"$set": {"deleted_at": SEEN, "weight": "gone"}}, marked)
    assert await find_drift(parcels, PARCELS) == Drift()
    await change(parcels, {"$set": {"deleted_at": "yesterday"}}, marked)
    drift = await find_drift(parcels, PARCELS)
    assert drift.blocking == [
        (
            "document side: 40 of 40 values at deleted_at of collection parcels, declared as timestamp for "
            "the marker of deletion, are of another type, most of them string"
        )
    ]


async def test_keys_of_another_type_are_seen_although_no_row_leads_to_them(parcels: Stores) -> None:
    await parcels.customer["parcels"].delete_many({})
    await parcels.customer["parcels"].insert_many([parcel(1, _id=bson.ObjectId()) for _ in range(30)])
    drift = await find_drift(parcels, PARCELS)
    assert drift.blocking == [
        (
            "document side: 30 of 30 values at _id of collection parcels, declared as uuid for the key, "
            "are of another type, most of them objectId"
        )
    ]


async def test_a_new_side_may_be_empty(parcels: Stores) -> None:
    await parcels.customer.drop_collection("parcels")
    assert await find_drift(parcels, PARCELS) == Drift()
    await parcels.admin.execute("TRUNCATE post.parcels")
    assert await find_drift(parcels, PARCELS) == Drift()


async def test_a_collection_that_a_run_has_read_is_gone_when_it_is_not_there(parcels: Stores) -> None:
    await parcels.core.execute(
        "INSERT INTO runs (entity, mode, status, cause, requested_by, mapping_hash, document_records) "
        "VALUES ('parcels', 'full', 'done', 'test', 'test', $1, 150)",
        PARCELS.hash,
    )
    assert await find_drift(parcels, PARCELS) == Drift()
    await parcels.customer.drop_collection("parcels")
    drift = await find_drift(parcels, PARCELS)
    assert drift.blocking == [
        "document side: collection parcels is gone; the last full run read documents of it"
    ]
    assert await find_drift(parcels, replace(PARCELS, ignored=())) != drift, (
        "of another mapping nothing is known"
    )


async def test_a_table_that_may_not_be_read_blocks(parcels: Stores, settings_of_test: Any) -> None:
    role = f"r{uuid4().hex[:12]}"
    await parcels.admin.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA post TO {role}")
    try:
        async with asyncpg.create_pool(
            settings_of_test.url("admin_database_url"),
            min_size=1,
            max_size=1,
            setup=lambda connection: connection.execute(f"SET ROLE {role}"),
        ) as pool:
            drift = await find_drift(replace(parcels, admin=pool), PARCELS)
        assert drift.blocking == ["relational side: table post.parcels cannot be read (SQLSTATE 42501)"]
    finally:
        await parcels.admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_stores_that_are_away_are_told_from_drift(parcels: Stores) -> None:
    pool = await asyncpg.create_pool(parcels.settings.url("admin_database_url"), min_size=1, max_size=1)
    await pool.close()
    with pytest.raises(StoreUnavailableError, match="admin database"):
        await find_drift(replace(parcels, admin=pool), PARCELS)


async def test_our_own_mappings_agree_with_what_the_demo_seeds(stores: Stores, tmp_path: Path) -> None:
    stores = replace(stores, settings=stores.settings.model_copy(update={"data_dir": tmp_path}))
    plan = Plan(sizes=Sizes.of(500), drift=0.05)
    await seed(stores, plan, now=now(), force=False, starting=lambda *_: None, progress=lambda *_: None)
    for mapping in mappings().values():
        started = time.monotonic()
        assert await find_drift(stores, mapping) == Drift(), mapping.entity
        assert time.monotonic() - started < 5
