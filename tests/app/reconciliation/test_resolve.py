"""Resolving is pure, idempotent and respects authority."""

import copy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reconciliation.entities import BOOKINGS, CUSTOMERS, LAUNCHES
from app.reconciliation.mapping import Authority, Mapping, Missing, Side
from app.reconciliation.resolve import Action, Kind, Verdict, differ, resolve
from app.reconciliation.values import Kind as ValueKind
from app.reconciliation.values import Record, Unreadable
from app.stores.vocabulary import BookingStatus

# Few values, so that the sides often agree and often clash.
VALUES = {
    ValueKind.UUID: [UUID(int=1), UUID(int=2)],
    ValueKind.TEXT: ["", "a", "а", *(status.value for status in BookingStatus)],
    ValueKind.INTEGER: [0, 1, 7],
    ValueKind.BOOLEAN: [True, False],
    ValueKind.DECIMAL: [Decimal(1), Decimal("1.00"), Decimal(2)],
    ValueKind.TIMESTAMP: [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(3)],
    ValueKind.DATE: [date(2026, 1, 1), date(2026, 1, 2)],
}


def records(mapping: Mapping, side: Side) -> st.SearchStrategy[Record]:
    return st.fixed_dictionaries(
        {
            each.name: st.sampled_from([None, Unreadable("int 5"), *VALUES[each.kind]])
            for each in mapping.fields
            if side is Side.DOCUMENT or each.expression
        }
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[Mapping, Record | None, Record | None, Record]:
    mapping = draw(st.sampled_from([CUSTOMERS, LAUNCHES, BOOKINGS]))
    document = draw(st.none() | records(mapping, Side.DOCUMENT))
    relational = draw(st.none() | records(mapping, Side.RELATIONAL))
    derived = {each.name: draw(st.integers(0, 9)) for each in mapping.derived_fields}
    return mapping, document, relational, derived


def carried_out(verdict: Verdict, document: Record | None, relational: Record | None):
    """Both sides after every plan of the verdict."""
    sides = {Side.DOCUMENT: document, Side.RELATIONAL: relational}
    for plan in verdict.plans:
        held = sides[plan.side]
        sides[plan.side] = None if plan.action is Action.REMOVE else {**(held or {}), **plan.values}
    return sides[Side.DOCUMENT], sides[Side.RELATIONAL]


@given(cases())
def test_resolving_changes_nothing_that_it_is_given_and_says_the_same_twice(case) -> None:
    before = copy.deepcopy(case)
    mapping, document, relational, derived = case
    first = resolve(mapping, document, relational, derived=derived)
    assert resolve(mapping, document, relational, derived=derived) == first
    assert case == before


@given(cases())
def test_carrying_out_a_verdict_leaves_nothing_to_resolve(case) -> None:
    mapping, document, relational, derived = case
    verdict = resolve(mapping, document, relational, derived=derived)
    if verdict.review:
        assert not verdict.plans
        return
    after = carried_out(verdict, document, relational)
    assert resolve(mapping, *after, derived=derived).kind in {Kind.EQUAL, Kind.MISSING_BOTH}


@given(cases(), st.sampled_from(Side))
def test_an_operators_decision_leaves_nothing_to_resolve_either(case, side: Side) -> None:
    mapping, document, relational, derived = case
    verdict = resolve(mapping, document, relational, derived=derived, decided=side)
    if not verdict.review:
        after = carried_out(verdict, document, relational)
        assert resolve(mapping, *after, derived=derived).kind in {Kind.EQUAL, Kind.MISSING_BOTH}


@given(cases())
def test_no_write_ever_changes_a_field_on_the_side_that_is_right_about_it(case) -> None:
    mapping, document, relational, derived = case
    verdict = resolve(mapping, document, relational, derived=derived)
    for plan in verdict.plans:
        if plan.action is not Action.UPDATE:
            continue
        for name in plan.values:
            assert mapping.field_by_name[name].rule != Authority(plan.side)


@given(cases())
def test_nothing_is_removed_unless_the_mapping_says_so(case) -> None:
    mapping, document, relational, derived = case
    for plan in resolve(mapping, document, relational, derived=derived).plans:
        if plan.action is Action.REMOVE:
            assert mapping.missing(plan.side.other) is Missing.REMOVE


@given(cases())
def test_equal_is_said_only_when_every_field_agrees(case) -> None:
    mapping, document, relational, derived = case
    if resolve(mapping, document, relational, derived=derived).kind is not Kind.EQUAL:
        return
    assert document is not None
    assert relational is not None
    assert not any(differ(document[each.name], relational[each.name]) for each in mapping.compared_fields)
    assert all(document[name] == value for name, value in derived.items())


@pytest.mark.parametrize(
    ("document", "relational", "winner"),
    [
        ("Confirmed", "Cancelled", Side.RELATIONAL),
        ("Cancelled", "Confirmed", Side.DOCUMENT),
        ("Confirmed", "Completed", Side.RELATIONAL),
        ("Cancelled", "Completed", None),
    ],
)
def test_a_status_is_settled_by_precedence_or_by_an_operator(document, relational, winner) -> None:
    record = {each.name: None for each in BOOKINGS.fields}
    verdict = resolve(BOOKINGS, record | {"status": document}, record | {"status": relational}, derived={})
    assert verdict.fields[0].winner is winner
    assert bool(verdict.review) is (winner is None)


def test_a_look_alike_letter_differs() -> None:
    record = {each.name: None for each in CUSTOMERS.fields}
    verdict = resolve(CUSTOMERS, record | {"first_name": "Anna"}, record | {"first_name": "Аnna"}, derived={})
    assert [each.name for each in verdict.fields] == ["first_name"]


def test_the_scale_of_a_decimal_is_no_difference() -> None:
    assert not differ(Decimal("1.0"), Decimal("1.00"))
