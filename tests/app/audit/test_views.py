"""Entries as people read them."""

from uuid import UUID

import pytest

from app.audit.entries import Fact, Kind, Outcome, OutcomeEntry
from app.audit.views import PHRASES, Found, tell, view
from tests.app.audit.entries import NOW, end, fact, intent


def test_every_fact_has_its_words() -> None:
    assert PHRASES.keys() == set(Fact)


@pytest.mark.parametrize("name", Fact)
def test_a_fact_is_told_in_words_with_its_target_and_reason(name: Fact) -> None:
    told = tell(fact(name, reason="why not"))
    assert told.endswith(": why not")
    assert "customers-full" in told
    assert "{" not in told


def test_a_change_is_told_with_the_fields_and_without_their_values() -> None:
    tried = intent("K-1")
    assert tell(tried) == "about to update customers K-1 on the relational side (x): test"
    ended = OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.REJECTED, detail="customers_email_key")
    assert (
        tell(ended, tried) == "update customers K-1 on the relational side (x): rejected, customers_email_key"
    )
    assert tell(ended) == f"change {tried.id}: rejected, customers_email_key"


def test_an_outcome_is_about_what_its_intent_is_about() -> None:
    tried = intent("K-1", UUID(int=7))
    shown = view(Found(3, end(tried), tried))
    assert (shown.kind, shown.entity, shown.key, shown.run_id) == (
        Kind.OUTCOME,
        "customers",
        "K-1",
        UUID(int=7),
    )
    assert view(Found(3, end(tried))).entity is None


def test_a_fact_shows_its_name_and_actor() -> None:
    shown = view(Found(3, fact(Fact.HOLD_PLACED, actor="ann", entity="customers", key="a")))
    assert (shown.name, shown.actor, shown.entity, shown.key) == (Fact.HOLD_PLACED, "ann", "customers", "a")
