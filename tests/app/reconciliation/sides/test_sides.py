"""Batches of conditional writes on both sides, against real stores."""

from decimal import Decimal
from uuid import uuid4

from bson.decimal128 import Decimal128

from app.audit.entries import Outcome
from app.reconciliation.entities import BOOKINGS
from app.reconciliation.mapping import Side
from app.reconciliation.resolve import Action
from app.reconciliation.sides.ports import Written
from app.reconciliation.sides.records import EntitySides, entity_sides
from app.reconciliation.values import Unreadable
from app.stores.connections import Stores
from tests.app.reconciliation.sides.side_writes import (
    APPLIED,
    BOTH,
    LATER,
    REJECTED,
    SUPERSEDED,
    UNTIL,
    city_of,
    create,
    move,
    outcomes,
    read_each,
    whole,
    write,
)
from tests.app.reconciliation.worlds import (
    booking,
    customer,
    document_of,
    launch,
    put_both,
    put_document,
    put_row,
    row_of,
)


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
    assert "address.city: it is unreadable" in str(results[0]), "the field is named, and no value"
    assert (await city_of(stores, side, odd), await city_of(stores, side, even)) == ("London", "Paris")


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
