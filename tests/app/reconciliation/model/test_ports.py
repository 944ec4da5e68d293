"""The model stores of the schedules keep the same rules as the real ones: each test runs on both."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.audit.entries import IntentEntry, Outcome, OutcomeEntry
from app.audit.store import AuditPort, AuditStore
from app.reconciliation.entities import CUSTOMERS
from app.reconciliation.ledger import diffs as real_diffs
from app.reconciliation.ledger.diffs import Ending, Found
from app.reconciliation.ledger.suspects import Postponed, Suspect
from app.reconciliation.mapping import Side
from app.reconciliation.repairing.work import CoreWork, WorkPort
from app.reconciliation.resolve import Action, Kind, Plan, Verdict
from app.reconciliation.sides.ports import ABSENT, SidePort, Write
from app.reconciliation.sides.records import entity_sides
from app.stores.connections import Stores
from tests.app.reconciliation.model.stores import ModelAudit, ModelSide, ModelWork
from tests.app.reconciliation.model.turns import Clock

KEYS = [str(UUID(int=number)) for number in (1, 2, 3)]
MINUTE = 60.0


@pytest.fixture(params=["model", "real"])
async def work(request: pytest.FixtureRequest, stores: Stores) -> WorkPort:
    return ModelWork(Clock()) if request.param == "model" else CoreWork(stores)


async def claim(work: WorkPort, *, seconds: float = MINUTE) -> list[Suspect]:
    if isinstance(work, ModelWork):
        work.clock.advance(0.001)
    return sorted(await work.claim("customers", limit=10, lease_seconds=seconds), key=lambda each: each.key)


async def nominate(work: WorkPort, *keys: str, cause: str = "event") -> None:
    await work.nominate("customers", keys, cause=cause, mode="incremental", run_id=None)


def a_verdict(value: str = "a") -> Verdict:
    return Verdict(Kind.FIELDS, review="somebody must look", present={"first_name": value})


async def test_a_suspect_is_claimed_once_until_its_lease_is_over(work: WorkPort) -> None:
    await nominate(work, *KEYS[:2])
    first = await claim(work, seconds=-1)
    second = await claim(work)
    assert [each.key for each in first] == [each.key for each in second] == KEYS[:2]
    assert await claim(work) == []
    await work.dismiss(first)
    assert await work.next_due(["customers"]) is not None or isinstance(work, CoreWork), "its lease was lost"
    await work.dismiss(second)
    assert await claim(work) == []
    assert await work.next_due(["customers"]) is None


async def test_a_nomination_during_a_look_leads_to_another_look(work: WorkPort) -> None:
    await nominate(work, KEYS[0])
    claimed = await claim(work)
    await nominate(work, KEYS[0])
    await work.dismiss(claimed)
    again = await claim(work)
    assert [each.nominations for each in again] == [2]
    await nominate(work, KEYS[0])
    await work.postpone([Postponed(again[0], MINUTE, "something")])
    assert len(await claim(work)) == 1


async def test_a_postponed_suspect_uses_up_patience_unless_it_does_not_count(work: WorkPort) -> None:
    await nominate(work, KEYS[0])
    (first,) = await claim(work)
    await work.postpone([Postponed(first, 0, "one")])
    (second,) = await claim(work)
    await work.postpone([Postponed(second, 0, "two", counts=False)])
    (third,) = await claim(work)
    await work.postpone([Postponed(third, MINUTE, "three")])
    assert (first.attempts, second.attempts, third.attempts) == (0, 1, 1)
    assert await claim(work) == []
    await work.hasten(["three"])
    assert [each.attempts for each in await claim(work)] == [2]


@pytest.mark.parametrize(("waiting_for", "attempts"), [("the record to settle", 1), ("a customer", 0)])
async def test_an_event_renews_patience_but_not_with_a_record_that_will_not_settle(
    work: WorkPort, waiting_for: str, attempts: int
) -> None:
    await nominate(work, KEYS[0])
    (first,) = await claim(work)
    await work.postpone([Postponed(first, MINUTE, waiting_for)])
    await nominate(work, KEYS[0])
    await nominate(work, KEYS[0])
    assert [each.attempts for each in await claim(work)] == [attempts]


async def test_a_diff_is_renewed_by_who_saw_it_and_nobody_else(work: WorkPort) -> None:
    await nominate(work, *KEYS)
    one, two, three = await claim(work)
    first_id, other_id = await work.put(
        [Found(one, a_verdict(), "in_review", None), Found(two, a_verdict(), "open", None)]
    )
    assert first_id
    assert other_id
    assert await work.put([Found(one, a_verdict(), "open", None)]) == [None], "one that was not seen stands"
    standing = (await work.standing("customers", KEYS))[one.key]
    assert (standing.id, standing.status, standing.reason) == (first_id, "in_review", "somebody must look")
    renewed = await work.put(
        [Found(three, a_verdict(), "open", None), Found(one, a_verdict("b"), "open", standing, "because")]
    )
    assert renewed[1] == first_id
    now_standing = (await work.standing("customers", KEYS))[one.key]
    assert (now_standing.status, now_standing.reason) == ("open", "because")
    assert now_standing.fingerprint != standing.fingerprint
    assert await work.put([Found(one, a_verdict(), "open", standing)]) == [None], (
        "its status has changed since"
    )


async def test_a_diff_that_has_ended_stays_ended_and_the_next_one_is_new(work: WorkPort) -> None:
    await nominate(work, KEYS[0])
    (one,) = await claim(work)
    (first_id,) = await work.put([Found(one, a_verdict(), "open", None)])
    assert first_id
    await work.close([Ending(first_id, "repaired")])
    await work.close([Ending(first_id, "in_review", "too late")])
    assert await work.standing("customers", KEYS) == {}
    (second_id,) = await work.put([Found(one, a_verdict(), "rejected", None)])
    assert second_id != first_id
    assert (await work.standing("customers", KEYS))[one.key].id == second_id


@dataclass
class Pair:
    """One side of customers, and a way to see what it holds."""

    port: SidePort
    side: Side


@pytest.fixture(params=["model document", "model relational", "real document", "real relational"])
async def pair(request: pytest.FixtureRequest, stores: Stores) -> Pair:
    kind, name = request.param.split()
    side = Side(name)
    if kind == "model":
        return Pair(ModelSide(CUSTOMERS, side, Clock(), lambda *_told: None), side)
    return Pair(getattr(entity_sides(stores, CUSTOMERS), name), side)


LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


def values(**changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {each.name: "x" for each in CUSTOMERS.compared_fields}
    dates = {"date_of_birth": LONG_AGO.date(), "created_at": LONG_AGO}
    return known | dates | {"is_vip": False} | {"email": f"{uuid4().hex}@example.com"} | changes


def create(side: Side, key: str, **changes: Any) -> Write:
    return Write(key, Plan(side, Action.CREATE, values(**changes), {}), ABSENT, LONG_AGO)


async def outcomes(port: SidePort, *writes: Write) -> list[Outcome | None]:
    return [written and written.outcome for written in await port.write(writes, until=UNTIL)]


async def test_a_write_holds_only_for_what_was_read(pair: Pair) -> None:
    port, side = pair.port, pair.side
    assert await outcomes(port, create(side, KEYS[0]), create(side, KEYS[1])) == [Outcome.APPLIED] * 2
    assert await outcomes(port, create(side, KEYS[0])) == [Outcome.SUPERSEDED]
    reading = (await port.read(KEYS))[KEYS[0]]
    assert (reading.record or {})["first_name"] == "x"
    assert reading.updated_at == LONG_AGO
    update = Write(
        KEYS[0], Plan(side, Action.UPDATE, {"first_name": "y"}, {}), reading, LONG_AGO + timedelta(1)
    )
    remove = Write(KEYS[0], Plan(side, Action.REMOVE, {}, {}), reading, None)
    assert await outcomes(port, update) == [Outcome.APPLIED]
    assert await outcomes(port, replace(update, plan=remove.plan)) == [Outcome.SUPERSEDED]
    again = (await port.read(KEYS))[KEYS[0]]
    assert ((again.record or {})["first_name"], again.updated_at) == ("y", LONG_AGO + timedelta(1))
    assert await outcomes(port, replace(remove, reading=again)) == [Outcome.APPLIED]
    assert await port.existing(KEYS) == {KEYS[1]}


@pytest.mark.parametrize("kind", ["model", "real"])
async def test_a_late_write_to_the_relational_side_takes_no_effect(kind: str, stores: Stores) -> None:
    side = Side.RELATIONAL
    model = ModelSide(CUSTOMERS, side, Clock(), lambda *_told: None)
    port: SidePort = model if kind == "model" else entity_sides(stores, CUSTOMERS).relational
    await port.write([create(side, KEYS[0])], until=UNTIL)
    reading = (await port.read(KEYS))[KEYS[0]]
    update = Write(KEYS[0], Plan(side, Action.UPDATE, {"first_name": "y"}, {}), reading, None)
    remove = Write(KEYS[0], Plan(side, Action.REMOVE, {}, {}), reading, None)
    for write in (update, remove, create(side, KEYS[1])):
        (written,) = await port.write([write], until=LONG_AGO)
        assert written
        assert written.outcome is Outcome.SUPERSEDED
    found = await port.read(KEYS)
    assert [(each.record or {})["first_name"] for each in found.values()] == ["x"]


@pytest.fixture(params=["model", "real"])
async def audit(request: pytest.FixtureRequest, stores: Stores) -> AuditPort:
    return ModelAudit() if request.param == "model" else AuditStore.of(stores)


def intent(key: str = KEYS[0]) -> IntentEntry:
    return IntentEntry(
        id=uuid4(),
        at=LONG_AGO,
        deadline=LONG_AGO,
        entity="customers",
        key=key,
        side="document",
        action="update",
        before={"first_name": "x"},
        after={"first_name": "y"},
        policy={},
        cause="test",
        diff_id=uuid4(),
        run_id=None,
    )


async def test_an_entry_is_kept_once_and_an_outcome_needs_an_open_intent(audit: AuditPort) -> None:
    first, second = intent(), intent(KEYS[1])
    ended = OutcomeEntry(id=first.id, at=LONG_AGO, outcome=Outcome.APPLIED)
    unknown: Callable[[], OutcomeEntry] = lambda: replace_id(ended)  # noqa: E731
    await audit.append([unknown(), first, second])
    await audit.append([first])
    assert await open_of(audit, *KEYS) == {first.id, second.id}
    await audit.append([ended])
    await audit.append([OutcomeEntry(id=first.id, at=LONG_AGO, outcome=Outcome.REJECTED)])
    assert await open_of(audit, *KEYS) == {second.id}
    (own,) = await audit.changes(entity="customers", key=KEYS[0])
    assert own.outcome
    assert own.outcome.outcome is Outcome.APPLIED
    assert [each.intent.id for each in await audit.changes()] == [second.id, first.id]


async def test_open_intents_are_found_by_their_records(audit: AuditPort) -> None:
    assert await open_of(audit, *KEYS) == set()
    old, older, other = intent(), intent(), intent(KEYS[1])
    await audit.append([older, old, other, OutcomeEntry(id=older.id, at=LONG_AGO, outcome=Outcome.APPLIED)])
    assert await open_of(audit, KEYS[0]) == {old.id}
    late = intent()
    await audit.append([late])
    assert await open_of(audit, KEYS[0], KEYS[2]) == {old.id, late.id}
    assert await open_of(audit, KEYS[2]) == await open_of(audit) == set()
    assert await audit.open_intents_of("launches", KEYS) == []


async def open_of(audit: AuditPort, *keys: str) -> set[UUID]:
    return {each.id for each in await audit.open_intents_of("customers", keys)}


def replace_id(ended: OutcomeEntry) -> OutcomeEntry:
    return OutcomeEntry(id=uuid4(), at=ended.at, outcome=ended.outcome)


def test_the_models_have_every_method_of_their_ports() -> None:
    for port, model in ((WorkPort, ModelWork), (SidePort, ModelSide), (AuditPort, ModelAudit)):
        asked = {name for name in vars(port) if not name.startswith("_")}
        assert asked <= set(dir(model))
    assert real_diffs.OPEN
