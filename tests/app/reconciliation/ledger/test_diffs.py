"""Diffs while looks record, end and operators decide them at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import asyncpg
import pytest

from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, suspects
from app.reconciliation.ledger.diffs import Ending, Found
from app.reconciliation.ledger.suspects import Suspect
from app.reconciliation.ledger.views import DiffView
from app.reconciliation.resolve import FieldDiff, Kind, Verdict
from app.stores.connections import Stores

WHY = {"by": "test", "reason": "test"}
ENTITY = "customers"


def a_verdict(value: str = "King") -> Verdict:
    return Verdict(
        Kind.FIELDS, (FieldDiff("last_name", value, "Lovelace", "review", None),), review="undecided"
    )


def found(key: str, over: DiffView | None = None, *, run_id: UUID | None = None, **told: str) -> Found:
    suspect = Suspect(ENTITY, key, "event", run_id, "incremental", 1, 0, uuid4())
    return Found(suspect, a_verdict(), told.pop("status", "in_review"), over, **told)


async def opened(stores: Stores, *keys: str) -> list[DiffView]:
    """Diffs in review, opened in the order of `keys`."""
    for key in keys:
        await diffs.put(stores.core, [found(key)])
    standing = await diffs.standing(stores.core, ENTITY, keys)
    return [standing[key] for key in keys]


async def statuses(stores: Stores) -> list[str]:
    return [each.status for each in (await diffs.list_diffs(stores)).items]


@asynccontextmanager
async def facts_held_up(stores: Stores) -> AsyncIterator[None]:
    """Whoever records a fact waits, with all that it has locked, until this ends."""
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE audit_outbox IN EXCLUSIVE MODE")
        yield


async def in_the_meantime(work: Awaitable[object]) -> "asyncio.Future[object]":
    """Begin it, and give it time to get to where it has to wait."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=0.3)
    return task


async def test_a_look_that_waited_for_a_rejection_records_nothing(stores: Stores) -> None:
    (seen,) = await opened(stores, "a")
    async with facts_held_up(stores):
        rejecting = await in_the_meantime(decisions.reject(stores, [seen.id], **WHY))
        looking = await in_the_meantime(diffs.put(stores.core, [found("a", seen, status="open")]))
        assert not looking.done()
    await rejecting
    assert await looking == [None]
    assert await statuses(stores) == ["rejected"]


async def test_a_look_that_saw_nothing_records_nothing_over_what_was_rejected_since(stores: Stores) -> None:
    (seen,) = await opened(stores, "a")
    await decisions.reject(stores, [seen.id], **WHY)
    assert await diffs.put(stores.core, [found("a", status="open")]) == [None]
    assert await statuses(stores) == ["rejected"]


async def test_of_looks_that_open_a_diff_at_once_one_does(stores: Stores) -> None:
    looks = (diffs.put(stores.core, [found(key) for key in ("a", "b", "c")]) for _ in range(8))
    answers = await asyncio.gather(*looks)
    for own in zip(*answers, strict=True):
        assert sum(each is not None for each in own) == 1
    assert await statuses(stores) == ["in_review"] * 3


async def reject(stores: Stores, known: Sequence[DiffView]) -> None:
    await decisions.reject(stores, [each.id for each in known], **WHY)


async def approve(stores: Stores, known: Sequence[DiffView]) -> None:
    await decisions.approve(stores, [each.id for each in known], side="document", **WHY)


async def close(stores: Stores, known: Sequence[DiffView]) -> None:
    await diffs.close(stores.core, [Ending(each.id, "repaired") for each in known])


async def put(stores: Stores, known: Sequence[DiffView]) -> None:
    await diffs.put(stores.core, [found(each.key, each) for each in known])


Act = Callable[[Stores, Sequence[DiffView]], Awaitable[None]]


async def is_free(stores: Stores, table: str, key: str) -> bool:
    rows = await stores.core.fetch(f"SELECT FROM {table} WHERE key = $1 FOR UPDATE SKIP LOCKED", key)
    return len(rows) == 1


async def hold(connection: asyncpg.Connection, table: str, key: str) -> None:
    await connection.execute(f"SELECT FROM {table} WHERE key = $1 FOR UPDATE", key)


@pytest.mark.parametrize("act", [reject, approve, close, put])
async def test_whoever_locks_several_diffs_begins_with_the_first_key(stores: Stores, act: Act) -> None:
    # As PostgreSQL's usual collations do not order them, nor as they were opened.
    known = await opened(stores, "a", "b", "B")
    async with stores.core.acquire() as connection, connection.transaction():
        await hold(connection, "diffs", "B")
        acting = await in_the_meantime(act(stores, known))
        assert not acting.done()
        assert [await is_free(stores, "diffs", key) for key in ("a", "b")] == [True, True]
    await acting


async def test_an_approval_of_diffs_of_several_runs_locks_their_suspects_in_the_one_order(
    stores: Stores,
) -> None:
    first, second = UUID(int=1), UUID(int=2)
    await diffs.put(stores.core, [found("a", run_id=second), found("b", run_id=first)])
    known = await diffs.standing(stores.core, ENTITY, ["a", "b"])
    await suspects.nominate(stores.core, ENTITY, ["a", "b"], cause="event")
    async with stores.core.acquire() as connection, connection.transaction():
        await hold(connection, "suspects", "a")
        approving = await in_the_meantime(approve(stores, list(known.values())))
        assert await is_free(stores, "suspects", "b")
    await approving
    rows = await stores.core.fetch("SELECT key, run_id, cause FROM suspects ORDER BY key")
    assert [tuple(row) for row in rows] == [
        ("a", second, "approved by test"),
        ("b", first, "approved by test"),
    ]


async def test_what_postgresql_cannot_hold_is_shown_as_its_picture(stores: Stores) -> None:
    suspect = found("a").suspect
    (diff_id,) = await diffs.put(
        stores.core, [Found(suspect, a_verdict("Ki\0ng"), "in_review", None, "no\0thing")]
    )
    assert diff_id
    diff = await diffs.get_diff(stores, diff_id)
    assert (diff.fields[0].document, diff.reason) == ("Ki\u2400ng", "no\u2400thing")
    await diffs.close(stores.core, [Ending(diff_id, "in_review", "rejected: \0")])
    assert (await diffs.get_diff(stores, diff_id)).reason == "rejected: \u2400"


async def test_deciding_about_many_diffs_records_their_facts_in_one_statement(stores: Stores) -> None:
    await stores.core.execute(
        """
        CREATE TABLE statements (number bigint);
        CREATE FUNCTION count_facts() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO statements SELECT count(*) FROM fresh; RETURN NULL; END $$;
        CREATE TRIGGER counted AFTER INSERT ON audit_outbox REFERENCING NEW TABLE AS fresh
            FOR EACH STATEMENT EXECUTE FUNCTION count_facts()
        """
    )
    keys = [f"{number:03}" for number in range(100)]
    await diffs.put(stores.core, [found(key) for key in keys])
    known = await diffs.standing(stores.core, ENTITY, keys)
    await reject(stores, [known[key] for key in reversed(keys)])
    assert [row["number"] for row in await stores.core.fetch("SELECT * FROM statements")] == [100]
    rows = await stores.core.fetch("SELECT entry ->> 'key' AS key FROM audit_outbox ORDER BY position")
    assert [row["key"] for row in rows] == keys[::-1]
