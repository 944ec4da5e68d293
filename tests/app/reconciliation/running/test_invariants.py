"""Invariants: what is broken on one side by itself is reported once, and never repaired."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from app.demo.drift import make_drift
from app.demo.load import load
from app.demo.sizes import Sizes
from app.demo.world import make_world, midnight
from app.errors import InvalidInputError
from app.reconciliation.invariants import AtMost, Invariant, Product, Refers
from app.reconciliation.mapping import Total
from app.reconciliation.rules import declare_invariant, invariants_of
from app.stores.connections import Stores
from tests.app.reconciliation.running.invariant_steps import (
    LATER,
    PUT,
    breaches_of,
    offered,
    run_check,
    sale,
    set_field,
)
from tests.app.reconciliation.worlds import (
    put_both,
    put_document,
    put_row,
)


@pytest.mark.parametrize("side", ["document", "relational"])
async def test_more_seats_sold_than_a_launch_has_are_reported_with_the_numbers(
    stores: Stores, side: str
) -> None:
    moon, ada = await offered(stores, total_seats=5)
    for status in ("Confirmed", "Completed", "Cancelled"):
        sold = sale(moon, ada, number_of_seats=3, total_price=Decimal("360.00"), status=status)
        await PUT[side](stores, "bookings", sold)

    run = await run_check(stores, "launches")

    (breach,) = await breaches_of(stores, "launches")
    assert (breach.key, breach.invariant, breach.status) == (str(moon["id"]), "seats_sold", "in_review")
    assert breach.reason == f"6 seats sold of 5 on the {side} side"
    values = {each.name: getattr(each, side) for each in breach.fields}
    assert values == {"total_seats": 5, "seats sold": 6}
    assert (run.status, run.findings, run.outcomes) == ("done", 1, {"in_review": 1})
    assert (run.document_records, run.relational_records) == (1, 1)


async def test_a_launch_that_is_sold_out_breaks_nothing(stores: Stores) -> None:
    moon, ada = await offered(stores, total_seats=2)
    await put_both(stores, "bookings", sale(moon, ada))

    run = await run_check(stores, "launches")

    assert (run.status, run.findings, run.warnings) == ("done", 0, [])
    assert await breaches_of(stores, "launches") == []


@pytest.mark.parametrize(("field", "entity"), [("customer_id", "customers"), ("launch_id", "launches")])
async def test_a_booking_of_nobody_or_of_nothing_is_reported(stores: Stores, field: str, entity: str) -> None:
    moon, ada = await offered(stores)
    lost = uuid4()
    sold, fine = sale(moon, ada, **{field: lost}), sale(moon, ada)
    await put_document(stores, "bookings", sold)
    await put_both(stores, "bookings", fine)

    await run_check(stores, "bookings")

    (breach,) = await breaches_of(stores, "bookings")
    assert breach.key == str(sold["id"])
    assert breach.invariant == f"{field.removesuffix('_id')}_exists"
    assert breach.reason == f"{entity} {lost} is not on the document side"


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (None, "customer_id is empty on the document side"),
        ("ada", "customer_id cannot be read as a key of customers on the document side"),
    ],
)
async def test_a_reference_that_is_none_is_reported(stores: Stores, stored: object, reason: str) -> None:
    moon, ada = await offered(stores)
    sold = sale(moon, ada)
    await put_document(stores, "bookings", sold)
    await set_field(stores, "document", "bookings", sold, customer_id=stored)

    await run_check(stores, "bookings")

    assert [each.reason for each in await breaches_of(stores, "bookings")] == [reason]


async def test_the_relational_side_is_asked_too_where_no_foreign_key_guards_it(stores: Stores) -> None:
    moon, ada = await offered(stores)
    for name in ("customer_id", "launch_id"):
        await stores.admin.execute(f"ALTER TABLE bookings DROP CONSTRAINT bookings_{name}_fkey")
    lost = sale(moon, ada, customer_id=uuid4(), launch_id=uuid4())
    await put_row(stores, "bookings", lost)

    await run_check(stores, "bookings")

    found = {each.invariant: each.reason for each in await breaches_of(stores, "bookings")}
    assert found == {
        "customer_exists": f"customers {lost['customer_id']} is not on the relational side",
        "launch_exists": f"launches {lost['launch_id']} is not on the relational side",
    }


@pytest.mark.parametrize("side", ["document", "relational"])
async def test_a_total_that_is_not_the_price_times_the_seats_is_reported(stores: Stores, side: str) -> None:
    moon, ada = await offered(stores)
    right, wrong = sale(moon, ada), sale(moon, ada, total_price=Decimal("250.00"))
    await put_both(stores, "bookings", right)
    await PUT[side](stores, "bookings", wrong)

    run = await run_check(stores, "bookings")

    (breach,) = await breaches_of(stores, "bookings")
    assert (breach.key, breach.invariant) == (str(wrong["id"]), "total_price")
    assert breach.reason == f"total_price is 250.00, not 240.00 (2 x 120.00), on the {side} side"
    assert run.warnings == []


async def test_one_diff_tells_of_both_sides(stores: Stores) -> None:
    moon, ada = await offered(stores)
    await put_both(stores, "bookings", sale(moon, ada, total_price=Decimal("250.00")))

    await run_check(stores, "bookings")

    (breach,) = await breaches_of(stores, "bookings")
    assert breach.reason is not None
    assert "on the document side; " in breach.reason
    assert breach.reason.endswith("on the relational side")


async def test_a_record_may_break_several_invariants_beside_what_the_sides_disagree_about(
    stores: Stores,
) -> None:
    moon, ada = await offered(stores)
    await put_document(
        stores, "bookings", sale(moon, ada, customer_id=uuid4(), total_price=Decimal("250.00"))
    )

    await run_check(stores, "bookings")

    found = await breaches_of(stores, "bookings")
    assert {each.invariant for each in found} == {"customer_exists", "total_price"}


@pytest.mark.parametrize("changed", [LATER, LATER + timedelta(days=1)])
async def test_what_the_price_was_before_a_launch_changed_is_not_guessed_and_the_run_says_so(
    stores: Stores, changed: datetime
) -> None:
    moon, ada = await offered(stores, updated_at=changed)
    await put_document(stores, "bookings", sale(moon, ada, total_price=Decimal("250.00")))

    run = await run_check(stores, "bookings")

    assert await breaches_of(stores, "bookings") == []
    assert len(run.warnings) == 1
    assert run.warnings[0].startswith("1 bookings on the document side were not judged by total_price: ")


async def test_totals_are_compared_exactly_beyond_what_a_column_holds(stores: Stores) -> None:
    moon, ada = await offered(stores)
    price = Decimal("12345678901234567.0000001")
    right, wrong = (sale(moon, ada, total_price=2 * price + by) for by in (0, Decimal("1E-7")))
    for each in (right, wrong):
        await put_document(stores, "bookings", each)
    await stores.customer["launches"].delete_one({"_id": moon["id"]})
    await put_document(stores, "launches", moon | {"price": price})

    await run_check(stores, "bookings")

    assert [each.key for each in await breaches_of(stores, "bookings")] == [str(wrong["id"])]


async def test_nothing_is_found_in_a_world_that_was_seeded_without_drift(stores: Stores) -> None:
    world = make_world(Sizes.of(500), random_seed=4, base=midnight(datetime.now(UTC)))
    await load(stores, world, make_drift(world, share=0, random_seed=4), lambda _stage, _count: None)

    for entity in ("launches", "bookings"):
        run = await run_check(stores, entity)
        assert (run.status, run.findings) == ("done", 0)
        assert await breaches_of(stores, entity) == []


async def test_with_drift_every_breach_is_of_what_drifted_or_of_its_launch_or_its_bookings(
    stores: Stores,
) -> None:
    world = make_world(Sizes.of(500), random_seed=4, base=midnight(datetime.now(UTC)))
    drift = make_drift(world, share=0.02, random_seed=4)
    await load(stores, world, drift, lambda _stage, _count: None)

    for entity in ("launches", "bookings"):
        await run_check(stores, entity)

    drifted = {UUID(line.id) for line in drift.truth}
    touched = drifted | {
        each
        for booked in world.bookings
        if drifted & {booked.id, booked.launch_id}
        for each in (booked.id, booked.launch_id)
    }
    found = [each for entity in ("launches", "bookings") for each in await breaches_of(stores, entity)]
    assert found, "drift breaks references at least"
    assert {UUID(each.key) for each in found} <= touched


def faulty(form: AtMost | Refers | Product) -> Invariant:
    return Invariant(name="faulty", entity="bookings", rule="cannot be", form=form)


@pytest.mark.parametrize(
    ("form", "fault"),
    [
        (
            AtMost("total_price", Total("bookings", "launch_id", "number_of_seats", "status", ()), "seats"),
            "total_price",
        ),
        (Refers("number_of_seats"), "number_of_seats"),
        (
            Product("total_price", "number_of_seats", "launch_id", "destination", ("booking_date",)),
            "destination",
        ),
        (Product("total_price", "number_of_seats", "status", "price", ("booking_date",)), "status"),
        (Product("total_price", "number_of_seats", "launch_id", "price", ("status",)), "status"),
    ],
)
def test_an_invariant_that_cannot_be_checked_is_refused_when_it_is_declared(
    form: AtMost | Refers | Product, fault: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        declare_invariant(faulty(form))

    assert [each.where for each in refused.value.faults] == [fault]
    assert "faulty" not in {each.name for each in invariants_of("bookings")}


def test_two_invariants_of_an_entity_cannot_have_one_name() -> None:
    with pytest.raises(InvalidInputError):
        declare_invariant(Invariant("launch_exists", "bookings", "another rule", Refers("launch_id")))
