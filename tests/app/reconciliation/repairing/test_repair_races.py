"""Owners, operators and other workers come in between; workers die; stores are away."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from app.audit.entries import IntentEntry, Outcome
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import runs, suspects
from app.reconciliation.repairing import changes
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution
from app.stores.connections import Stores, open_redis
from tests.app.reconciliation.interposed import (
    Interposed,
    KilledError,
    after_first,
    dying,
    interpose,
)
from tests.app.reconciliation.repairing.repair_steps import look_again, look_at, only_diff, outcomes
from tests.app.reconciliation.running.run_steps import compared
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


@pytest.mark.parametrize("meddled", ["document", "relational"])
async def test_an_edit_between_read_and_write_is_never_overwritten(repairing: Stores, meddled: str) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"first_name": "Augusta"})
    await put_row(repairing, "customers", ada | {"is_vip": True})

    async def edit() -> None:
        if meddled == "document":
            change = {"$set": {"contact_number": "new"}}
            await repairing.customer["customers"].update_one({"_id": ada["id"]}, change)
        else:
            await repairing.admin.execute(
                "UPDATE customers SET contact_number = 'new' WHERE id = $1", ada["id"]
            )

    repairer = repairer_of(repairing)
    interpose(repairer.sides, "customers", meddled, read=after_first(edit))
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    await repairer.run_due()

    assert sorted(str(each) for each in await outcomes(repairing)) == ["applied", "superseded"]
    await look_again(repairing)
    document = await document_of(repairing, "customers", ada)
    row = await row_of(repairing, "customers", ada)
    assert (document["first_name"], row["first_name"]) == ("Augusta", "Augusta")
    assert (document["is_vip"], row["is_vip"]) == (True, True)
    right = "new" if meddled == "document" else ada["contact_number"]  # the document side is right about it
    assert (document["contact_number"], row["contact_number"]) == (right, right)
    assert None not in await outcomes(repairing)


@pytest.mark.parametrize(
    ("after", "outcome"), [(True, [Outcome.APPLIED]), (False, [Outcome.APPLIED, Outcome.SUPERSEDED])]
)
async def test_the_intent_of_a_writer_that_died_gets_its_one_outcome(
    repairing: Stores, after: bool, outcome: list[Outcome]
) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)
    mortal = repairer_of(
        replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.1}))
    )
    interpose(mortal.sides, "customers", "relational", write=dying(after=after))
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    with pytest.raises(KilledError):
        await mortal.run_due()
    assert await outcomes(repairing) == [None]

    await look_again(repairing)  # too early to judge: the write might still be under way
    assert await outcomes(repairing) == [None]
    await asyncio.sleep(2.2)
    await look_again(repairing)

    assert await outcomes(repairing) == outcome
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"
    assert (await only_diff(repairing, "customers", ada)).status == "repaired"


async def test_what_follows_from_a_write_is_looked_at_though_its_writer_died(
    repairing: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A booking is cancelled on the document side; the worker dies before it can say that its launch follows."""
    monkeypatch.setattr(changes, "_GRACE", timedelta(seconds=0.4))
    trip, ada = launch(total_seats=20, available_seats=18), customer()
    await put_both(repairing, "customers", ada)
    await put_both(repairing, "launches", trip)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)
    await put_row(repairing, "bookings", seat | {"status": "Cancelled"})
    brief = repairing.settings.model_copy(update={"store_timeout_seconds": 0.5})
    mortal = repairer_of(replace(repairing, settings=brief))
    interpose(mortal.sides, "bookings", "document", write=dying(after=True))
    await suspects.nominate(repairing.core, "bookings", [str(seat["id"])], cause="test")
    with pytest.raises(KilledError):
        await mortal.run_due()
    assert (await document_of(repairing, "bookings", seat))["status"] == "Cancelled"
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 18

    await asyncio.sleep(1.1)
    await look_again(repairing)
    await look_again(repairing)

    assert (await document_of(repairing, "launches", trip))["available_seats"] == 20


