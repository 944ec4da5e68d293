"""The audit store, against a real server."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from app.audit.entries import Fact, IntentEntry, Outcome, OutcomeEntry
from app.audit.outbox import record, relay
from app.audit.store import AuditStore
from app.stores.connections import Stores

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def intent(key: str = "a", run_id: UUID | None = None) -> IntentEntry:
    return IntentEntry(
        id=uuid4(), at=NOW, deadline=NOW + timedelta(seconds=10), entity="customers", key=key, side="relational",
        action="update", before={"x": 1}, after={"x": 2}, policy={"x": "the document side is right"}, cause="test",
        diff_id=uuid4(), run_id=run_id,
    )  # fmt: skip


@pytest.fixture
def audit(stores: Stores) -> AuditStore:
    return AuditStore(stores.audit, stores.settings.namespace)


async def test_an_intent_is_open_until_its_outcome_comes(audit: AuditStore) -> None:
    tried = intent()
    await audit.append([tried])
    assert await audit.open_intents() == [tried]
    await audit.append([OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)])
    assert await audit.open_intents() == []
    (change,) = await audit.changes()
    assert change.outcome.outcome is Outcome.APPLIED


async def test_whatever_is_sent_twice_is_kept_once(audit: AuditStore) -> None:
    tried = intent()
    ended = OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)
    assert await audit.append([tried, tried, ended]) == 2
    assert await audit.append([tried, ended]) == 0


async def test_the_first_outcome_of_a_change_stays_its_only_one(audit: AuditStore) -> None:
    tried = intent()
    await audit.append([tried, OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.SUPERSEDED)])
    assert await audit.append([OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)]) == 0
    (change,) = await audit.changes()
    assert change.outcome.outcome is Outcome.SUPERSEDED


async def test_an_outcome_without_an_intent_is_refused(audit: AuditStore) -> None:
    assert await audit.append([OutcomeEntry(id=uuid4(), at=NOW, outcome=Outcome.APPLIED)]) == 0


async def test_changes_are_found_by_record_run_and_entity_newest_first(audit: AuditStore) -> None:
    run = uuid4()
    first, second, third = intent("a"), intent("b", run), intent("a", run)
    await audit.append([first, second, third])
    assert [each.intent for each in await audit.changes()] == [third, second, first]
    assert [each.intent for each in await audit.changes(entity="customers", key="a")] == [third, first]
    assert [each.intent for each in await audit.changes(run_id=run)] == [third, second]
    page = await audit.changes(limit=1)
    assert [each.intent for each in await audit.changes(before=page[0].sequence, limit=1)] == [second]


async def test_facts_are_relayed_once_and_only_if_their_transaction_held(
    stores: Stores, audit: AuditStore
) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        await record(connection, Fact.JOB_CHANGED, by="test", target="customers-full", reason="why not")
    with pytest.raises(ZeroDivisionError):
        await _record_and_fail(stores)
    assert await relay(stores.core, audit) == 1
    assert await relay(stores.core, audit) == 0
    assert await stores.audit.xlen(f"{stores.settings.namespace}:audit:entries") == 1


async def _record_and_fail(stores: Stores) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        await record(connection, Fact.JOB_CHANGED, by="test", target="bookings-full")
        _ = 1 / 0


async def test_changes_are_found_by_their_ids(audit: AuditStore) -> None:
    first, second = intent("a"), intent("b")
    await audit.append([first, second, OutcomeEntry(id=second.id, at=NOW, outcome=Outcome.APPLIED)])

    found = await audit.changes_by_id([second.id, uuid4(), first.id])

    assert {each: found[each].intent.key for each in found} == {first.id: "a", second.id: "b"}
    assert found[first.id].outcome is None
    assert found[second.id].outcome.outcome is Outcome.APPLIED
    assert found[second.id].sequence == 2
    assert await audit.changes_by_id([]) == {}
