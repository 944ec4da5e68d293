"""A record that goes from both sides while its diff is open: the diff ends with it."""

import pytest

from app.stores.connections import Stores
from tests.app.reconciliation.repairing.repair_steps import look_at, only_diff
from tests.app.reconciliation.worlds import launch, put_document, put_row


@pytest.mark.parametrize("held_by", ["document", "relational"])
async def test_an_open_diff_of_a_record_that_is_gone_from_both_sides_ends(
    stores: Stores, held_by: str
) -> None:
    trip = launch()
    await (put_document if held_by == "document" else put_row)(stores, "launches", trip)
    await look_at(stores, "launches", trip)
    assert (await only_diff(stores, "launches", trip)).status == "open", "nothing may repair it yet"

    await stores.customer["launches"].delete_one({"_id": trip["id"]})
    await stores.admin.execute("DELETE FROM launches WHERE id = $1", trip["id"])
    await look_at(stores, "launches", trip)

    assert (await only_diff(stores, "launches", trip)).status == "vanished"
