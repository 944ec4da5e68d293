"""What tests of undo do: have records repaired, and take it back."""

from datetime import timedelta
from uuid import UUID

from app.audit.entries import Outcome
from app.audit.store import AuditStore
from app.reconciliation.deciding import undo
from app.reconciliation.ledger import runs, suspects
from app.reconciliation.ledger.views import UndoItemView, UndoView
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import LONG_AGO, customer, put_document, put_row, row_of

LATER = LONG_AGO + timedelta(days=1)


async def repair(stores: Stores, entity: str, *records: dict, run_id: UUID | None = None) -> None:
    keys = [str(each["id"]) for each in records]
    mode = "full" if run_id else "incremental"
    await suspects.nominate(stores.core, entity, keys, cause=f"run {run_id}", mode=mode, run_id=run_id)
    for _ in range(3):  # what waits for its references, and what follows
        await repairer_of(stores).run_due()
        await stores.core.execute("UPDATE suspects SET due_at = now()")
    await repairer_of(stores).run_due()


async def run_over(stores: Stores, entity: str, *records: dict) -> UUID:
    """A run that has found these records, and repaired them."""
    run = await runs.start_run(stores, entity, by="test")
    await stores.core.execute("UPDATE runs SET status = 'repairing' WHERE id = $1", run.id)
    await repair(stores, entity, *records, run_id=run.id)
    assert (await runs.get_run(stores, run.id)).status == "done"
    return run.id


def audit_of(stores: Stores) -> AuditStore:
    return AuditStore.of(stores)


async def applied(stores: Stores) -> list[UUID]:
    """The changes that were applied, the latest first."""
    changes = await audit_of(stores).changes(limit=1000)
    return [each.intent.id for each in changes if each.outcome and each.outcome.outcome is Outcome.APPLIED]


async def undo_changes(stores: Stores, *change_ids: UUID, run_id: UUID | None = None) -> UndoView:
    started = await undo.start(stores, change_ids=change_ids, run_id=run_id, by="test", reason="wrong")
    await undo.carry_out(stores, started.id)
    return await undo.get_undo(stores, started.id)


async def items_of(stores: Stores, view: UndoView) -> list[UndoItemView]:
    return (await undo.list_items(stores, view.id)).items


async def refusals(stores: Stores, view: UndoView) -> list[str | None]:
    return [each.reason for each in (await undo.list_items(stores, view.id, status="refused")).items]


async def repaired_city(stores: Stores) -> dict:
    """A customer whose city and last name were repaired on the relational side."""
    ada = customer()
    await put_document(stores, "customers", ada | {"city": "Paris", "last_name": "King", "updated_at": LATER})
    await put_row(stores, "customers", ada)
    await repair(stores, "customers", ada)
    assert (await row_of(stores, "customers", ada))["city"] == "Paris"
    return ada
