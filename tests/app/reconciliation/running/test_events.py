"""Events: they make records suspects, due once what they tell of can have settled."""

from datetime import datetime, timedelta

from app.reconciliation.ledger import suspects
from app.reconciliation.running import events
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import customer


async def due_after(stores: Stores, nominated: datetime) -> timedelta:
    due: datetime = await stores.core.fetchval("SELECT due_at FROM suspects")
    return due - nominated


async def test_a_record_is_looked_at_once_its_change_can_have_settled(stores: Stores) -> None:
    nominated = await stores.core.fetchval("SELECT now()")
    await events.accept(stores, [events.Event("customers", str(customer()["id"]))])

    assert timedelta(seconds=0.2) <= await due_after(stores, nominated) < timedelta(seconds=5)
    assert await suspects.claim(stores.core, "customers", limit=5, lease_seconds=5.0) == []


async def test_an_event_puts_off_no_look_that_is_due_already(stores: Stores) -> None:
    key = str(customer()["id"])
    await suspects.nominate(stores.core, "customers", [key], cause="test")
    await events.accept(stores, [events.Event("customers", key)])

    (claimed,) = await suspects.claim(stores.core, "customers", limit=5, lease_seconds=5.0)
    assert (claimed.key, claimed.nominations) == (key, 2)
