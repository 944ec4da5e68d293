"""What one entity or one moment cannot do to others: hold them up, or make a decision be forgotten."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from app.errors import StoreUnavailableError
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, jobs, runs, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.interposed import Interposed
from tests.app.reconciliation.repairing.repair_steps import look_again, look_at, only_diff
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


async def test_a_rejection_outlives_a_drift_of_what_the_record_is_derived_from(repairing: Stores) -> None:
    trip, ada = launch(total_seats=20, available_seats=18), customer()
    await put_both(repairing, "customers", ada)
    await put_document(repairing, "launches", trip | {"price": Decimal("99.00"), "available_seats": 3})
    await put_row(repairing, "launches", trip)
    seat = booking(trip, ada)
    await put_both(repairing, "bookings", seat)
    await repairing.core.execute("UPDATE jobs SET repairs = false")
    await look_at(repairing, "launches", trip)
    diff = await only_diff(repairing, "launches", trip)
    await decisions.reject(repairing, [diff.id], by="test", reason="a special price")
    await repairing.core.execute("UPDATE jobs SET repairs = true WHERE mode <> 'invariants'")

    drift = {"$set": {"total_price": 7, "updated_at": LONG_AGO + timedelta(days=1)}}
    await repairing.customer["bookings"].update_one({"_id": seat["id"]}, drift)
    await look_at(repairing, "launches", trip)
    for _ in range(3):
        await look_again(repairing)

    assert (await row_of(repairing, "bookings", seat))["total_price"] == 7, "the booking is repaired"
    document = await document_of(repairing, "launches", trip)
    assert (document["price"].to_decimal(), document["available_seats"]) == (Decimal("99.00"), 3)
    assert (await only_diff(repairing, "launches", trip)).status == "rejected"


async def test_an_open_diff_ends_when_its_record_is_gone_from_both_sides(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"

    await repairing.admin.execute("DELETE FROM customers WHERE id = $1", ada["id"])
    await look_at(repairing, "customers", ada)

    assert (await only_diff(repairing, "customers", ada)).status == "vanished"


async def test_a_broken_table_holds_up_no_other_entity(repairing: Stores) -> None:
    ada, trip = customer(), launch()
    await put_document(repairing, "customers", ada)
    await put_row(repairing, "launches", trip)
    for entity, record in (("customers", ada), ("launches", trip)):
        await suspects.nominate(repairing.core, entity, [str(record["id"])], cause="test")
    await repairing.admin.execute("ALTER TABLE customers RENAME COLUMN last_name TO surname")

    try:
        await repairer_of(repairing).run_due()
    except StoreUnavailableError:
        told = True
    else:
        told = False

    assert told, "whoever called learns of it"
    assert await document_of(repairing, "launches", trip) is not None
    waiting = await repairing.core.fetch("SELECT entity FROM suspects")
    assert [row["entity"] for row in waiting] == ["customers"]


async def test_a_record_that_claims_to_be_from_the_future_is_repaired(repairing: Stores) -> None:
    ada = customer(updated_at=datetime(2099, 1, 1, tzinfo=UTC))
    await put_document(repairing, "customers", ada | {"city": "Rome"})
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert (await row_of(repairing, "customers", ada))["city"] == "Rome"


async def test_waiting_for_a_record_whose_turn_will_come_uses_up_no_patience(repairing: Stores) -> None:
    trip, ada = launch(), customer()
    await put_both(repairing, "launches", trip)
    await put_document(repairing, "customers", ada)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)
    far = "INSERT INTO suspects (entity, key, cause, mode, leased_until) VALUES ('customers', $1, 'test', 'full', $2)"
    await repairing.core.execute(far, str(ada["id"]), datetime(2099, 1, 1, tzinfo=UTC))
    await suspects.nominate(repairing.core, "bookings", [str(seat["id"])], cause="test")
    for _ in range(12):
        await look_again(repairing)

    page = await diffs.list_diffs(repairing, entity="bookings")
    assert page.items == [], "not in review: its customer is about to be looked at"
    awaited = await repairing.core.fetchrow("SELECT * FROM suspects WHERE entity = 'customers'")
    assert (awaited["nominations"], awaited["mode"]) == (1, "full"), (
        "it comes: nobody has to ask for it again"
    )
    await repairing.core.execute("UPDATE suspects SET leased_until = '-infinity'")
    await look_again(repairing)
    await look_again(repairing)
    assert await row_of(repairing, "bookings", seat) is not None


async def a_booking_that_waits(stores: Stores) -> dict:
    """A booking to be created, whose customer is a suspect of a full run already, and has been looked at before."""
    trip, ada = launch(), customer()
    await put_both(stores, "launches", trip)
    await put_document(stores, "customers", ada)
    run = await runs.start_run(stores, "customers", by="test")
    await stores.core.execute(
        """
        INSERT INTO suspects (entity, key, cause, mode, run_id, attempts)
        VALUES ('customers', $1, 'run ' || $2::uuid::text, 'full', $2, 3)
        """,
        str(ada["id"]),
        run.id,
    )
    seat = booking(trip, ada)
    await put_document(stores, "bookings", seat)
    return seat


async def test_what_waits_for_an_entity_whose_repairs_are_stopped_is_left_alone_until_they_go_on(
    repairing: Stores,
) -> None:
    seat = await a_booking_that_waits(repairing)
    trip = (
        "INSERT INTO breakers (entity, tripped_at, reason) VALUES ('customers', now(), 'test') "
        "ON CONFLICT (entity) DO UPDATE SET tripped_at = EXCLUDED.tripped_at, reason = EXCLUDED.reason"
    )
    await repairing.core.execute(trip)

    await look_at(repairing, "bookings", seat)

    waiting = {row["entity"]: row for row in await repairing.core.fetch(
        "SELECT *, due_at > now() + interval '50 seconds' AS later FROM suspects"
    )}  # fmt: skip
    assert (waiting["bookings"]["later"], waiting["bookings"]["attempts"]) == (True, 0)
    assert (waiting["customers"]["nominations"], waiting["customers"]["attempts"]) == (1, 3)
    await jobs.allow_repairs(repairing, "customers", by="test", reason="test")
    await repairer_of(repairing).run_due()
    assert await row_of(repairing, "bookings", seat) is not None


async def test_what_an_event_needs_is_taken_out_of_a_run_that_is_paused(repairing: Stores) -> None:
    seat = await a_booking_that_waits(repairing)
    await repairing.core.execute("UPDATE runs SET paused_at = now()")

    await look_at(repairing, "bookings", seat)
    await look_again(repairing)

    assert await row_of(repairing, "bookings", seat) is not None


async def test_a_diff_whose_write_was_refused_stays_in_review_while_it_is_tried_again(
    repairing: Stores,
) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"last_name": "x" * 200})
    await put_row(repairing, "customers", ada)
    await repairing.admin.execute("ALTER TABLE customers ADD CHECK (length(last_name) < 100)")
    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"

    repairer = repairer_of(repairing)
    statuses: list[str] = []

    async def put(real, found):
        statuses.extend(each.status for each in found)
        return await real(found)

    watching = Interposed(repairer.work, put=put)
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    await replace(repairer, work=watching).run_due()

    assert statuses == ["in_review"]
    diff = await only_diff(repairing, "customers", ada)
    assert (diff.status, "constraint" in str(diff.reason)) == ("in_review", True)
