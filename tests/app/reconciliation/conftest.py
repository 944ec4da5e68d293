import sys
from collections.abc import AsyncIterator

import pytest

from app.reconciliation import mapping
from app.reconciliation.ledger import jobs
from app.reconciliation.mapping import load_mappings, mappings
from app.stores.connections import Stores
from config.settings import parse_settings
from tests.app.reconciliation.museum import MODULE, TABLES


@pytest.fixture
async def museum(monkeypatch: pytest.MonkeyPatch, stores: Stores) -> AsyncIterator[None]:
    """The museum's tables, and its module loaded as the setting says, for this test alone."""
    monkeypatch.setattr(mapping, "_registry", dict(mapping._registry))
    load_mappings(parse_settings({"ASTROCORE_MAPPINGS": f" {MODULE} ,"}).mappings)
    await stores.admin.execute(TABLES)
    yield
    del sys.modules[MODULE]


@pytest.fixture
async def repairing(stores: Stores) -> Stores:
    """The stores, with every job allowed to repair."""
    await jobs.ensure_jobs(stores.core)
    for entity in mappings():
        for mode in ("full", "incremental"):
            await jobs.change_job(stores, f"{entity}-{mode}", repairs=True, by="test", reason="test")
    return stores
