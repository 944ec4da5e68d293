"""Records that hold what nobody thought of: shown to operators, and never in the way of others."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bson.binary import UUID_SUBTYPE, Binary

from app.errors import ConflictError
from app.reconciliation import decisions, diffs, execution, runs, suspects
from app.reconciliation.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.repair_steps import look_at, only_diff
from tests.app.reconciliation.worlds import (
    customer,
    put_both,
    put_document,
    put_row,
    row_of,
)


async def test_an_unreadable_value_on_the_right_side_is_for_an_operator(repairing: Stores) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"first_name": 5})
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    assert (await only_diff(repairing, "customers", ada)).status == "in_review"
    assert (await row_of(repairing, "customers", ada))["first_name"] == "Ada"


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
