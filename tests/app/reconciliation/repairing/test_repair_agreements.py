"""What a look remembers of a record that agrees, so that a watermark need not have it looked at again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.stores.connections import Stores
from tests.app.reconciliation.repairing.repair_steps import look_at
from tests.app.reconciliation.worlds import LONG_AGO, customer, put_both, put_document, put_row, row_of

LATER = LONG_AGO + timedelta(days=1, microseconds=1999)
MILLISECONDS = LONG_AGO + timedelta(days=1, milliseconds=1)


async def agreements(stores: Stores) -> dict[str, tuple[datetime, datetime]]:
    rows = await stores.core.fetch("SELECT key, document_at, relational_at FROM agreements")
    return {row["key"]: (row["document_at"], row["relational_at"]) for row in rows}


async def test_records_that_agree_are_remembered_by_what_each_side_holds(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada)
    await put_row(repairing, "customers", ada | {"updated_at": LATER})
    await look_at(repairing, "customers", ada)
    assert await agreements(repairing) == {str(ada["id"]): (LONG_AGO, LATER)}


async def test_a_repaired_record_is_remembered_as_it_was_left(repairing: Stores) -> None:
    changed, missing = customer(), customer(updated_at=MILLISECONDS)
    await put_document(repairing, "customers", changed)
    await put_row(repairing, "customers", changed | {"is_vip": True, "updated_at": LATER})
    await put_document(repairing, "customers", missing)
    await look_at(repairing, "customers", changed, missing)
    assert (await row_of(repairing, "customers", missing))["updated_at"] == MILLISECONDS
    assert await agreements(repairing) == {
        str(changed["id"]): (LATER, LATER),
        str(missing["id"]): (MILLISECONDS, MILLISECONDS),
    }
    held = await repairing.customer["customers"].find_one({"_id": changed["id"]})
    assert held["updated_at"].replace(tzinfo=UTC) == MILLISECONDS, "documents keep milliseconds"


async def test_what_was_written_a_moment_ago_may_be_written_again_under_the_same_time(
    repairing: Stores,
) -> None:
    ada = customer(updated_at=datetime.now(UTC))
    await put_both(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert await repairing.core.fetch("SELECT FROM suspects") == []
    assert await agreements(repairing) == {}


@pytest.mark.parametrize("ahead", [timedelta(seconds=5), timedelta(days=365)])
async def test_a_time_in_the_future_tells_nothing(repairing: Stores, ahead: timedelta) -> None:
    ada = customer(updated_at=datetime.now(UTC) + ahead)
    await put_both(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert await agreements(repairing) == {}


@pytest.mark.parametrize("none", [None, "yesterday"])
async def test_a_record_without_a_time_tells_nothing(repairing: Stores, none: Any) -> None:
    ada = customer()
    await put_both(repairing, "customers", ada)
    await repairing.customer["customers"].update_one({"_id": ada["id"]}, {"$set": {"updated_at": none}})
    await look_at(repairing, "customers", ada)
    assert await repairing.core.fetch("SELECT FROM suspects") == []
    assert await agreements(repairing) == {}


async def test_what_differs_and_stays_so_is_no_agreement(repairing: Stores) -> None:
    ada, both = customer(), customer()
    await put_row(repairing, "customers", ada)  # goes to review: it is gone from the side that is right
    await put_both(repairing, "customers", both)
    await look_at(repairing, "customers", ada, both)
    assert set(await agreements(repairing)) == {str(both["id"])}
