"""Ranges of keys: they hold every key once, and there are several only where both stores serve them."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from app.reconciliation.scanning import ranges, snapshots
from app.reconciliation.scanning.canonical import layout_of
from app.reconciliation.scanning.compare import FindingKind
from app.reconciliation.scanning.ranges import _from_index, plan_ranges
from app.reconciliation.scanning.snapshots import KeyRange
from app.reconciliation.values import Kind
from tests.app.reconciliation.scanning.world import SEATS, World


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
        sum(len(frame) for frame in snapshots.read_relational(world.settings, layout, each))
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


@pytest.mark.parametrize("refused", [None, "index_information", "options"])
def test_without_the_right_to_ask_about_indexes_there_is_one_range(
    world: World, monkeypatch: pytest.MonkeyPatch, refused: str | None
) -> None:
    worded = replace(SEATS, key_kind=Kind.TEXT, key_relational="word")
    world.sql(
        "ALTER TABLE scan_seats DROP COLUMN id, ADD COLUMN word text PRIMARY KEY",
        "INSERT INTO scan_seats (word) SELECT n::text FROM generate_series(1, 2000) AS n",
        "ANALYZE scan_seats",
    )
    for name in ("_relational_serves", "_served"):
        monkeypatch.setattr(ranges, name, lambda *_: True)

    def refuse(*_: Any) -> None:
        raise OperationFailure("not authorized on customer", code=13)

    if refused:
        monkeypatch.setattr(Collection, refused, refuse)
    planned = plan_ranges(world.settings, worded, rows_per_range=500)
    assert (planned == [KeyRange()]) is (refused is not None)


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
