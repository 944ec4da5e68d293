"""Reading a side: every stored value arrives as the single-record reading has it, and no record is lost."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import bson
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from bson.binary import Binary
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.collection import Collection

from app.errors import StoreUnavailableError
from app.reconciliation.scanning import canonical
from app.reconciliation.scanning.bson_columns import DocumentDecoder
from app.reconciliation.scanning.canonical import KEY, ODD, Column, Layout, frame_of_records
from app.reconciliation.scanning.snapshots import (
    KeyRange,
    projection_of,
    read_documents,
    read_relational,
    select,
)
from app.reconciliation.scanning.sql_columns import ColumnReader
from app.reconciliation.sides.bson_records import CODEC, decode_document
from app.reconciliation.values import Kind, from_relational
from config.settings import Settings, parse_settings

SCHEMA = """
CREATE TYPE scan_mood AS ENUM ('calm', 'wild');
CREATE TABLE scan_joined (id int PRIMARY KEY, name text);
CREATE TABLE scan_odd (
    id uuid PRIMARY KEY, words text, short varchar(9), padded char(5), mood scan_mood, json_words jsonb,
    tiny smallint, whole int, big bigint, real_number float4, double_number float8, truth boolean,
    price numeric, money numeric(12,2), moment timestamptz, naive timestamp, day date, name text, joined int
);
"""
ROWS = """
INSERT INTO scan_joined VALUES (1, 'first');
INSERT INTO scan_odd (id, words, short, padded, mood, json_words, tiny, whole, big, real_number, double_number, truth,
    price, money, moment, naive, day, name, joined) VALUES
('00000000-0000-0000-0000-000000000001', '', 'é', 'ab', 'calm', '{"a": 1}', -1, 5, 9223372036854775807, 5, 5.5, true,
    12.500, 12.50, '1969-12-31 23:59:59.9999+00', '2020-01-01 00:00:00.123456', '0001-01-01', 'own', 1),
('ffffffff-ffff-ffff-ffff-ffffffffffff', E'e\\u0301', 'x', '', 'wild', '"x"', 1, -5, -9223372036854775808, 'NaN',
    'Infinity', false, 'NaN', 'NaN', '0001-01-01 00:00:00+00', '9999-12-31 23:59:59.999999', '9999-12-31', 'own', 2),
('80000000-0000-0000-0000-000000000000', 'x', NULL, 'abcde', NULL, NULL, NULL, NULL, 0, 1e30, 9007199254740993, NULL,
    'Infinity', -0.01, '2020-06-01 12:00:00.000999+02', NULL, NULL, NULL, NULL),
('7fffffff-ffff-ffff-ffff-ffffffffffff', NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, -9223372036854775808, NULL,
    1e-40, NULL, NULL, NULL, NULL, NULL, NULL),
('00000000-0000-0000-0000-000000000002', NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, 9223372036854775808, NULL,
    1e400, 9999999999.99, NULL, NULL, NULL, NULL, NULL),
('00000000-0000-0000-0000-000000000003', NULL, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL,
    9223372036854.7758070000, 0, NULL, NULL, NULL, NULL, NULL)
