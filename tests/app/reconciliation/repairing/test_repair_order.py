"""References and derived fields: what waits for what, and what follows from what; the circuit breaker."""

from app.reconciliation.ledger import jobs
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.repairing.repair_steps import look_again, look_at, only_diff, outcomes
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


async def test_a_booking_waits_for_its_customer_and_then_follows_at_once(repairing: Stores) -> None:
    trip, ada = launch(total_seats=20, available_seats=18), customer()
    await put_both(repairing, "launches", trip)
    await put_document(repairing, "customers", ada)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)

    await look_at(repairing, "bookings", seat)  # nominates the customer, whose arrival hastens the booking

    assert await row_of(repairing, "customers", ada) is not None
    assert await row_of(repairing, "bookings", seat) == seat


async def test_a_booking_whose_customer_is_nowhere_goes_to_review(repairing: Stores) -> None:
    trip = launch(available_seats=18)
    await put_both(repairing, "launches", trip)
    seat = booking(trip, customer())
    await put_document(repairing, "bookings", seat)

    await look_at(repairing, "bookings", seat)

    diff = await only_diff(repairing, "bookings", seat)
    assert diff.status == "in_review"
    assert "on neither side" in diff.reason


async def test_available_seats_follow_the_bookings_of_the_document_side(repairing: Stores) -> None:
    trip, ada = launch(total_seats=20, available_seats=7), customer()
    await put_both(repairing, "customers", ada)
    await put_both(repairing, "launches", trip)
    for status in ("Confirmed", "Completed", "Cancelled"):
        await put_both(repairing, "bookings", booking(trip, ada, status=status, number_of_seats=3))

    await look_at(repairing, "launches", trip)

    assert (await document_of(repairing, "launches", trip))["available_seats"] == 14


async def test_available_seats_wait_until_the_bookings_are_reconciled(repairing: Stores) -> None:
    """The document still has a booking Confirmed that the relational side has cancelled; the seats are right."""
    trip, ada = launch(total_seats=20, available_seats=20), customer()
    await put_both(repairing, "customers", ada)
    await put_both(repairing, "launches", trip)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)
    await put_row(repairing, "bookings", seat | {"status": "Cancelled"})

    await look_at(repairing, "launches", trip)
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 20, "not the doubtful 18"
    await look_again(repairing)

    assert (await document_of(repairing, "bookings", seat))["status"] == "Cancelled"
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 20
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0
    assert len(await outcomes(repairing)) == 1, "the launch itself was never written"


async def test_available_seats_do_not_wait_for_a_booking_that_waits_for_an_operator(
    repairing: Stores,
) -> None:
    trip = launch(total_seats=20, available_seats=20)
    await put_both(repairing, "launches", trip)
    orphan = booking(trip, customer())  # its customer is on neither side: it goes to review
    await put_document(repairing, "bookings", orphan)
    await look_at(repairing, "bookings", orphan)

    await look_at(repairing, "launches", trip)

    assert (await document_of(repairing, "launches", trip))["available_seats"] == 18
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_seats_that_follow_from_bookings_which_are_only_observed_are_shown_as_unsettled(
    stores: Stores,
) -> None:
    await jobs.ensure_jobs(stores.core)
    trip, ada = launch(total_seats=20, available_seats=20), customer()
    await put_both(stores, "customers", ada)
    await put_both(stores, "launches", trip)
    seat = booking(trip, ada)
    await put_document(stores, "bookings", seat)
    await put_row(stores, "bookings", seat | {"status": "Cancelled"})

    await look_at(stores, "launches", trip)

    diff = await only_diff(stores, "launches", trip)
    assert (diff.status, [each.name for each in diff.fields]) == ("unsettled", ["available_seats"])
    assert "1 bookings" in str(diff.reason)
    assert await outcomes(stores) == []


async def test_the_breaker_stops_repairs_of_an_entity_until_an_operator_allows_them(
    repairing: Stores,
) -> None:
    everyone = [customer() for _ in range(130)]
    for each in everyone:
        await put_document(repairing, "customers", each)

    await look_at(repairing, "customers", *everyone)

    created = await repairing.admin.fetchval("SELECT count(*) FROM customers")
    assert created == 100, "as many as the floor allows"
    (job,) = [each for each in await jobs.list_jobs(repairing) if each.name == "customers-full"]
    assert "more than 100" in str(job.stopped)

    await jobs.allow_repairs(repairing, "customers", by="test", reason="a new service")
    await repairer_of(repairing).run_due()
    assert await repairing.admin.fetchval("SELECT count(*) FROM customers") == 130
