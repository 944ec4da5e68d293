"""A scan of two real sides: what it finds, in memory and spilled."""

from functools import partial
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import polars as pl
import pytest
from bson.decimal128 import Decimal128

from app.reconciliation.mapping import Side
from app.reconciliation.scanning import scan as scanning
from app.reconciliation.scanning.canonical import KEY
from app.reconciliation.scanning.compare import Finding, FindingKind
from app.reconciliation.scanning.ranges import plan_ranges
from app.reconciliation.scanning.scan import scan
from app.reconciliation.scanning.shelf import Shelf
from app.reconciliation.scanning.snapshots import KeyRange
from tests.app.reconciliation.scanning.world import FLIGHTS, SEATS, World


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