async def test_nothing_is_written_while_the_audit_store_is_away(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    nowhere = open_redis("redis://127.0.0.1:1/0")

    with pytest.raises(StoreUnavailableError):
        await repairer_of(replace(repairing, audit=nowhere)).run_due()

    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    await look_again(repairing)
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_an_event_during_a_look_leads_to_another_look(repairing: Stores) -> None:
    ada = customer()
    await put_both(repairing, "customers", ada)
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="first")
    claimed = await suspects.claim(repairing.core, "customers", limit=10, lease_seconds=30)
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="second")
    await suspects.dismiss(repairing.core, claimed)
    again = await suspects.claim(repairing.core, "customers", limit=10, lease_seconds=30)
    assert [each.cause for each in again] == ["second"]
    await suspects.dismiss(repairing.core, again)
    assert await suspects.next_due(repairing.core, ["customers"]) is None


async def test_a_decision_does_not_outlive_the_values_that_the_operator_saw(repairing: Stores) -> None:
    """A customer is gone from the document side; its row is edited before its removal, once approved, is tried."""
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    diff = await only_diff(repairing, "customers", ada)
    await decisions.approve(repairing, [diff.id], side="document", by="test", reason="left us")
    await repairing.admin.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", ada["id"])

    await look_again(repairing)

    assert await row_of(repairing, "customers", ada) is not None
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"


async def test_a_decision_during_a_look_is_not_overwritten_by_it(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    diff = await only_diff(repairing, "customers", ada)
    await repairing.admin.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", ada["id"])
    repairer = repairer_of(repairing)

    async def reject_first(real, found):
        if found:
            await decisions.reject(repairing, [diff.id], by="test", reason="known")
        return await real(found)

    repairer = replace(repairer, work=Interposed(repairer.work, put=reject_first))
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    await repairer.run_due()

    assert (await only_diff(repairing, "customers", ada)).status == "rejected"
    waiting = await repairing.core.fetchval("SELECT waiting_for FROM suspects")
    assert "decided" in waiting


async def test_cancelling_a_run_drops_its_findings_and_no_event(repairing: Stores) -> None:
    found, reported = customer(), customer()
    for each in (found, reported):
        await put_document(repairing, "customers", each)
    run = await compared(repairing, "customers")
    await suspects.nominate(repairing.core, "customers", [str(reported["id"])], cause="event")

    await runs.cancel_run(repairing, run.id, by="test", reason="no")
    await repairer_of(repairing).run_due()

    assert await row_of(repairing, "customers", found) is None
    assert await row_of(repairing, "customers", reported) is not None


async def test_a_run_whose_last_comparer_died_is_concluded_when_it_is_taken_up_again(
    repairing: Stores,
) -> None:
    run = await runs.start_run(repairing, "customers", by="test")
    await execution.begin(repairing, run.id)
    await repairing.core.execute("UPDATE partitions SET status = 'done' WHERE run_id = $1", run.id)

    assert run.id in await execution.left_behind(repairing)
    await execution.begin(repairing, run.id)

    assert (await runs.get_run(repairing, run.id)).status == "done"


async def test_an_intent_that_nobody_looks_at_is_nominated_by_the_sweep(repairing: Stores) -> None:
    audit = AuditStore.of(repairing)
    ada = customer()
    await put_both(repairing, "customers", ada)
    forgotten = IntentEntry(
        id=uuid4(), at=LONG_AGO, deadline=LONG_AGO, entity="customers", key=str(ada["id"]), side="relational",
        action="update", before={"address.city": "Paris"}, after={"address.city": "London"}, policy={}, cause="test",
        diff_id=uuid4(), run_id=None,
    )  # fmt: skip
    await audit.append([forgotten])

    await execution.nominate_unfinished(repairing)
    await repairer_of(repairing).run_due()

    assert await outcomes(repairing) == [Outcome.APPLIED]
