"""Steps that the tests of invariants share."""

from datetime import timedelta

from app.reconciliation.ledger.diffs import list_diffs
from app.reconciliation.ledger.views import DiffView, RunView
from app.stores.connections import Stores
from tests.app.reconciliation.running.run_steps import compared
from tests.app.reconciliation.worlds import (
    LONG_AGO,
    booking,
    customer,
    launch,
    put_both,
    put_document,
    put_row,
)

LATER = LONG_AGO + timedelta(days=1)
PUT = {"document": put_document, "relational": put_row}


async def run_check(stores: Stores, entity: str) -> RunView:
    return await compared(stores, entity, mode="invariants")


async def breaches_of(stores: Stores, entity: str, *, status: str = "pending") -> list[DiffView]:
    return (await list_diffs(stores, entity=entity, kind="invariant", status=status)).items


async def offered(stores: Stores, **changes: object) -> tuple[dict, dict]:
    """A launch and a customer on both sides."""
    moon, ada = launch(**changes), customer()
    await put_both(stores, "launches", moon)
    await put_both(stores, "customers", ada)
    return moon, ada


def sale(moon: dict, ada: dict, **changes: object) -> dict:
    """A booking made when the launch had its price already."""
    return booking(moon, ada, **{"booking_date": LATER, "created_at": LATER, "updated_at": LATER} | changes)


async def set_field(stores: Stores, side: str, entity: str, record: dict, **values: object) -> None:
    if side == "document":
        await stores.customer[entity].update_one({"_id": record["id"]}, {"$set": values})
        return
    for name, value in values.items():
        await stores.admin.execute(f"UPDATE {entity} SET {name} = $2 WHERE id = $1", record["id"], value)