"""
COLUMNS = (
    *(Column(name, Kind.TEXT, name, name) for name in ("words", "short", "padded", "mood", "json_words")),
    *(Column(name, Kind.INTEGER, name, name) for name in ("tiny", "whole", "big", "real_number", "double_number")),
    Column("truth", Kind.BOOLEAN, "truth", "truth"),
    *(Column(name, Kind.DECIMAL, name, name) for name in ("price", "money")),
    *(Column(name, Kind.TIMESTAMP, name, name) for name in ("moment", "naive")),
    Column("day", Kind.DATE, "day", "day"),
    Column("name", Kind.TEXT, "name", "scan_odd.name"),
    Column("joined", Kind.TEXT, "joined", "scan_joined.name"),
    *(Column(f"{name} as {kind}", kind, name, name) for name, kind in (
        ("whole", Kind.DECIMAL), ("double_number", Kind.DECIMAL), ("price", Kind.INTEGER), ("words", Kind.UUID),
        ("moment", Kind.DATE), ("day", Kind.TIMESTAMP), ("truth", Kind.INTEGER), ("whole", Kind.BOOLEAN),
        ("whole", Kind.TEXT), ("scan_odd.id", Kind.TEXT),
    )),
)  # fmt: skip
LAYOUT = Layout(
    "scan_odd",
    "scan_odd",
    "FROM scan_odd LEFT JOIN scan_joined ON scan_joined.id = scan_odd.joined",
    Column("key", Kind.UUID, "_id", "scan_odd.id"),
    COLUMNS,
)


@pytest.fixture
def settings(settings_of_test: Settings) -> Settings:
    return settings_of_test


@pytest.fixture
def collection(settings: Settings) -> Iterator[Collection[Any]]:
    url = settings.url("customer_database_url")
    with MongoClient[Any](url, uuidRepresentation="standard") as client:
        yield client.get_default_database()["scan_odd"]


def run_sql(settings: Settings, *statements: str) -> None:
    url = settings.url("admin_database_url")
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def table(settings: Settings) -> None:
    run_sql(settings, *SCHEMA.split(";")[:-1], *ROWS.split(";"))


async def one_by_one(settings: Settings, layout: Layout) -> pl.DataFrame:
    """The same rows as the single-record compare reads them."""
    connection = await asyncpg.connect(
        settings.url("admin_database_url"), server_settings={"timezone": "UTC"}
    )
    try:
        readers = [ColumnReader(each.expression, canonical.plain) for each in (layout.key, *layout.columns)]
        rows = await connection.fetch(select(layout, readers, KeyRange()))
    finally:
        await connection.close()
    return frame_of_records(
        layout,
        [
            (
                from_relational(layout.key.kind, row[0]),
                [
                    from_relational(each.kind, value)
                    for each, value in zip(layout.columns, tuple(row)[1:], strict=True)
                ],
            )
            for row in rows
        ],
    )


def read(frames: Iterator[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames).sort(KEY)


@pytest.mark.usefixtures("table")
def test_rows_are_read_as_one_by_one(settings: Settings) -> None:
    columns = tuple(each for each in COLUMNS if each.name != "moment as date")
    layout = replace(LAYOUT, columns=columns)
    expected = asyncio.run(one_by_one(settings, layout)).sort(KEY)
    found = read(read_relational(settings, layout, KeyRange()))
    assert len(found) == 6
    for index, column in enumerate(columns):
        assert found[str(index)].to_list() == expected[str(index)].to_list(), column
    assert found.to_dicts() == expected.to_dicts()


@pytest.mark.usefixtures("table")
def test_times_that_no_record_can_hold_are_odd(settings: Settings) -> None:
    run_sql(
        settings,
        "DELETE FROM scan_odd",
        "INSERT INTO scan_odd (id, moment, day) VALUES "
        "(gen_random_uuid(), 'infinity', 'infinity'), (gen_random_uuid(), '-infinity', '-infinity'), "
        "(gen_random_uuid(), '4000-01-01 BC', '4000-01-01 BC'), (gen_random_uuid(), '20000-01-01', '20000-01-01')",
    )
    layout = replace(
        LAYOUT,
        columns=(
            Column("moment", Kind.TIMESTAMP, "moment", "moment"),
            Column("day", Kind.DATE, "day", "day"),
        ),
    )
    found = read(read_relational(settings, layout, KeyRange()))
    assert found[ODD].to_list() == ["0,1"] * 4
    assert found["0"].null_count() == found["1"].null_count() == 4


def test_a_database_of_another_encoding_is_read_as_what_it_holds(settings: Settings) -> None:
    url = urlsplit(settings.url("admin_database_url"))
    name = f"{url.path[1:]}_latin"
    run_sql(
        settings,
        f"CREATE DATABASE {name} ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    latin = settings.model_copy(
        update={"admin_database_url": SecretStr(urlunsplit(url._replace(path=f"/{name}")))}
    )
    layout = Layout(
        "",
        "words",
        "FROM words",
        Column("key", Kind.INTEGER, "_id", "id"),
        (Column("word", Kind.TEXT, "", "word"),),
    )
    try:
        # Two characters whose bytes in LATIN1 are those of one character in UTF-8.
        run_sql(latin, "CREATE TABLE words AS SELECT 1 AS id, chr(195) || chr(169) AS word")
        assert read(read_relational(latin, layout, KeyRange()))["0"].to_list() == ["\u00c3\u00a9"]
    finally:
        run_sql(settings, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.usefixtures("table")
def test_a_range_of_uuids_is_half_open(settings: Settings) -> None:
    layout = replace(LAYOUT, columns=())
    middle = "80000000-0000-0000-0000-000000000000"
    sizes = [
        sum(len(frame) for frame in read_relational(settings, layout, key_range))
        for key_range in (KeyRange(None, middle), KeyRange(middle, None), KeyRange(middle, middle))
    ]
    assert sizes == [4, 2, 0]


def test_text_ranges_are_those_of_bytes_on_both_sides(
    settings: Settings, collection: Collection[Any]
) -> None:
    keys = ["", "A", "Z", "a", "it's", "z", "é", "😀", "\ufffd", "a\\b"]
    run_sql(
        settings,
        "CREATE TABLE scan_text (id text PRIMARY KEY)",
        *("INSERT INTO scan_text VALUES ('{}')".format(key.replace("'", "''")) for key in keys),
    )
    collection.insert_many([{"_id": key} for key in keys])
    layout = Layout("scan_odd", "scan_text", "FROM scan_text", Column("key", Kind.TEXT, "_id", "id"), ())
    for key_range in (
        KeyRange("Z", "it's"),
        KeyRange("it's", "é"),
        KeyRange("é", None),
        KeyRange(None, "a\\b"),
    ):
        rows = [key for frame in read_relational(settings, layout, key_range) for key in frame[KEY]]
        documents = [key for frame in read_documents(settings, layout, key_range) for key in frame[KEY]]
        expected = {
            key
            for key in keys
            if (key_range.low or "").encode() <= key.encode()
            and (key_range.high is None or key.encode() < key_range.high.encode())
        }
        assert set(rows) == set(documents) == expected
        assert len(rows) == len(documents) == len(expected)


def test_integer_ranges_hold_every_number_once(settings: Settings, collection: Collection[Any]) -> None:
    run_sql(
        settings,
        "CREATE TABLE scan_numbers (id bigint PRIMARY KEY)",
        "INSERT INTO scan_numbers SELECT generate_series(-5, 5)",
    )
    collection.insert_many([{"_id": number} for number in (*range(-5, 3), 3.0, 4.5, float("nan"), "5")])
    layout = Layout(
        "scan_odd", "scan_numbers", "FROM scan_numbers", Column("key", Kind.INTEGER, "_id", "id"), ()
    )
    borders = [None, "-2", "3", None]
    found = [
        [read(reader(settings, layout, KeyRange(*ends)))[KEY].to_list() for ends in pairwise(borders)]
        for reader in (read_relational, read_documents)
    ]
    assert found[0] == [[-5, -4, -3], [-2, -1, 0, 1, 2], [3, 4, 5]]
    assert [[key for key in part if key is not None] for part in found[1]] == [
        [-5, -4, -3],
        [-2, -1, 0, 1, 2],
        [3],
    ]
    assert sum(part.count(None) for part in found[1]) == 3


def test_reading_may_end_early_or_be_cut_off(settings: Settings) -> None:
    run_sql(
        settings,
        "CREATE TABLE scan_many AS SELECT gen_random_uuid() AS id, 'x' AS words FROM generate_series(1, 400000)",
    )
    layout = Layout(
        "",
        "scan_many",
        "FROM scan_many",
        Column("key", Kind.UUID, "_id", "id"),
        (Column("words", Kind.TEXT, "", "words"),),
    )
    frames = read_relational(settings, layout, KeyRange())
    assert len(next(frames))
    frames.close()
    frames = read_relational(settings, layout, KeyRange())
    assert len(next(frames))
    run_sql(
        settings,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'astrobookings-core-scan' AND datname = current_database()",
    )
    with pytest.raises(StoreUnavailableError):
        list(frames)


def test_every_document_is_in_one_range_whatever_its_key_is(
    settings: Settings, collection: Collection[Any]
) -> None:
    keys = [UUID(int=at << 120) for at in range(256)]
    odd = [
        5,
        5.5,
        float("nan"),
        "x",
        {"a": 1},
        True,
        None,
        bson.ObjectId(),
        Binary(b"x" * 16, 3),
        Binary(b"x" * 9, 4),
    ]
    collection.insert_many([{"_id": key} for key in (*keys, *odd)])
    layout = replace(LAYOUT, columns=())
    borders = [None, str(keys[64]), str(keys[128]), None]
    found = [read(read_documents(settings, layout, KeyRange(low, high))) for low, high in pairwise(borders)]
    readable = [sorted(key % 2**128 for key in frame[KEY].drop_nulls()) for frame in found]
    assert readable == [[key.int for key in part] for part in (keys[:64], keys[64:128], keys[128:])]
    assert sum(frame[KEY].null_count() for frame in found) == len(odd)
    whole = read(read_documents(settings, layout, KeyRange()))
    assert sorted(whole[ODD].drop_nulls()) == sorted(
        text for frame in found for text in frame[ODD].drop_nulls()
    )


def test_other_fields_are_left_out_only_where_that_saves_much(
    settings: Settings, collection: Collection[Any]
) -> None:
    layout = replace(LAYOUT, columns=(Column("city", Kind.TEXT, "place.city"),))
    small = {"_id": UUID(int=1), "place": {"city": "x", "other": "y" * 100}, "noise": "y"}
    large = {"_id": UUID(int=2), "place": {"city": "y"}, "noise": "y" * 1_000}
    few, many = (
        b"".join(bson.encode(each, codec_options=CODEC) for each in some)
        for some in ([small], [small, large])
    )
    assert projection_of(few, layout) is None
    assert projection_of(many, layout) == {"_id": 1, "place": 1}
    for number, document in enumerate((small, large), start=1):
        collection.insert_one(document)
        assert read(read_documents(settings, layout, KeyRange()))["0"].to_list() == ["x", "y"][:number]


def test_text_that_is_no_utf8_is_odd_and_keeps_its_key() -> None:
    layout = replace(LAYOUT, columns=(Column("words", Kind.TEXT, "words"),))
    good, bad = (
        bson.encode({"_id": UUID(int=at), "words": "ab"}, codec_options=CODEC).replace(b"ab\0", text)
        for at, text in ((1, b"ab\0"), (2, b"\xff\xfe\0"))
    )
    found = DocumentDecoder(layout).decode(good + bad).sort(KEY)
    assert found.to_dicts() == [
        {KEY: 1, "0": "ab", ODD: None},
        {KEY: 2, "0": None, ODD: "0"},
    ]


def test_broken_text_beside_the_mapped_fields_changes_nothing() -> None:
    layout = replace(LAYOUT, columns=(Column("city", Kind.TEXT, "place.city"),))
    beside = {"_id": UUID(int=1), "place": {"city": "x", "owner": UUID(int=9), "note": "ab"}, "note": "ab"}
    raw = bson.encode(beside, codec_options=CODEC).replace(b"ab\0", b"\xff\xfe\0")
    odd = bson.encode({"_id": UUID(int=2), "place": {"city": 5}}, codec_options=CODEC)
    alone = decode_document(raw)
    assert (alone["_id"], alone["place"]["city"], alone["place"]["owner"]) == (UUID(int=1), "x", UUID(int=9))
    for batch in (raw, raw + odd):
        found = DocumentDecoder(layout).decode(batch).sort(KEY)
        assert found.to_dicts()[0] == {KEY: 1, "0": "x", ODD: None}


def test_a_name_with_a_dot_is_not_the_nested_field() -> None:
    layout = replace(LAYOUT, columns=(Column("city", Kind.TEXT, "place.city"),))
    raw = bson.encode({"_id": UUID(int=1), "place.city": "x"}, codec_options=CODEC)
    assert DocumentDecoder(layout).decode(raw)["0"].to_list() == [None]


def test_a_reference_in_place_of_a_subdocument_is_odd() -> None:
    layout = replace(LAYOUT, columns=(Column("city", Kind.TEXT, "place.city"),))
    raw = bson.encode({"_id": UUID(int=1), "place": bson.DBRef("x", 1)}, codec_options=CODEC)
    assert DocumentDecoder(layout).decode(raw)[ODD].to_list() == ["0"]


@pytest.mark.parametrize("reader", [read_documents, read_relational])
def test_a_store_that_is_away_is_named(reader: Any) -> None:
    away = parse_settings(
        {
            "ASTROCORE_ADMIN_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            "ASTROCORE_CUSTOMER_DATABASE_URL": "mongodb://127.0.0.1:1/none",
            "ASTROCORE_STORE_TIMEOUT_SECONDS": "0.5",
        }
    )
    for take in (list, next):
        with pytest.raises(StoreUnavailableError, match="database does not answer"):
            take(reader(away, LAYOUT, KeyRange()))
