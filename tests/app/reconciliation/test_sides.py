"""Batches of conditional writes on both sides, against real stores."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from bson.decimal128 import Decimal128
from pymongo.errors import AutoReconnect, ClientBulkWriteException

from app.audit.entries import Outcome
from app.clock import now
from app.reconciliation.entities import BOOKINGS, CUSTOMERS
from app.reconciliation.mapping import Side
from app.reconciliation.records import EntitySides, entity_sides
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides import ABSENT, Reading, Write, Written
from app.reconciliation.values import Record, Unreadable
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import (
    LONG_AGO,
    booking,
    customer,
    document_of,
    launch,
    put_both,
    put_document,
    put_row,
    row_of,
)

APPLIED, SUPERSEDED, REJECTED = Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.REJECTED
BOTH = pytest.mark.parametrize("side", list(Side))
LATER = LONG_AGO + timedelta(days=1)
UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def customers(stores: Stores) -> EntitySides:
    return entity_sides(stores, CUSTOMERS)


def write(
    side: Side, record: dict[str, Any], action: Action, reading: Reading = ABSENT, **values: Any
) -> Write:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return Write(str(record["id"]), Plan(side, action, named, {}), reading, LATER)


def whole(record: dict[str, Any]) -> Record:
    """Every field of a customer, as a plan that creates it has them."""
    return {each.name: record[each.name.removeprefix("address.")] for each in CUSTOMERS.fields}


def create(side: Side, record: dict[str, Any]) -> Write:
    return Write(str(record["id"]), Plan(side, Action.CREATE, whole(record), {}), ABSENT, LATER)


async def read_each(sides: EntitySides, side: Side, records: Sequence[dict[str, Any]]) -> list[Reading]:
    found = await sides.side(side).read([str(each["id"]) for each in records])
    return [found[str(each["id"])] for each in records]


async def city_of(stores: Stores, side: Side, record: dict[str, Any]) -> str | None:
    if side is Side.RELATIONAL:
        row = await row_of(stores, "customers", record)
        return row and row["city"]
    document = await document_of(stores, "customers", record)
    return document and document["address"]["city"]


async def move(stores: Stores, side: Side, record: dict[str, Any], city: str) -> None:
    """What the owner of a side does: a city changes, without its `updated_at`."""
    if side is Side.RELATIONAL:
        await stores.admin.execute("UPDATE customers SET city = $2 WHERE id = $1", record["id"], city)
    else:
        await stores.customer["customers"].update_one({"_id": record["id"]}, {"$set": {"address.city": city}})


def outcomes(results: Sequence[Written | None]) -> list[Outcome | None]:
    return [each and each.outcome for each in results]


@BOTH
async def test_creations_updates_and_removals_go_in_one_batch(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    moving, renamed, leaving, coming = (customer() for _ in range(4))
    for each in (moving, renamed, leaving):
        await put_both(stores, "customers", each)
    readings = await read_each(customers, side, (moving, renamed, leaving))

    results = await customers.side(side).write(
        [
            write(side, moving, Action.UPDATE, readings[0], address__city="Paris"),
            create(side, coming),
            write(side, renamed, Action.UPDATE, readings[1], first_name="Augusta", contact_number=None),
            write(side, leaving, Action.REMOVE, readings[2]),
        ],
        until=UNTIL,
    )

    assert results == [Written(APPLIED)] * 4
    found = await customers.side(side).read([str(each["id"]) for each in (moving, renamed, leaving, coming)])
    assert found[str(moving["id"])].record == whole(moving | {"city": "Paris"})
    assert found[str(moving["id"])].updated_at == LATER
    assert found[str(renamed["id"])].record == whole(
        renamed | {"first_name": "Augusta", "contact_number": None}
    )
    assert str(leaving["id"]) not in found
    assert found[str(coming["id"])].record == whole(coming)
    assert await customers.side(side).existing(found) == set(found)


@BOTH
async def test_what_changed_after_it_was_read_is_superseded_and_its_neighbours_are_not(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    still, edited, gone, leaving, there = (customer() for _ in range(5))
    for each in (still, edited, gone, leaving, there):
        await put_both(stores, "customers", each)
    readings = await read_each(customers, side, (still, edited, gone, leaving))
    await move(stores, side, edited, "Rome")
    await move(stores, side, leaving, "Rome")
    await stores.admin.execute("DELETE FROM customers WHERE id = $1", gone["id"])
    await stores.customer["customers"].delete_one({"_id": gone["id"]})

    results = await customers.side(side).write(
        [
            write(side, edited, Action.UPDATE, readings[1], address__city="Paris"),
            write(side, gone, Action.UPDATE, readings[2], address__city="Paris"),
            write(side, still, Action.UPDATE, readings[0], address__city="Paris"),
            write(side, leaving, Action.REMOVE, readings[3]),
            create(side, there),
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [SUPERSEDED, SUPERSEDED, APPLIED, SUPERSEDED, SUPERSEDED]
    assert await city_of(stores, side, edited) == "Rome"
    assert await city_of(stores, side, gone) is None
    assert await city_of(stores, side, still) == "Paris"
    assert await city_of(stores, side, leaving) == "Rome"


@BOTH
async def test_one_of_five_hundred_that_breaks_a_constraint_is_named_and_alone(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    taken = customer()
    await put_both(stores, "customers", taken)
    coming = [customer() for _ in range(500)]
    coming[123]["email"] = taken["email"]

    results = await customers.side(side).write([create(side, each) for each in coming], until=UNTIL)

    assert [at for at, each in enumerate(results) if each != Written(APPLIED)] == [123]
    assert outcomes([results[123]]) == [REJECTED]
    assert "email" in str(results[123])
    keys = [str(each["id"]) for each in coming]
    assert await customers.side(side).existing(keys) == set(keys) - {keys[123]}


@BOTH
async def test_five_hundred_are_updated_each_by_what_was_read_of_it(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    records = [customer(first_name=f"Ada {at}") for at in range(500)]
    await customers.side(side).write([create(side, each) for each in records], until=UNTIL)
    readings = await read_each(customers, side, records)
    for at in (7, 400):
        await move(stores, side, records[at], "Rome")

    results = await customers.side(side).write(
        [
            write(side, each, Action.UPDATE, reading, last_name=f"King {at}")
            for at, (each, reading) in enumerate(zip(records, readings, strict=True))
        ],
        until=UNTIL,
    )

    assert [at for at, each in enumerate(results) if each != Written(APPLIED)] == [7, 400]
    assert {results[at] for at in (7, 400)} == {Written(SUPERSEDED)}
    names = [each.record and each.record["last_name"] for each in await read_each(customers, side, records)]
    assert names == ["Lovelace" if at in {7, 400} else f"King {at}" for at in range(500)]


@BOTH
async def test_a_value_that_cannot_be_sent_is_refused_alone(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    odd, even = customer(), customer()
    for each in (odd, even):
        await put_both(stores, "customers", each)
    readings = await read_each(customers, side, (odd, even))

    results = await customers.side(side).write(
        [
            write(side, odd, Action.UPDATE, readings[0], address__city=Unreadable("float 5.5")),
            write(side, even, Action.UPDATE, readings[1], address__city="Paris"),
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [REJECTED, APPLIED]
    assert (await city_of(stores, side, odd), await city_of(stores, side, even)) == ("London", "Paris")


@BOTH
async def test_a_write_that_comes_too_late_by_the_clock_of_the_store_is_superseded(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    moving, leaving = customer(), customer()
    for each in (moving, leaving):
        await put_both(stores, "customers", each)
    readings = await read_each(customers, side, (moving, leaving))

    results = await customers.side(side).write(
        [
            write(side, moving, Action.UPDATE, readings[0], address__city="Paris"),
            write(side, leaving, Action.REMOVE, readings[1]),
        ],
        until=now() - timedelta(milliseconds=5),
    )

    assert outcomes(results) == [SUPERSEDED, SUPERSEDED]
    assert (await city_of(stores, side, moving), await city_of(stores, side, leaving)) == ("London", "London")


async def test_a_row_is_not_created_too_late(customers: EntitySides) -> None:
    late = [create(Side.RELATIONAL, customer())]
    assert outcomes(await customers.relational.write(late, until=LONG_AGO)) == [SUPERSEDED]


async def test_nothing_to_write_is_no_fault(customers: EntitySides) -> None:
    assert await customers.document.write([], until=UNTIL) == []
    assert await customers.relational.write([], until=UNTIL) == []


async def test_the_document_side_refuses_what_no_document_can_hold(
    stores: Stores, customers: EntitySides
) -> None:
    huge, even = customer(), customer()
    for each in (huge, even):
        await put_document(stores, "customers", each)
    readings = await read_each(customers, Side.DOCUMENT, (huge, even))

    results = await customers.document.write(
        [
            write(Side.DOCUMENT, huge, Action.UPDATE, readings[0], first_name="x" * 17_000_000),
            write(Side.DOCUMENT, even, Action.UPDATE, readings[1], first_name="Augusta"),
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [REJECTED, APPLIED]


async def test_decimals_beyond_a_column_or_a_bson_value_are_refused_alone_and_others_kept_exactly(
    stores: Stores,
) -> None:
    trip, ada = launch(), customer()
    await put_both(stores, "customers", ada)
    await put_both(stores, "launches", trip)
    seats = [booking(trip, ada) for _ in range(5)]
    for each in seats:
        await put_both(stores, "bookings", each)
    sides = entity_sides(stores, BOOKINGS)
    prices = ["9999999999.99", "0.001", "1E+12", "0.10", "1E-6200"]

    async def set_prices(side: Side) -> list[Outcome | None]:
        readings = await read_each(sides, side, seats)
        return outcomes(
            await sides.side(side).write(
                [
                    write(side, each, Action.UPDATE, reading, total_price=Decimal(price))
                    for each, reading, price in zip(seats, readings, prices, strict=True)
                ],
                until=UNTIL,
            )
        )

    assert await set_prices(Side.RELATIONAL) == [APPLIED, REJECTED, REJECTED, APPLIED, REJECTED]
    kept = [(await row_of(stores, "bookings", each) or {})["total_price"] for each in seats]
    assert [str(each) for each in kept] == ["9999999999.99", "240.00", "240.00", "0.10", "240.00"]

    assert await set_prices(Side.DOCUMENT) == [APPLIED, APPLIED, APPLIED, APPLIED, REJECTED]
    documents = [(await document_of(stores, "bookings", each) or {})["total_price"] for each in seats]
    assert documents == [Decimal128(each) for each in [*prices[:4], "240.00"]]


async def test_checks_and_foreign_keys_of_the_relational_side_are_named(stores: Stores) -> None:
    trip, ada = launch(), customer()
    await put_both(stores, "customers", ada)
    await put_both(stores, "launches", trip)
    good, many, stray = (booking(trip, ada) for _ in range(3))
    for each in (good, many, stray):
        await put_row(stores, "bookings", each)
    sides = entity_sides(stores, BOOKINGS)
    readings = await read_each(sides, Side.RELATIONAL, (good, many, stray))

    results = await sides.relational.write(
        [
            write(
                Side.RELATIONAL, many, Action.UPDATE, readings[1], number_of_seats=9, customer_id=ada["id"]
            ),
            write(Side.RELATIONAL, stray, Action.UPDATE, readings[2], number_of_seats=3, customer_id=uuid4()),
            write(
                Side.RELATIONAL, good, Action.UPDATE, readings[0], number_of_seats=3, customer_id=ada["id"]
            ),
        ],
        until=UNTIL,
    )

    assert outcomes(results) == [REJECTED, REJECTED, APPLIED]
    assert "seats_in_range" in str(results[0])
    assert "customer" in str(results[1])
    assert [
        (await row_of(stores, "bookings", each) or {})["number_of_seats"] for each in (good, many, stray)
    ] == [3, 2, 2]


@BOTH
async def test_of_two_that_write_the_same_records_each_is_written_by_one(
    stores: Stores, customers: EntitySides, side: Side
) -> None:
    for action in Action:
        await race(stores, customers, side, action)


async def race(stores: Stores, customers: EntitySides, side: Side, action: Action) -> None:
    records = [customer() for _ in range(60)]
    readings = [ABSENT] * 60
    if action is not Action.CREATE:
        await customers.side(side).write([create(side, each) for each in records], until=UNTIL)
        readings = await read_each(customers, side, records)

    def batch(city: str) -> list[Write]:
        values = {Action.CREATE: whole(customer(city=city)), Action.UPDATE: {"address.city": city}}
        return [
            Write(str(each["id"]), Plan(side, action, {**values.get(action, {})}, {}), reading, LATER)
            for each, reading in zip(records, readings, strict=True)
        ]

    one, other = batch("Paris"), batch("Rome")
    if action is Action.CREATE:
        for batch_of in (one, other):
            for each in batch_of:
                each.plan.values["email"] = f"{each.key}@example.com"
    ours, theirs = await asyncio.gather(
        customers.side(side).write(one, until=UNTIL), customers.side(side).write(other[::-1], until=UNTIL)
    )

    for record, mine, yours in zip(records, ours, theirs[::-1], strict=True):
        assert sorted(filter(None, outcomes([mine, yours]))) == [APPLIED, SUPERSEDED]
        written = None if action is Action.REMOVE else "Paris" if mine == Written(APPLIED) else "Rome"
        assert await city_of(stores, side, record) == written


async def test_a_row_that_its_owner_is_changing_holds_up_nobody(
    stores: Stores, customers: EntitySides
) -> None:
    busy, leaving, still = (customer() for _ in range(3))
    for each in (busy, leaving, still):
        await put_row(stores, "customers", each)
    readings = await read_each(customers, Side.RELATIONAL, (busy, leaving, still))
    async with stores.admin.acquire() as owner, owner.transaction():
        await owner.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", busy["id"])
        await owner.execute("SELECT FROM customers WHERE id = $1 FOR KEY SHARE", leaving["id"])
        async with asyncio.timeout(2):
            results = await customers.relational.write(
                [
                    write(Side.RELATIONAL, busy, Action.UPDATE, readings[0], address__city="Paris"),
                    write(Side.RELATIONAL, leaving, Action.REMOVE, readings[1]),
                    write(Side.RELATIONAL, still, Action.UPDATE, readings[2], address__city="Paris"),
                ],
                until=UNTIL,
            )

    assert outcomes(results) == [SUPERSEDED, SUPERSEDED, APPLIED]
    assert await city_of(stores, Side.RELATIONAL, busy) == "Rome"
    assert await city_of(stores, Side.RELATIONAL, leaving) == "London"


async def test_when_the_connection_is_lost_nothing_is_known(stores: Stores, customers: EntitySides) -> None:
    ada, bob = customer(), customer()
    await put_row(stores, "customers", ada)
    (reading,) = await read_each(customers, Side.RELATIONAL, [ada])
    async with stores.admin.acquire() as owner, owner.transaction():
        await owner.execute("LOCK TABLE customers IN EXCLUSIVE MODE")
        writing = asyncio.create_task(
            customers.relational.write(
                [
                    write(Side.RELATIONAL, ada, Action.UPDATE, reading, address__city="Paris"),
                    create(Side.RELATIONAL, bob),
                ],
                until=UNTIL,
            )
        )
        cut = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
        while not await owner.fetch(cut):  # noqa: ASYNC110  (another process is waited for)
            await asyncio.sleep(0.01)
        assert await writing == [None, None]
    assert await city_of(stores, Side.RELATIONAL, ada) == "London"


class Client:
    """A client whose bulk write ends as a test wants it, after it was carried out or instead."""

    def __init__(self, stores: Stores, end: Any) -> None:
        self._bulk_write = stores.customer.client.bulk_write
        self._end = end

    async def bulk_write(self, models: Sequence[Any], **options: Any) -> None:
        result = await self._bulk_write(models, **options)
        raise self._end(result) if callable(self._end) else self._end


def failed(result: Any, *, known: int, **details: Any) -> ClientBulkWriteException:
    """The exception of a bulk write of which the first `known` results arrived."""
    found = {
        name: {at: each for at, each in getattr(result, of).items() if at < known}
        for name, of in (
            ("insertResults", "insert_results"),
            ("updateResults", "update_results"),
            ("deleteResults", "delete_results"),
        )
    }
    plain = {"error": None, "writeErrors": [], "writeConcernErrors": [], "anySuccessful": known > 0}
    return ClientBulkWriteException(plain | found | details, verbose=True)


ENDS = {
    "no answer": (AutoReconnect("gone"), [None, None, None]),
    "no results": (lambda result: failed(result, known=0, error=AutoReconnect("gone")), [None, None, None]),
    "some results": (
        lambda result: failed(result, known=2, error=AutoReconnect("gone")),
        [SUPERSEDED, APPLIED, None],
    ),
    "a primary that stepped down": (
        lambda result: failed(result, known=2, writeErrors=[{"idx": 2, "code": 11602, "op": {}}]),
        [SUPERSEDED, APPLIED, None],
    ),
    "no majority": (
        lambda result: failed(result, known=3, writeConcernErrors=[{"code": 64}]),
        [SUPERSEDED, None, None],
    ),
}


async def test_only_what_the_document_side_told_for_good_is_known(
    stores: Stores, customers: EntitySides, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, (end, expected) in ENDS.items():
        edited, moving, coming = (customer() for _ in range(3))
        for each in (edited, moving):
            await put_document(stores, "customers", each)
        readings = await read_each(customers, Side.DOCUMENT, (edited, moving))
        await move(stores, Side.DOCUMENT, edited, "Rome")

        with monkeypatch.context() as patched:
            patched.setattr(stores.customer.client, "bulk_write", Client(stores, end).bulk_write)
            results = await customers.document.write(
                [
                    write(Side.DOCUMENT, edited, Action.UPDATE, readings[0], address__city="Paris"),
                    write(Side.DOCUMENT, moving, Action.UPDATE, readings[1], address__city="Paris"),
                    create(Side.DOCUMENT, coming),
                ],
                until=UNTIL,
            )

        assert outcomes(results) == expected, name
