"""Undo, against real stores."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.audit.entries import Fact, Outcome
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.reconciliation.deciding import decisions, undo
from app.reconciliation.ledger import diffs, holds, runs
from app.reconciliation.ledger.views import UndoView
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.deciding.undo_steps import (
    LATER,
    applied,
    audit_of,
    items_of,
    refusals,
    repair,
    repaired_city,
    run_over,
    undo_changes,
)
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


async def test_an_update_is_taken_back_by_a_change_of_its_own(repairing: Stores) -> None:
    ada = await repaired_city(repairing)
    (change,) = await applied(repairing)

    done = await undo_changes(repairing, change)

    assert (done.status, done.undone, done.refused, done.records) == ("done", 1, 0, 1)
    assert await row_of(repairing, "customers", ada) == ada, "with its updated_at"
    (item,) = await items_of(repairing, done)
    undoing, undone = await audit_of(repairing).changes(limit=10)
    assert (undoing.intent.id, undoing.intent.undoes) == (item.undone_by, undone.intent.id)
    assert undoing.intent.diff_id == undone.intent.diff_id
    assert (undoing.intent.before["address.city"], undoing.intent.after["address.city"]) == (
        "Paris",
        "London",
    )
    assert set(undoing.intent.policy) == {"address.city", "last_name"}


async def test_the_hold_keeps_the_next_look_from_doing_it_again_until_it_is_released(
    repairing: Stores,
) -> None:
    ada = await repaired_city(repairing)
    done = await undo_changes(repairing, *await applied(repairing))
    (hold,) = (await holds.list_holds(repairing)).items
    assert (hold.key, hold.reason, hold.undo_id) == (str(ada["id"]), "undone: wrong", done.id)

    await repair(repairing, "customers", ada)
    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    diff = (await diffs.list_diffs(repairing)).items[0]
    assert (diff.status, diff.reason) == ("open", "held: undone: wrong")

    await holds.release(repairing, [("customers", str(ada["id"]))], by="test", reason="right after all")
    await repairer_of(repairing).run_due()
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_change_of_the_document_side_is_taken_back_too(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada)
    await put_row(repairing, "customers", ada | {"is_vip": True, "updated_at": LATER})
    await repair(repairing, "customers", ada)
    assert (await document_of(repairing, "customers", ada))["is_vip"] is True

    assert (await undo_changes(repairing, *await applied(repairing))).undone == 1

    document = await document_of(repairing, "customers", ada)
    assert (document["is_vip"], document["updated_at"]) == (False, LONG_AGO)


async def test_created_records_are_removed_on_either_side(repairing: Stores) -> None:
    ada, trip = customer(), launch()
    await put_document(repairing, "customers", ada)
    await put_row(repairing, "launches", trip)
    await repair(repairing, "customers", ada)
    await repair(repairing, "launches", trip)
    assert await row_of(repairing, "customers", ada)
    assert await document_of(repairing, "launches", trip)

    done = await undo_changes(repairing, *await applied(repairing))

    assert (done.undone, done.refused) == (2, 0)
    assert await row_of(repairing, "customers", ada) is None
    assert await document_of(repairing, "launches", trip) is None


async def test_removed_records_are_created_again_on_either_side(repairing: Stores) -> None:
    ada, trip = customer(contact_number=None), launch()
    await put_row(repairing, "customers", ada)
    await put_document(repairing, "launches", trip)
    before = await document_of(repairing, "launches", trip)
    await repair(repairing, "customers", ada)
    (review,) = (await diffs.list_diffs(repairing, entity="customers")).items
    await decisions.approve(repairing, [review.id], side="document", by="test", reason="gone")
    await repair(repairing, "launches", trip)
    assert await row_of(repairing, "customers", ada) is None
    assert await document_of(repairing, "launches", trip) is None

    done = await undo_changes(repairing, *await applied(repairing))

    assert (done.undone, done.refused) == (2, 0)
    assert await row_of(repairing, "customers", ada) == ada
    assert await document_of(repairing, "launches", trip) == before


async def test_a_whole_run_is_undone_in_reverse_and_its_consequences_follow(repairing: Stores) -> None:
    """A run creates a customer and her booking's row, updates another's seats: all of it is taken back."""
    trip, ada, bob = launch(total_seats=20, available_seats=15), customer(), customer()
    await put_both(repairing, "launches", trip)
    await put_document(repairing, "customers", ada)
    await put_both(repairing, "customers", bob)
    new, moved = booking(trip, ada, number_of_seats=2), booking(trip, bob, number_of_seats=3)
    await put_document(repairing, "bookings", new)
    await put_document(repairing, "bookings", moved)
    await put_row(repairing, "bookings", moved | {"status": "Cancelled"})
    run_id = await run_over(repairing, "bookings", new, moved)
    assert await row_of(repairing, "customers", ada)
    assert (await document_of(repairing, "bookings", moved))["status"] == "Cancelled"
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 18
    assert await undo.preview(repairing, run_id=run_id) == (
        await undo.preview(repairing, change_ids=await applied(repairing))
    )

    done = await undo_changes(repairing, run_id=run_id)

    assert (done.run_id, done.refused, done.pending) == (run_id, 0, 0)
    assert await row_of(repairing, "bookings", new) is None
    assert await row_of(repairing, "customers", ada) is None
    assert (await document_of(repairing, "bookings", moved))["status"] == "Confirmed"
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 15
    held = {hold.entity for hold in (await holds.list_holds(repairing)).items}
    assert held == {"customers", "bookings", "launches"}
    waiting = await repairing.core.fetch("SELECT entity, key FROM suspects")
    assert [tuple(row) for row in waiting] == [("launches", str(trip["id"]))], "its seats follow"


async def test_what_has_changed_since_is_refused_with_the_fields_and_the_rest_undone(
    repairing: Stores,
) -> None:
    ada, bob = await repaired_city(repairing), await repaired_city(repairing)
    await repairing.admin.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", ada["id"])

    done = await undo_changes(repairing, *await applied(repairing))

    assert (done.undone, done.refused) == (1, 1)
    assert await refusals(repairing, done) == ["changed since: address.city"]
    row = await row_of(repairing, "customers", ada)
    assert (row["city"], row["last_name"]) == ("Rome", "King"), "all of a change or nothing"
    assert (await row_of(repairing, "customers", bob))["city"] == "London"


async def test_another_field_that_changed_since_stands_and_keeps_its_time(repairing: Stores) -> None:
    ada = await repaired_city(repairing)
    newest = LATER + timedelta(days=1)
    await repairing.admin.execute(
        "UPDATE customers SET contact_number = '1', updated_at = $2 WHERE id = $1", ada["id"], newest
    )

    assert (await undo_changes(repairing, *await applied(repairing))).undone == 1

    row = await row_of(repairing, "customers", ada)
    assert (row["city"], row["contact_number"], row["updated_at"]) == ("London", "1", newest)


async def test_what_is_gone_or_exists_again_is_refused(repairing: Stores) -> None:
    ada, trip = await repaired_city(repairing), launch()
    await put_document(repairing, "launches", trip)
    await repair(repairing, "launches", trip)
    await repairing.admin.execute("DELETE FROM customers WHERE id = $1", ada["id"])
    await put_document(repairing, "launches", trip)

    done = await undo_changes(repairing, *await applied(repairing))

    assert await refusals(repairing, done) == ["it exists again", "it is gone"]


async def test_a_created_record_that_somebody_wrote_to_is_not_removed(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada)
    await repair(repairing, "customers", ada)
    await repairing.admin.execute("UPDATE customers SET updated_at = $2 WHERE id = $1", ada["id"], LATER)

    done = await undo_changes(repairing, *await applied(repairing))

    assert await refusals(repairing, done) == ["changed since: updated_at"]
    assert await row_of(repairing, "customers", ada)


async def test_a_constraint_that_says_no_is_named(repairing: Stores) -> None:
    trip, ada = launch(available_seats=18), customer()
    await put_both(repairing, "launches", trip)
    await put_document(repairing, "customers", ada)
    await repair(repairing, "customers", ada)
    changes = await applied(repairing)
    await put_row(repairing, "bookings", booking(trip, ada))

    done = await undo_changes(repairing, *changes)

    (reason,) = await refusals(repairing, done)
    assert "bookings_customer_id" in reason
    assert await row_of(repairing, "customers", ada)


async def test_values_that_moved_on_from_record_to_record_are_moved_back(repairing: Stores) -> None:
    """Bob's address goes to Ada in one batch with Bob's new one: undone alone or together, in the right order."""
    bob, ada = customer(email="old@example.com"), customer(email="ada@example.com")
    await put_document(repairing, "customers", bob | {"email": "new@example.com"})
    await put_row(repairing, "customers", bob)
    await repair(repairing, "customers", bob)
    await put_document(repairing, "customers", ada | {"email": "old@example.com"})
    await put_row(repairing, "customers", ada)
    await repair(repairing, "customers", ada)

    done = await undo_changes(repairing, *await applied(repairing))

    assert (done.undone, done.refused) == (2, 0)
    assert (await row_of(repairing, "customers", bob))["email"] == "old@example.com"
    assert (await row_of(repairing, "customers", ada))["email"] == "ada@example.com"


async def test_a_change_is_undone_once_and_undoing_its_undo_brings_it_back(repairing: Stores) -> None:
    ada = await repaired_city(repairing)
    (change,) = await applied(repairing)
    first = await undo_changes(repairing, change)

    again = await undo_changes(repairing, change)
    assert await refusals(repairing, again) == [f"undone already by undo {first.id}"]
    (item,) = await items_of(repairing, first)
    back = await undo_changes(repairing, item.undone_by)

    assert (back.undone, back.refused) == (1, 0)
    row = await row_of(repairing, "customers", ada)
    assert (row["city"], row["updated_at"]) == ("Paris", LATER)


async def test_only_applied_changes_can_be_undone(repairing: Stores) -> None:
    taken = customer()
    await put_row(repairing, "customers", taken)
    newcomer = customer(email=taken["email"])
    await put_document(repairing, "customers", newcomer)
    await repair(repairing, "customers", newcomer)
    (change,) = await audit_of(repairing).changes()
    assert change.outcome.outcome is Outcome.REJECTED

    started = await undo.start(repairing, change_ids=[change.intent.id], by="test", reason="no")

    assert (started.refused, started.pending) == (1, 0)
    assert await refusals(repairing, started) == ["it ended as rejected, not as applied"]
    assert (await holds.list_holds(repairing)).items == []


async def test_what_a_run_tried_in_vain_is_passed_over(repairing: Stores) -> None:
    taken, ada = customer(), customer()
    await put_row(repairing, "customers", taken)
    newcomer = customer(email=taken["email"])
    await put_document(repairing, "customers", newcomer)
    in_vain = await run_over(repairing, "customers", newcomer)
    with pytest.raises(ConflictError, match="changed nothing"):
        await undo.start(repairing, run_id=in_vain, by="test", reason="no")

    await put_document(repairing, "customers", ada)
    done = await undo_changes(repairing, run_id=await run_over(repairing, "customers", newcomer, ada))
    assert (done.changes, done.undone) == (1, 1)


async def test_two_workers_at_one_undo_write_once(repairing: Stores) -> None:
    await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="test", reason="no")

    await asyncio.gather(*(undo.carry_out(repairing, started.id) for _ in range(3)))
    await undo.carry_out(repairing, started.id)

    assert (await undo.get_undo(repairing, started.id)).undone == 1
    names = [
        row["name"] for row in await repairing.core.fetch("SELECT entry ->> 'name' AS name FROM audit_outbox")
    ]
    assert (names.count(Fact.UNDO_STARTED), names.count(Fact.UNDO_ENDED)) == (1, 1)


async def test_what_is_not_there_cannot_be_undone(repairing: Stores) -> None:
    await repaired_city(repairing)
    (change,) = await applied(repairing)
    with pytest.raises(NotFoundError):
        await undo.start(repairing, run_id=uuid4(), by="test", reason="no")
    with pytest.raises(NotFoundError):
        await undo.start(repairing, change_ids=[uuid4()], by="test", reason="no")
    with pytest.raises(InvalidInputError) as refusal:
        await undo.start(repairing, change_ids=[change, uuid4()], by="test", reason="no")
    assert [fault.where for fault in refusal.value.faults] == ["change_ids/1"]
    for neither in ({}, {"change_ids": [change], "run_id": uuid4()}):
        with pytest.raises(InvalidInputError):
            await undo.start(repairing, **neither, by="test", reason="no")
    assert (await undo.list_undos(repairing)).items == []


async def test_an_active_run_is_not_undone(repairing: Stores) -> None:
    run = await runs.start_run(repairing, "customers", by="test")
    with pytest.raises(ConflictError) as refusal:
        await undo.start(repairing, run_id=run.id, by="test", reason="no")
    assert refusal.value.instance == f"/v1/reconciliation/runs/{run.id}"


async def test_two_undos_at_once_share_no_change(repairing: Stores) -> None:
    await repaired_city(repairing)
    changes = await applied(repairing)

    begun = await asyncio.gather(
        *(undo.start(repairing, change_ids=changes, by="test", reason="no") for _ in range(2)),
        return_exceptions=True,
    )

    pending = [each.pending for each in begun if isinstance(each, UndoView)]
    assert sum(pending) == 1
    assert all(isinstance(each, UndoView | ConflictError) for each in begun)
