import pytest

from app.reconciliation.ledger import jobs
from app.reconciliation.mapping import mappings
from app.stores.connections import Stores


@pytest.fixture
async def repairing(stores: Stores) -> Stores:
    """The stores, with every job allowed to repair."""
    await jobs.ensure_jobs(stores.core)
    for entity in mappings():
        for mode in ("full", "incremental"):
            await jobs.change_job(stores, f"{entity}-{mode}", repairs=True, by="test", reason="test")
    return stores
