"""Who reads the audit is seen in it, once for each thing that they ask in ten minutes."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from app.audit import reads
from app.audit.entries import Fact, FactEntry
from app.audit.queries import EntryFilter, list_entries
from app.audit.reads import SLOT_SECONDS, record_read
from app.audit.store import AuditStore
from tests.app.audit.entries import NOW


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    def turn(instant: datetime) -> None:
        monkeypatch.setattr(reads, "now", lambda: instant)

    turn(NOW)
    return turn


async def told(audit: AuditStore) -> list[FactEntry]:
    found = await list_entries(audit, EntryFilter(), newest_first=False)
    return [each.entry for each in found.items if isinstance(each.entry, FactEntry)]


async def test_a_read_is_recorded_with_who_asked_what(audit: AuditStore, at: Any) -> None:
    filters = {"entity": "customers", "id": "a", "actor": None}
    await record_read(audit, Fact.RECORD_READ, by="ann", filters=filters, entity="customers", key="a")

    (fact,) = await told(audit)
    assert (fact.name, fact.actor, fact.at) == (Fact.RECORD_READ, "ann", NOW)
    assert fact.target == "entity customers, id a"
    assert fact.detail == {"entity": "customers", "id": "a"}
    assert await list_entries(audit, EntryFilter(entity="customers", key="a"))


async def test_the_same_read_is_recorded_once_in_ten_minutes(audit: AuditStore, at: Any) -> None:
    for seconds in (0, 1, SLOT_SECONDS - 1, SLOT_SECONDS, 2 * SLOT_SECONDS - 1):
        at(NOW + timedelta(seconds=seconds))
        await record_read(audit, Fact.AUDIT_READ, by="ann", filters={})

    assert [fact.at for fact in await told(audit)] == [NOW, NOW + timedelta(seconds=SLOT_SECONDS)]


async def test_another_person_question_or_kind_of_read_is_another_read(audit: AuditStore, at: Any) -> None:
    for name, by, filters in (
        (Fact.AUDIT_READ, "ann", {}),
        (Fact.AUDIT_READ, "bob", {}),
        (Fact.CHANGES_READ, "ann", {}),
        (Fact.AUDIT_READ, "ann", {"actor": "bob"}),
        (Fact.AUDIT_READ, "ann", {"name": "bob"}),
    ):
        await record_read(audit, name, by=by, filters=filters)

    assert len(await told(audit)) == 5
    assert (await told(audit))[0].target == "everything"


async def test_the_last_fifteen_minutes_are_one_question_however_often_they_are_asked(
    audit: AuditStore, at: Any
) -> None:
    for seconds in (0, 1, 2):
        at(NOW + timedelta(seconds=seconds))
        since = NOW + timedelta(seconds=seconds, minutes=-15, microseconds=7)
        await record_read(audit, Fact.AUDIT_READ, by="ann", filters={"since": since})
    (fact,) = await told(audit)
    assert fact.detail == {"since": str(NOW + timedelta(minutes=-15, microseconds=7))}
