"""What tests of the repair path do: have records looked at, and see what came of it."""

from app.audit.store import AuditStore
from app.reconciliation.ledger import diffs, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores


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
    audit = AuditStore.of(stores)
    return [each.outcome and each.outcome.outcome for each in await audit.changes(limit=1000)]
