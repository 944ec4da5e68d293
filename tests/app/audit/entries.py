"""Entries for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from app.audit.entries import Fact, FactEntry, IntentEntry, Outcome, OutcomeEntry

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def intent(key: str = "a", run_id: UUID | None = None, **about: Any) -> IntentEntry:
    told = {"at": NOW, "deadline": later(10), "entity": "customers", "side": "relational"} | about
    return IntentEntry(
        id=uuid4(), key=key, action="update", before={"x": 1}, after={"x": 2}, run_id=run_id, diff_id=uuid4(),
        policy={"x": "the document side is right"}, cause="test", **told,
    )  # fmt: skip


def end(tried: IntentEntry, outcome: Outcome = Outcome.APPLIED, at: datetime = NOW) -> OutcomeEntry:
    return OutcomeEntry(id=tried.id, at=at, outcome=outcome)


def fact(name: Fact = Fact.JOB_CHANGED, *, actor: str = "ann", at: datetime = NOW, **about: Any) -> FactEntry:
    return FactEntry(id=uuid4(), at=at, name=name, actor=actor, target="customers-full", **about)
