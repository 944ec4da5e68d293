"""The repair path, against real stores."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from bson.binary import UUID_SUBTYPE, Binary

from app.audit.entries import IntentEntry, Outcome
from app.audit.store import AuditStore
from app.errors import ConflictError, StoreUnavailableError
from app.reconciliation import decisions, diffs, execution, jobs, runs, suspects
from app.reconciliation.mapping import mappings
from app.reconciliation.repair import repairer_of
from app.stores.connections import Stores, open_redis
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


@pytest.fixture
async def repairing(stores: Stores) -> Stores:
    """The stores, with every job allowed to repair."""
    await jobs.ensure_jobs(stores.core)
    for entity in mappings():
        await jobs.change_job(stores, f"{entity}-incremental", repairs=True, by="test", reason="test")
    return stores


async def look_at(stores: Stores, entity: str, *records: dict) -> None:
    """Nominate records and work off every suspect, without waiting for those that are postponed."""
    await suspects.nominate(stores.core, entity, [str(each["id"]) for each in records], cause="test")
    await repairer_of(stores).run_due()


async def look_again(stores: Stores) -> None:
    await stores.core.execute("UPDATE suspects SET due_at = now()")
    await repairer_of(stores).run_due()


async def only_diff(stores: Stores, entity: str, record: dict):
    page = await diffs.list_diffs(stores, entity=entity, key=str(record["id"]))
    assert len(page.items) == 1
    return page.items[0]


async def outcomes(stores: Stores) -> list[str | None]:
    audit = AuditStore(stores.audit, stores.settings.namespace)
    return [each.outcome and each.outcome.outcome for each in await audit.changes(limit=1000)]


async def test_a_profile_field_is_written_towards_the_relational_side(repairing: Stores) -> None:
    ada = customer()
    await put_document(
        repairing, "customers", ada | {"last_name": "King", "updated_at": LONG_AGO + timedelta(days=1)}
    )
    await put_row(repairing, "customers", ada)

    await look_at(repairing, "customers", ada)

    row = await row_of(repairing, "customers", ada)
    assert row["last_name"] == "King"
    assert row["updated_at"] == LONG_AGO + timedelta(days=1), "the greater of the two, never now"
    diff = await only_diff(repairing, "customers", ada)
    assert diff.status == "repaired"
    assert [(each.name, each.winner) for each in diff.fields] == [("last_name", "document")]
    assert await outcomes(repairing) == [Outcome.APPLIED]


async def test_each_side_gets_what_the_other_is_right_about(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"first_name": "Augusta"})
    await put_row(repairing, "customers", ada | {"is_vip": True})

    await look_at(repairing, "customers", ada)

    assert (await row_of(repairing, "customers", ada))["first_name"] == "Augusta"
    assert (await document_of(repairing, "customers", ada))["is_vip"] is True
    assert await outcomes(repairing) == [Outcome.APPLIED, Outcome.APPLIED]


async def test_a_record_that_only_the_document_side_has_is_created_on_the_other(repairing: Stores) -> None:
    ada = customer(contact_number=None)
    await put_document(repairing, "customers", ada)

    await look_at(repairing, "customers", ada)

    assert await row_of(repairing, "customers", ada) == ada


async def test_a_record_gone_from_the_side_that_is_right_goes_to_review_unwritten(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)

    await look_at(repairing, "customers", ada)

    assert (await only_diff(repairing, "customers", ada)).status == "in_review"
    assert await document_of(repairing, "customers", ada) is None
    assert await outcomes(repairing) == []


@pytest.mark.parametrize(("side", "kept"), [("document", False), ("relational", True)])
async def test_an_approved_review_is_repaired_the_way_the_operator_chose(
    repairing: Stores, side: str, kept: bool
) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)

    diff = await only_diff(repairing, "customers", ada)
    await decisions.approve(repairing, [diff.id], side=side, by="test", reason="seen")
    await look_again(repairing)

    assert (await document_of(repairing, "customers", ada) is not None) is kept
    assert (await row_of(repairing, "customers", ada) is not None) is kept
    assert (await only_diff(repairing, "customers", ada)).status == "repaired"


async def test_a_rejected_diff_is_left_alone_until_its_values_move(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    diff = await only_diff(repairing, "customers", ada)
    await decisions.reject(repairing, [diff.id], by="test", reason="seen")

    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "rejected"

    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await look_at(repairing, "customers", ada)
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_job_that_only_observes_writes_nothing_until_it_may(stores: Stores) -> None:
    await jobs.ensure_jobs(stores.core)
    ada = customer()
    await put_document(stores, "customers", ada | {"city": "Paris"})
    await put_row(stores, "customers", ada)

    await look_at(stores, "customers", ada)
    assert (await only_diff(stores, "customers", ada)).status == "open"
    assert (await row_of(stores, "customers", ada))["city"] == "London"

    await jobs.change_job(stores, "customers-incremental", repairs=True, by="test", reason="sure")
    await look_again(stores)
    assert (await row_of(stores, "customers", ada))["city"] == "Paris"


async def test_an_id_on_neither_side_ends_vanished(repairing: Stores) -> None:
    nobody = customer()
    await look_at(repairing, "customers", nobody)
    assert (await only_diff(repairing, "customers", nobody)).status == "vanished"


async def test_what_a_constraint_refuses_goes_to_review_and_names_it(repairing: Stores) -> None:
    taken = customer()
    newcomer = customer(email=taken["email"])
    await put_row(repairing, "customers", taken)
    await put_document(repairing, "customers", newcomer)

    await look_at(repairing, "customers", newcomer)

    diff = await only_diff(repairing, "customers", newcomer)
    assert diff.status == "in_review"
    assert "customers_email" in diff.reason
    assert await outcomes(repairing) == [Outcome.REJECTED]


async def test_a_value_that_a_column_would_round_is_refused(repairing: Stores) -> None:
    trip, ada = launch(), customer()
    await put_both(repairing, "customers", ada)
    await put_both(repairing, "launches", trip)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat | {"total_price": Decimal("240.005")})
    await put_row(repairing, "bookings", seat)

    await look_at(repairing, "bookings", seat)

    assert (await only_diff(repairing, "bookings", seat)).status == "in_review"
    assert (await row_of(repairing, "bookings", seat))["total_price"] == Decimal("240.00")


async def test_a_record_changed_within_the_settle_window_waits(repairing: Stores) -> None:
    ada = customer(updated_at=datetime.now(UTC) + timedelta(seconds=20))
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)

    await look_at(repairing, "customers", ada)

    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    waiting = await repairing.core.fetchval("SELECT waiting_for FROM suspects")
    assert waiting == "the record to settle"


async def test_a_booking_waits_for_its_customer_and_then_follows_at_once(repairing: Stores) -> None:
    trip, ada = launch(total_seats=20, available_seats=18), customer()
    await put_both(repairing, "launches", trip)
    await put_document(repairing, "customers", ada)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)

    await look_at(repairing, "bookings", seat)  # nominates the customer and waits
    assert await row_of(repairing, "bookings", seat) is None
    await repairer_of(repairing).run_due()  # creates the customer, which hastens the booking

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


async def test_a_launch_gone_from_the_relational_side_leaves_the_read_model(repairing: Stores) -> None:
    trip = launch()
    await put_document(repairing, "launches", trip)
    await look_at(repairing, "launches", trip)
    assert await document_of(repairing, "launches", trip) is None


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


async def test_an_unreadable_value_on_the_right_side_is_for_an_operator(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"first_name": 5})
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"
    assert (await row_of(repairing, "customers", ada))["first_name"] == "Ada"


class Meddler:
    """A side whose owner edits every record right after it has been read: a real edit, in the real store."""

    def __init__(self, side, edit) -> None:
        self._side = side
        self._edit = edit
        self.edits_left = 1

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def read(self, keys):
        found = await self._side.read(keys)
        if self.edits_left:
            self.edits_left -= 1
            await self._edit()
        return found


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
    sides = repairer.sides["customers"]
    meddler = Meddler(getattr(sides, meddled), edit)
    repairer.sides["customers"] = replace(sides, **{meddled: meddler})
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


class KilledError(BaseException):
    """Stands for a worker that dies here: nothing of the repair path may catch it."""


class Dying:
    """A relational side whose writer dies just before or just after its write took effect."""

    def __init__(self, side, *, after: bool) -> None:
        self._side = side
        self._after = after

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def write(self, *arguments, **options):
        if self._after:
            await self._side.write(*arguments, **options)
        raise KilledError


@pytest.mark.parametrize(
    ("after", "outcome"), [(True, [Outcome.APPLIED]), (False, [Outcome.APPLIED, Outcome.SUPERSEDED])]
)
async def test_the_intent_of_a_writer_that_died_gets_its_one_outcome(
    repairing: Stores, after: bool, outcome: list[Outcome]
) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)
    dying = repairer_of(
        replace(repairing, settings=repairing.settings.model_copy(update={"store_timeout_seconds": 0.1}))
    )
    sides = dying.sides["customers"]
    dying.sides["customers"] = replace(sides, relational=Dying(sides.relational, after=after))
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    with pytest.raises(KilledError):
        await dying.run_due()
    assert await outcomes(repairing) == [None]

    await look_again(repairing)  # too early to judge: the write might still be under way
    assert await outcomes(repairing) == [None]
    await asyncio.sleep(2.2)
    await look_again(repairing)

    assert await outcomes(repairing) == outcome
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"
    assert (await only_diff(repairing, "customers", ada)).status == "repaired"


async def test_what_follows_from_a_write_is_looked_at_though_its_writer_died(repairing: Stores) -> None:
    """A booking is cancelled on the document side; the worker dies before it can say that its launch follows."""
    trip, ada = launch(total_seats=20, available_seats=18), customer()
    await put_both(repairing, "customers", ada)
    await put_both(repairing, "launches", trip)
    seat = booking(trip, ada)
    await put_document(repairing, "bookings", seat)
    await put_row(repairing, "bookings", seat | {"status": "Cancelled"})
    brief = repairing.settings.model_copy(update={"store_timeout_seconds": 0.5})
    dying = repairer_of(replace(repairing, settings=brief))
    sides = dying.sides["bookings"]
    dying.sides["bookings"] = replace(sides, document=Dying(sides.document, after=True))
    await suspects.nominate(repairing.core, "bookings", [str(seat["id"])], cause="test")
    with pytest.raises(KilledError):
        await dying.run_due()
    assert (await document_of(repairing, "bookings", seat))["status"] == "Cancelled"
    assert (await document_of(repairing, "launches", trip))["available_seats"] == 18

    await asyncio.sleep(2.7)
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


@pytest.mark.parametrize("address", ["no subdocument", ["London"], 5])
async def test_an_address_that_is_no_subdocument_is_never_equal(repairing: Stores, address) -> None:
    ada = customer(street=None, city=None, postal_code=None, country=None)
    await put_document(repairing, "customers", ada)
    await repairing.customer["customers"].update_one({"_id": ada["id"]}, {"$set": {"address": address}})
    whole = dict.fromkeys(("street", "city", "postal_code", "country"), "")
    await put_row(repairing, "customers", ada | whole)

    await look_at(repairing, "customers", ada)

    assert (await only_diff(repairing, "customers", ada)).status == "in_review"


async def test_a_document_that_no_client_can_decode_goes_to_review_and_holds_up_nobody(
    repairing: Stores,
) -> None:
    broken, ada = customer(), customer()
    await put_both(repairing, "customers", broken)
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)
    cut_short = Binary(b"1234", UUID_SUBTYPE)
    await repairing.customer["customers"].update_one(
        {"_id": broken["id"]}, {"$set": {"contact_number": cut_short}}
    )

    await look_at(repairing, "customers", broken, ada)

    assert (await only_diff(repairing, "customers", broken)).status == "in_review"
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"


async def test_a_key_of_another_kind_is_shown_to_operators_and_never_claimed(repairing: Stores) -> None:
    odd = {"_id": 5, "first_name": "Odd", "email": "odd@example.com"}
    await repairing.customer["customers"].insert_one(odd)
    for _ in range(2):
        run = await runs.start_run(repairing, "customers", by="test")
        for call in await execution.begin(repairing, run.id):
            await execution.compare(repairing, run.id, call.number)
        await repairer_of(repairing).run_due()
    page = await diffs.list_diffs(repairing, entity="customers")
    assert [(diff.kind, diff.status) for diff in page.items] == [("unreadable_key", "in_review")]
    with pytest.raises(ConflictError, match="correct that"):
        await decisions.approve(repairing, [page.items[0].id], side="document", by="test", reason="none")

    await repairing.customer["customers"].delete_one({"_id": 5})
    run = await runs.start_run(repairing, "customers", by="test")
    for call in await execution.begin(repairing, run.id):
        await execution.compare(repairing, run.id, call.number)
    page = await diffs.list_diffs(repairing, entity="customers")
    assert [diff.status for diff in page.items] == ["vanished"]


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


async def test_only_what_no_rule_decides_can_be_decided_by_an_operator(repairing: Stores) -> None:
    taken = customer()
    newcomer = customer(email=taken["email"])
    await put_row(repairing, "customers", taken)
    await put_document(repairing, "customers", newcomer)
    await look_at(repairing, "customers", newcomer)
    diff = await only_diff(repairing, "customers", newcomer)

    with pytest.raises(ConflictError, match="customers_email"):
        await decisions.approve(repairing, [diff.id], side="relational", by="test", reason="no")


class Deciding:
    """The core DB, where an operator decides after a record has been looked at, before that is recorded."""

    def __init__(self, work, decide) -> None:
        self._work = work
        self._decide = decide

    def __getattr__(self, name: str):
        return getattr(self._work, name)

    async def put(self, found):
        if found:
            await self._decide()
        return await self._work.put(found)


async def test_a_decision_during_a_look_is_not_overwritten_by_it(repairing: Stores) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    diff = await only_diff(repairing, "customers", ada)
    await repairing.admin.execute("UPDATE customers SET city = 'Rome' WHERE id = $1", ada["id"])
    repairer = repairer_of(repairing)

    async def reject() -> None:
        await decisions.reject(repairing, [diff.id], by="test", reason="known")

    repairer = replace(repairer, work=Deciding(repairer.work, reject))
    await suspects.nominate(repairing.core, "customers", [str(ada["id"])], cause="test")
    await repairer.run_due()

    assert (await only_diff(repairing, "customers", ada)).status == "rejected"
    waiting = await repairing.core.fetchval("SELECT waiting_for FROM suspects")
    assert "decided" in waiting


async def test_a_nul_character_is_refused_and_shown_and_holds_up_nobody(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    await put_document(repairing, "customers", ada | {"city": "Par\0is"})
    await put_row(repairing, "customers", ada)
    await put_document(repairing, "customers", bob | {"city": "Rome"})
    await put_row(repairing, "customers", bob)

    await look_at(repairing, "customers", ada, bob)

    diff = await only_diff(repairing, "customers", ada)
    assert (diff.status, diff.fields[0].document) == ("in_review", "Par\u2400is")
    assert (await row_of(repairing, "customers", bob))["city"] == "Rome"


class Breaking:
    """A side that holds something nobody thought of: reading it raises."""

    def __init__(self, side, key: str) -> None:
        self._side = side
        self._key = key

    def __getattr__(self, name: str):
        return getattr(self._side, name)

    async def read(self, keys):
        if self._key in keys:
            raise ZeroDivisionError
        return await self._side.read(keys)


async def test_a_record_that_breaks_the_look_itself_is_shown_and_holds_up_nobody(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    for each in (ada, bob):
        await put_document(repairing, "customers", each | {"city": "Rome"})
        await put_row(repairing, "customers", each)
    repairer = repairer_of(repairing)
    sides = repairer.sides["customers"]
    repairer.sides["customers"] = replace(sides, document=Breaking(sides.document, str(ada["id"])))
    await suspects.nominate(
        repairing.core, "customers", [str(each["id"]) for each in (ada, bob)], cause="test"
    )
    await repairer.run_due()

    assert "ZeroDivisionError" in str((await only_diff(repairing, "customers", ada)).reason)
    assert (await row_of(repairing, "customers", bob))["city"] == "Rome"
    assert await repairing.core.fetchval("SELECT count(*) FROM suspects") == 0


async def test_watermarks_pass_over_keys_that_nothing_can_address(repairing: Stores) -> None:
    odd = {"first_name": "Odd", "email": "odd@example.com", "updated_at": datetime.now(UTC)}
    await repairing.customer["customers"].insert_one(odd)  # with an ObjectId
    run = await runs.start_run(repairing, "customers", mode="incremental", by="test")
    await execution.begin(repairing, run.id)
    assert (await runs.get_run(repairing, run.id)).status == "done"


async def test_cancelling_a_run_drops_its_findings_and_no_event(repairing: Stores) -> None:
    found, reported = customer(), customer()
    for each in (found, reported):
        await put_document(repairing, "customers", each)
    run = await runs.start_run(repairing, "customers", by="test")
    for call in await execution.begin(repairing, run.id):
        await execution.compare(repairing, run.id, call.number)
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
    audit = AuditStore(repairing.audit, repairing.settings.namespace)
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
