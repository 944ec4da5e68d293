"""The repair path, against real stores: what is written where, and what operators decide."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from app.audit.entries import Outcome
from app.audit.store import AuditStore
from app.errors import ConflictError
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import jobs
from app.stores.connections import Stores
from config.correlation import correlated, new_correlation
from tests.app.reconciliation.repairing.repair_steps import look_again, look_at, only_diff, outcomes
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


async def test_a_change_names_the_request_and_the_trace_that_it_came_of(repairing: Stores) -> None:
    ada, bob = customer(), customer()
    for each in (ada, bob):
        await put_document(repairing, "customers", each | {"last_name": "King"})
        await put_row(repairing, "customers", each)
    with correlated(new_correlation(request_id="request-1")) as correlation:
        await look_at(repairing, "customers", ada)
    await look_at(repairing, "customers", bob)
    later, first = [each.intent for each in await AuditStore.of(repairing).changes()]
    assert (first.trace_id, first.request_id) == (correlation.trace_id, "request-1")
    assert (later.trace_id, later.request_id) == (None, None)


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
    ada = customer(updated_at=datetime.now(UTC) + timedelta(seconds=5))
    await put_document(repairing, "customers", ada | {"city": "Paris"})
    await put_row(repairing, "customers", ada)

    await look_at(repairing, "customers", ada)

    assert (await row_of(repairing, "customers", ada))["city"] == "London"
    waiting = await repairing.core.fetchval("SELECT waiting_for FROM suspects")
    assert waiting == "the record to settle"


async def test_a_launch_gone_from_the_relational_side_leaves_the_read_model(repairing: Stores) -> None:
    trip = launch()
    await put_document(repairing, "launches", trip)
    await look_at(repairing, "launches", trip)
    assert await document_of(repairing, "launches", trip) is None


async def test_only_what_no_rule_decides_can_be_decided_by_an_operator(repairing: Stores) -> None:
    taken = customer()
    newcomer = customer(email=taken["email"])
    await put_row(repairing, "customers", taken)
    await put_document(repairing, "customers", newcomer)
    await look_at(repairing, "customers", newcomer)
    diff = await only_diff(repairing, "customers", newcomer)

    with pytest.raises(ConflictError, match="customers_email"):
        await decisions.approve(repairing, [diff.id], side="relational", by="test", reason="no")
