"""What is past its time is deleted: in bounded statements, and nothing holds up the rest."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from loguru import logger

from app.reconciliation.ledger import retention
from app.stores.connections import Stores


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message} {extra}", level="WARNING")
    yield lines
    logger.remove(sink)


async def ended_run(stores: Stores, *, days: int, findings: int = 0) -> UUID:
    run_id: UUID = await stores.core.fetchval(
        """
        INSERT INTO runs (entity, mode, status, cause, requested_by, mapping_hash, finished_at)
        VALUES ('customers', 'full', 'done', 'test', 'test', '', now() - make_interval(days => $1)) RETURNING id
        """,
        days,
    )
    await stores.core.execute(
        """
        INSERT INTO findings (run_id, key, partition, kind)
        SELECT $1, number::text, 0, 'fields' FROM generate_series(1, $2) AS number
        """,
        run_id,
        findings,
    )
    return run_id


async def old_diffs(stores: Stores, number: int) -> None:
    await stores.core.execute(
        """
        INSERT INTO diffs (entity, key, cause, kind, status, fingerprint, closed_at)
        SELECT 'customers', number::text, 'test', 'fields', 'repaired', '', now() - interval '91 days'
        FROM generate_series(1, $1) AS number
        """,
        number,
    )


async def old_tick(stores: Stores) -> None:
    await stores.core.execute(
        "INSERT INTO schedules (name, cron, actor, catch_up, fixed) VALUES ('a', '', '', 'skip', false)"
    )
    await stores.core.execute(
        "INSERT INTO ticks (schedule, tick, status) VALUES ('a', now() - interval '91 days', 'fired')"
    )


async def an_undo(stores: Stores, *statuses: str, days: int = 91) -> UUID:
    """A finished undo of changes that ended so."""
    undo_id: UUID = await stores.core.fetchval(
        """
        INSERT INTO undos (reason, requested_by, status, finished_at)
        VALUES ('test', 'test', 'done', now() - make_interval(days => $1)) RETURNING id
        """,
        days,
    )
    await stores.core.executemany(
        """
        INSERT INTO undo_items (undo_id, sequence, change_id, entity, key, side, status)
        VALUES ($1, $2, $3, 'customers', 'a', 'document', $4)
        """,
        [(undo_id, at, uuid4(), status) for at, status in enumerate(statuses)],
    )
    return undo_id


async def count(stores: Stores, table: str) -> int:
    return int(await stores.core.fetchval(f"SELECT count(*) FROM {table}"))


async def refuse_deleting(stores: Stores, table: str, *, more_than: int) -> None:
    """Have a statement fail that deletes more rows than that from a table."""
    await stores.core.execute(
        f"""
        CREATE FUNCTION refuse_many() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (SELECT count(*) FROM gone) > {more_than} THEN RAISE EXCEPTION 'too many'; END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER bounded AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_many()
        """
    )


@pytest.mark.parametrize("table", ["findings", "diffs"])
async def test_no_statement_deletes_more_than_a_batch(stores: Stores, table: str) -> None:
    await ended_run(stores, days=91, findings=11_000)
    await old_diffs(stores, 11_000)
    await refuse_deleting(stores, table, more_than=5000)
    await retention.forget_old(stores)
    assert [await count(stores, each) for each in ("runs", "findings", "diffs")] == [0, 0, 0]


async def test_what_cannot_be_deleted_is_logged_and_holds_up_nothing_else(
    stores: Stores, logged: list[str]
) -> None:
    await ended_run(stores, days=91)
    await old_diffs(stores, 2)
    await an_undo(stores, "refused")
    await old_tick(stores)
    await refuse_deleting(stores, "runs", more_than=0)
    await retention.forget_old(stores)
    left = [await count(stores, each) for each in ("runs", "diffs", "undos", "ticks")]
    assert left == [1, 0, 0, 0]
    (line,) = logged
    assert line.startswith("results.kept")
    assert "'kind': 'runs'" in line


async def test_runs_that_somebody_has_locked_are_left_for_later(stores: Stores) -> None:
    run_id = await ended_run(stores, days=91, findings=3)
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM runs WHERE id = $1 FOR UPDATE", run_id)
        await retention.forget_old(stores)
        assert await count(stores, "runs") == 1
    await retention.forget_old(stores)
    assert await count(stores, "runs") == 0


async def test_an_undo_that_took_something_back_is_kept_as_what_says_so(stores: Stores) -> None:
    await an_undo(stores, "refused", "refused")
    kept = {
        await an_undo(stores, "undone", "refused"),
        await an_undo(stores, "refused", days=89),
    }
    await retention.forget_old(stores)
    assert {row["id"] for row in await stores.core.fetch("SELECT id FROM undos")} == kept
    assert await count(stores, "undo_items") == 3
