"""What the rows of runs tell; how runs are carried out is tested in `running`."""

from app.reconciliation.ledger import runs
from app.stores.connections import Stores


async def test_a_finding_that_nothing_can_write_counts_as_no_change(stores: Stores) -> None:
    run = await runs.start_run(stores, "customers", by="test")
    await stores.core.executemany(
        "INSERT INTO findings (run_id, key, partition, kind) VALUES ($1, $2, 0, $3)",
        [(run.id, "a", "fields"), (run.id, "b", "missing_document"), (run.id, "c", "unreadable_key")],
    )
    async with stores.core.acquire() as connection:
        assert await runs.count_findings(connection, run.id, "customers") == (2, 0)
