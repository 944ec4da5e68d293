"""A scan of two real sides: what it finds, how it spills, stops and fails, and the ranges that it is cut into."""

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from bson.decimal128 import Decimal128
from pymongo import MongoClient

from app.errors import StoreUnavailableError
from app.reconciliation import mapping as registry
from app.reconciliation.mapping import Authority, Derived, Field, Mapping, Missing, Side, Total
from app.reconciliation.scanning import ranges, snapshots
from app.reconciliation.scanning import scan as scanning
from app.reconciliation.scanning.canonical import KEY, layout_of
from app.reconciliation.scanning.compare import Finding, FindingKind
from app.reconciliation.scanning.ranges import _from_index, plan_ranges
from app.reconciliation.scanning.scan import ScanStoppedError, scan
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange
from app.reconciliation.values import Kind
from config.settings import Settings, parse_settings

DOCUMENT, RELATIONAL = Authority(Side.DOCUMENT), Authority(Side.RELATIONAL)
SEATS = Mapping(
    entity="scan_seats",
    collection="scan_seats",
    table="scan_seats",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.CREATE,
    fields=(
        Field("flight", Kind.UUID, DOCUMENT),
        Field("seats", Kind.INTEGER, DOCUMENT),
        Field("status", Kind.TEXT, DOCUMENT),
        Field("price", Kind.DECIMAL, DOCUMENT),
        Field("booked", Kind.TIMESTAMP, DOCUMENT),
    ),
)
FLIGHTS = Mapping(
    entity="scan_flights",
    collection="scan_flights",
    table="scan_flights",
    missing_document=Missing.CREATE,
    missing_relational=Missing.REMOVE,
    fields=(
        Field("total", Kind.INTEGER, RELATIONAL),
        Field(
            "free",
            Kind.INTEGER,
            Derived("total", Total("scan_seats", "flight", "seats", "status", ("Confirmed", "Completed"))),
            relational=None,
        ),
    ),
)
TABLES = """
CREATE TABLE scan_seats (
    id uuid PRIMARY KEY, flight uuid, seats int, status text, price numeric(12,2), booked timestamptz
);
CREATE TABLE scan_flights (id uuid PRIMARY KEY, total int)
"""
BOOKED = datetime(2020, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class World:
    """Both sides of one test."""

    def __init__(self, settings: Settings, client: MongoClient[Any]) -> None:
        self.settings = settings
        self.documents = client.get_default_database()

    def sql(self, *statements: str) -> None:
        url = self.settings.url("admin_database_url")
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def fill(self, number: int) -> list[UUID]:
        """As many records, equal on both sides, with keys spread over the whole space."""
        keys = [UUID(int=(at * 2**128 // number) + at) for at in range(number)]
        self.documents.scan_seats.insert_many(
            {
                "_id": key,
                "flight": UUID(int=at % 3),
                "seats": at % 6,
                "status": "Confirmed",
                "price": Decimal128("12.5"),
                "booked": BOOKED,
            }
            for at, key in enumerate(keys)
        )
        rows = ", ".join(
            f"('{key}', '{UUID(int=at % 3)}', {at % 6}, 'Confirmed', 12.50, '{BOOKED}')"
            for at, key in enumerate(keys)
        )
        self.sql(f"INSERT INTO scan_seats VALUES {rows}", "ANALYZE scan_seats")
        return keys

    def scan(self, mapping: Mapping = SEATS, key_range: KeyRange | None = None) -> dict[str, Finding]:
        found: list[Finding] = []
        result = scan(self.settings, mapping, key_range or KeyRange(), on_findings=found.extend)
        assert result.findings == len(found)
        return {each.key: each for each in found}


@pytest.fixture
def world(settings_of_test: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(registry._registry, "scan_seats", SEATS)
    settings = settings_of_test.model_copy(update={"data_dir": tmp_path})
    with MongoClient[Any](settings.url("customer_database_url"), uuidRepresentation="standard") as client:
        made = World(settings, client)
        made.sql(*TABLES.split(";"))
        yield made


def spoil(world: World, keys: list[UUID]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every kind of discrepancy, some of them beside documents without a readable key; what a scan must find."""
    seats = world.documents.scan_seats
    seats.update_one({"_id": keys[0]}, {"$set": {"seats": 5.5}})
    seats.update_one({"_id": keys[1]}, {"$set": {"price": Decimal128("12.51"), "status": "confirmed"}})
    seats.update_one({"_id": keys[2]}, {"$unset": {"booked": ""}})
    seats.delete_one({"_id": keys[3]})
    seats.insert_many([{"_id": 5}, {"_id": "x"}])
    world.sql(
        f"DELETE FROM scan_seats WHERE id = '{keys[4]}'",
        f"UPDATE scan_seats SET price = 'NaN' WHERE id = '{keys[5]}'",
    )
    # The fraction of a millisecond is no difference, a whole one is.
    world.sql(
        f"UPDATE scan_seats SET booked = booked + interval '500 microseconds' WHERE id = '{keys[6]}'",
        f"UPDATE scan_seats SET booked = booked + interval '1 millisecond' WHERE id = '{keys[7]}'",
    )
    return {
        str(keys[0]): ("fields", ("seats",)),
        str(keys[1]): ("fields", ("status", "price")),
        str(keys[2]): ("fields", ("booked",)),
        str(keys[3]): ("missing_document", ()),
        str(keys[4]): ("missing_relational", ()),
        str(keys[5]): ("fields", ("price",)),
        str(keys[7]): ("fields", ("booked",)),
        "int '5'": ("unreadable_key", ()),
        "str 'x'": ("unreadable_key", ()),
    }


def verdicts(found: dict[str, Finding]) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {key: (str(each.kind), each.fields) for key, each in found.items()}


def test_equal_sides_have_no_findings_and_the_records_are_counted(world: World) -> None:
    world.fill(50)
    progress: list[tuple[int, int]] = []
    result = scan(
        world.settings,
        SEATS,
        KeyRange(),
        on_findings=lambda _: None,
        on_progress=lambda *counts: progress.append(counts),
    )
    assert (result.document_records, result.relational_records, result.findings) == (50, 50, 0)
    assert progress[-1] == (50, 50)


def test_two_empty_sides(world: World) -> None:
    assert world.scan() == {}


def test_one_empty_side(world: World) -> None:
    world.fill(20)
    world.documents.scan_seats.drop()
    assert {each.kind for each in world.scan().values()} == {FindingKind.MISSING_DOCUMENT}


def test_what_differs_is_found_the_same_by_ranges_and_by_the_open_pass(world: World) -> None:
    keys = world.fill(64)
    expected = spoil(world, keys)
    assert verdicts(world.scan()) == expected
    borders = [None, str(keys[2]), str(keys[30]), str(keys[50]), None]
    parts = [world.scan(key_range=KeyRange(low, high)) for low, high in pairwise(borders)]
    assert sum(len(part) for part in parts) == len(expected)
    assert verdicts({key: each for part in parts for key, each in part.items()}) == expected


def test_what_is_spilled_is_compared_just_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = spoil(world, world.fill(600))
    monkeypatch.setattr(scanning, "Shelf", partial(Shelf, memory_bytes=1_000, bucket_bytes=4_000))
    monkeypatch.setattr(scanning, "_expected_rows", lambda *_: 1)
    assert verdicts(world.scan()) == expected
    assert list((world.settings.data_dir / "scans").iterdir()) == []


def test_a_scan_stops_when_asked_and_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(600)
    monkeypatch.setattr(scanning, "Shelf", partial(Shelf, memory_bytes=1_000, bucket_bytes=4_000))
    read = threading.Event()
    with pytest.raises(ScanStoppedError):
        scan(
            world.settings,
            SEATS,
            KeyRange(),
            on_findings=lambda _: None,
            on_progress=lambda *_: read.set(),
            stopped=read.is_set,
        )
    assert list((world.settings.data_dir / "scans").iterdir()) == []
    assert _ends(lambda: not [each for each in threading.enumerate() if each.name.startswith("scan ")])


def _ends(done: Any) -> bool:
    for _ in range(100):
        if done():
            return True
        time.sleep(0.05)
    return False


def test_the_totals_of_other_documents_count(world: World) -> None:
    flights = [UUID(int=at) for at in range(4)]
    world.sql(*(f"INSERT INTO scan_flights VALUES ('{key}', 100)" for key in flights))
    seats = [
        (0, 5, "Confirmed"), (0, 2, "Completed"), (0, 50, "Cancelled"), (1, 3, "Confirmed"), (2, "many", "Confirmed"),
        ("nobody", 3, "Confirmed"),
    ]  # fmt: skip
    world.documents.scan_seats.insert_many(
        {
            "_id": UUID(int=at),
            "flight": UUID(int=flight) if isinstance(flight, int) else flight,
            "seats": count,
            "status": status,
        }
        for at, (flight, count, status) in enumerate(seats)
    )
    free = [93, 96, 100, 100]
    world.documents.scan_flights.insert_many(
        {"_id": key, "total": 100, "free": left} for key, left in zip(flights, free, strict=True)
    )
    # 0 and 3 are right; 1 is one too many; of 2 nobody can tell.
    found = world.scan(FLIGHTS)
    assert verdicts(found) == {str(flights[at]): ("fields", ("free",)) for at in (1, 2)}
    assert plan_ranges(world.settings, FLIGHTS, rows_per_range=1) == [KeyRange()]


def test_a_derived_field_without_its_base_is_empty(world: World) -> None:
    world.sql(f"INSERT INTO scan_flights VALUES ('{UUID(int=1)}', NULL), ('{UUID(int=2)}', NULL)")
    world.documents.scan_flights.insert_many([{"_id": UUID(int=1)}, {"_id": UUID(int=2), "free": 0}])
    assert verdicts(world.scan(FLIGHTS)) == {str(UUID(int=2)): ("fields", ("free",))}


@pytest.mark.parametrize("name", ["admin_database_url", "customer_database_url"])
def test_a_store_that_is_away_ends_the_scan(world: World, name: str) -> None:
    away = {
        "admin_database_url": "postgresql://x@127.0.0.1:1/x",
        "customer_database_url": "mongodb://127.0.0.1:1/x",
    }
    values = {each: world.settings.url(each) for each in away} | {name: away[name]}
    settings = parse_settings({f"ASTROCORE_{each.upper()}": url for each, url in values.items()}).model_copy(
        update={"store_timeout_seconds": 0.5, "data_dir": world.settings.data_dir}
    )
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        scan(settings, SEATS, KeyRange(), on_findings=lambda _: None)


def test_a_store_that_falls_silent_ends_the_scan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(10)
    over = threading.Event()

    def silent(*_: Any) -> Iterator[pl.DataFrame]:
        over.wait(20)
        yield from ()

    monkeypatch.setattr(scanning, "read_relational", silent)
    monkeypatch.setattr(scanning, "patience_seconds", lambda _settings: 0.5)
    with pytest.raises(StoreUnavailableError, match="relational"):
        world.scan()
    over.set()


def test_a_store_that_answers_is_waited_for_however_long_its_first_batch_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(10)
    world.settings = world.settings.model_copy(update={"store_timeout_seconds": 0.5})
    read = scanning.read_relational

    def slow(*arguments: Any) -> Iterator[pl.DataFrame]:
        time.sleep(2)
        yield from read(*arguments)

    monkeypatch.setattr(scanning, "read_relational", slow)
    monkeypatch.setattr(scanning, "patience_seconds", lambda _settings: 1.5)
    assert world.scan() == {}


def test_a_scan_keeps_to_its_pace_and_still_stops_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(40)
    monkeypatch.setattr(snapshots, "DOCUMENTS_PER_BATCH", 10)
    counts: list[int] = []
    stopped = threading.Event()
    timer = threading.Timer(1.5, stopped.set)
    timer.start()
    with pytest.raises(ScanStoppedError):
        scan(
            world.settings,
            SEATS,
            KeyRange(),
            on_findings=lambda _: None,
            on_progress=lambda documents, _rows: counts.append(documents),
            stopped=stopped.is_set,
            pace=lambda: 10.0,
        )
    # One batch at once, one after a second; the fourth not before three.
    assert max(counts) < 40
    timer.join()


def test_a_fault_in_reading_is_not_swallowed(world: World) -> None:
    world.sql("DROP TABLE scan_seats", "CREATE TABLE scan_seats (id uuid PRIMARY KEY)")
    with pytest.raises(dbapi.ProgrammingError):
        world.scan()


def test_a_folder_that_a_killed_scan_left_is_removed(world: World) -> None:
    left = world.settings.data_dir / "scans" / "scan-left"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    world.scan()
    assert not left.exists()


def test_ranges_hold_every_key_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.fill(20)
    world.sql(
        "INSERT INTO scan_seats (id) SELECT md5(n::text)::uuid FROM generate_series(1, 20000) AS n",
        "ANALYZE scan_seats",
    )
    monkeypatch.setattr(ranges, "_documents_serve", lambda *_: True)
    planned = plan_ranges(world.settings, SEATS, rows_per_range=1_000)
    assert len(planned) > 10
    assert planned[0].low is None
    assert planned[-1].high is None
    assert all(left.high == right.low for left, right in pairwise(planned))
    layout = layout_of(SEATS, ())
    sizes = [
        sum(len(frame) for frame in scanning.read_relational(world.settings, layout, each))
        for each in planned
    ]
    assert sum(sizes) == 20_020
    assert max(sizes) < 3_000


def test_there_is_one_range_where_a_store_would_read_everything_for_each(world: World) -> None:
    world.fill(2_000)
    assert plan_ranges(world.settings, SEATS) == [KeyRange()]
    # This document store reads its whole collection for a range of `_id`, and says so.
    for rows in (100, 1_500):
        assert plan_ranges(world.settings, SEATS, rows_per_range=rows) == [KeyRange()]


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({"unique": True}, True),
        ({"unique": True, "sparse": True}, False),
        ({"partialFilterExpression": {"number": {"$gt": 0}}}, False),
    ],
)
def test_an_index_that_leaves_documents_out_serves_no_ranges(
    world: World, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], whole: bool
) -> None:
    numbered = replace(SEATS, key_kind=Kind.INTEGER, key_document="number", key_relational="number")
    world.sql(
        "ALTER TABLE scan_seats DROP COLUMN id, ADD COLUMN number int PRIMARY KEY",
        "INSERT INTO scan_seats (number) SELECT generate_series(1, 2000)",
        "ANALYZE scan_seats",
    )
    world.documents.scan_seats.create_index("number", **options)
    world.documents.scan_seats.insert_many([*({"number": at} for at in range(1, 2001)), {"status": "no key"}])
    # MongoDB says that it reads such an index, and does.
    monkeypatch.setattr(ranges, "_served", lambda *_: True)
    planned = plan_ranges(world.settings, numbered, rows_per_range=500)
    assert (len(planned) > 1) is whole
    if not whole:
        assert planned == [KeyRange()]
        assert FindingKind.UNREADABLE_KEY in {each.kind for each in world.scan(numbered).values()}


@pytest.mark.parametrize(
    ("plan", "served"),
    [
        ({"stage": "FETCH", "inputStage": {"stage": "IXSCAN"}}, True),
        ({"stage": "CLUSTERED_IXSCAN"}, True),
        ({"stage": "EXPRESS_IXSCAN"}, True),
        ({"stage": "IDHACK"}, True),
        ({"isCached": False, "queryPlan": {"stage": "FETCH", "inputStage": {"stage": "IXSCAN"}}}, True),
        ({"stage": "SHARD_MERGE", "shards": [{"winningPlan": {"stage": "IXSCAN"}}]}, True),
        ({"stage": "SHARD_MERGE", "shards": [{"winningPlan": {"stage": "IXSCAN"}}, {"winningPlan": {"stage": "COLLSCAN"}}]}, False),
        ({"stage": "COLLSCAN"}, False),
        ({"stage": "EOF"}, False),
    ],
)  # fmt: skip
def test_a_plan_tells_whether_an_index_serves(plan: dict[str, Any], served: bool) -> None:
    assert _from_index({"queryPlanner": {"winningPlan": plan}}) is served


def test_a_shelf_keeps_the_rows_of_a_key_together(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {KEY: range(10_000), "value": range(10_000)}, schema={KEY: pl.Int64, "value": pl.Int64}
    )
    empty = dict.fromkeys(Side, frame.clear())
    with Shelf(tmp_path, 1, memory_bytes=20_000, bucket_bytes=10_000) as shelf:
        for part in frame.iter_slices(500):
            shelf.add(Side.DOCUMENT, part)
        for part in frame.reverse().iter_slices(700):
            shelf.add(Side.RELATIONAL, part)
        pairs = list(shelf.pairs(empty))
    assert sum(len(left) for left, _ in pairs) == 10_000
    assert all(set(left[KEY]) == set(right[KEY]) for left, right in pairs)
    # The estimate was 1 row: the few buckets that it gave were split again.
    assert max(len(left) for left, _ in pairs) < 3_000
    assert list(tmp_path.iterdir()) == []


def test_exact_sums_past_64_bits(world: World) -> None:
    world.sql(f"INSERT INTO scan_flights VALUES ('{UUID(int=1)}', 0)")
    world.documents.scan_seats.insert_many(
        {"_id": UUID(int=at), "flight": UUID(int=1), "seats": 2**63 - 1, "status": "Confirmed"}
        for at in range(2)
    )
    # The sum is 2 below 2**64: in 64 bits that would be -2.
    world.documents.scan_flights.insert_one({"_id": UUID(int=1), "total": 0, "free": 2})
    assert verdicts(world.scan(FLIGHTS)) == {str(UUID(int=1)): ("fields", ("free",))}
