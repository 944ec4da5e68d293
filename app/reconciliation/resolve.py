"""What to do about one record, decided from what both sides hold. Pure: it reads nothing and writes nothing."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, assert_never

from app.reconciliation.mapping import Authority, Derived, Field, Mapping, Missing, Precedence, Review, Side
from app.reconciliation.values import Record, Unreadable, Value, spell

SEVERAL = Unreadable("one of several records that have this key")
"""Stands for every field of a record of which a side has several. Nothing is ever written by it or over it."""


class Kind(StrEnum):
    """How the two sides disagree about a record."""

    EQUAL = "equal"
    FIELDS = "fields"
    MISSING_DOCUMENT = "missing_document"
    MISSING_RELATIONAL = "missing_relational"
    MISSING_BOTH = "missing_both"


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    REMOVE = "remove"


@dataclass(frozen=True)
class FieldDiff:
    """A field that differs: `winner` is the side whose value both get, None where nobody can say."""

    name: str
    document: Value
    relational: Value
    rule: str
    winner: Side | None
    value: Value = None


@dataclass(frozen=True)
class Plan:
    """One write towards one side: the values it sets, all of a record for CREATE, none for REMOVE.

    `why` says by what rule, field by field; for a whole record under the name `record`.
    """

    side: Side
    action: Action
    values: Record
    why: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """What one look at a record found. No plans and no reason: nothing to do."""

    kind: Kind
    fields: tuple[FieldDiff, ...] = ()
    plans: tuple[Plan, ...] = ()
    review: str | None = None
    present: Record | None = None
    """The record of the side that has it, where the other one lacks it."""

    @cached_property
    def fingerprint(self) -> str:
        """Tells whether a discrepancy is still the one that was seen before."""
        seen: list[Any] = [self.kind]
        seen += [[name, spell(value)] for name, value in (self.present or {}).items()]
        seen += [[each.name, spell(each.document), spell(each.relational)] for each in self.fields]
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:32]


def resolve(
    mapping: Mapping,
    document: Record | None,
    relational: Record | None,
    *,
    derived: Record,
    decided: Side | None = None,
) -> Verdict:
    """The verdict on one record.

    `derived` holds what each derived field should be; one that cannot be told now is left out of it and out of the
    verdict. `decided` is the side that an operator chose where the rules alone ask for review. Not even an operator
    decides about a record of which a side has several.
    """
    verdict = _by_rules(mapping, document, relational, derived, decided)
    held = {Side.DOCUMENT: document, Side.RELATIONAL: relational}
    several = [f"the {side} side" for side, record in held.items() if record and SEVERAL in record.values()]
    if not several:
        return verdict
    fields = tuple(replace(each, winner=None, value=None) for each in verdict.fields)
    reason = f"several records on {' and '.join(several)} have this key: leave one"
    return replace(verdict, fields=fields, plans=(), review=reason)


def leaves_a_choice(mapping: Mapping, kind: str, winners: Iterable[str | None]) -> bool:
    """Whether choosing a side settles a diff: not where a rule has chosen and the write was refused, say.

    `kind` and `winners` are the diff's, the latter field by field.
    """
    match kind:
        case Kind.MISSING_DOCUMENT:
            return mapping.missing_document is Missing.REVIEW
        case Kind.MISSING_RELATIONAL:
            return mapping.missing_relational is Missing.REVIEW
        case Kind.FIELDS:
            return None in winners
        case _:
            return False


def _by_rules(
    mapping: Mapping,
    document: Record | None,
    relational: Record | None,
    derived: Record,
    decided: Side | None,
) -> Verdict:
    if document is None and relational is None:
        return Verdict(Kind.MISSING_BOTH)
    if document is None:
        assert relational is not None
        return _one_side(mapping, Side.RELATIONAL, relational, derived, decided)
    if relational is None:
        return _one_side(mapping, Side.DOCUMENT, document, derived, decided)
    return _both_sides(mapping, document, relational, derived, decided)


def _one_side(
    mapping: Mapping, present: Side, record: Record, derived: Record, decided: Side | None
) -> Verdict:
    absent = present.other
    kind = Kind.MISSING_DOCUMENT if absent is Side.DOCUMENT else Kind.MISSING_RELATIONAL
    match mapping.missing(absent):
        case Missing.REMOVE:
            wanted = Action.REMOVE
        case Missing.CREATE:
            wanted = Action.CREATE
        case Missing.REVIEW if decided is None:
            reason = f"gone from the {absent} side, which is right about {mapping.entity}"
            return Verdict(kind, review=reason, present=record)
        case Missing.REVIEW:
            wanted = Action.CREATE if decided is present else Action.REMOVE
    why = {"record": _operator_chose(decided) if decided else f"missing on the {absent} side: {wanted}"}
    if wanted is Action.REMOVE:
        return Verdict(kind, plans=(Plan(present, Action.REMOVE, {}, why),), present=record)
    unreadable = [name for name, value in record.items() if isinstance(value, Unreadable)]
    if unreadable:
        reason = f"cannot be created: unreadable on the {present} side: {', '.join(unreadable)}"
        return Verdict(kind, review=reason, present=record)
    values = {each.name: record[each.name] for each in mapping.compared_fields}
    if absent is Side.DOCUMENT:
        values |= derived
    return Verdict(kind, plans=(Plan(absent, Action.CREATE, values, why),), present=record)


def _both_sides(
    mapping: Mapping, document: Record, relational: Record, derived: Record, decided: Side | None
) -> Verdict:
    diffs = [
        _decide(each, document[each.name], relational[each.name], decided)
        for each in mapping.compared_fields
        if differ(document[each.name], relational[each.name])
    ]
    diffs += [
        _decide_derived(mapping.field_by_name[name], document[name], value)
        for name, value in derived.items()
        if differ(document[name], value)
    ]
    if not diffs:
        return Verdict(Kind.EQUAL)
    undecided = [each.name for each in diffs if each.winner is None]
    if undecided:
        return Verdict(Kind.FIELDS, tuple(diffs), review=f"no rule decides {', '.join(undecided)}")
    plans = (_update(side, [each for each in diffs if each.winner is side.other]) for side in Side)
    return Verdict(Kind.FIELDS, tuple(diffs), tuple(plan for plan in plans if plan.values))


def _update(side: Side, diffs: list[FieldDiff]) -> Plan:
    values = {each.name: each.value for each in diffs}
    return Plan(side, Action.UPDATE, values, {each.name: each.rule for each in diffs})


def differ(left: Value, right: Value) -> bool:
    """Whether two values disagree. Nothing agrees with an unreadable value, not even another one."""
    return isinstance(left, Unreadable) or isinstance(right, Unreadable) or left != right


def _decide(each: Field, document: Value, relational: Value, decided: Side | None) -> FieldDiff:
    winner, rule = _winner(each, document, relational), describe(each)
    if decided and (winner is None or isinstance(_of(winner, document, relational), Unreadable)):
        winner, rule = decided, _operator_chose(decided)
    value = _of(winner, document, relational) if winner else None
    if isinstance(value, Unreadable):
        winner, value = None, None
    return FieldDiff(each.name, document, relational, rule, winner, value)


def _operator_chose(side: Side) -> str:
    return f"an operator chose the {side} side"


def _decide_derived(each: Field, document: Value, expected: Value) -> FieldDiff:
    if isinstance(expected, Unreadable):
        return FieldDiff(each.name, document, expected, describe(each), None)
    return FieldDiff(each.name, document, expected, describe(each), Side.RELATIONAL, expected)


def _of(side: Side, document: Value, relational: Value) -> Value:
    return document if side is Side.DOCUMENT else relational


def _winner(each: Field, document: Value, relational: Value) -> Side | None:
    match each.rule:
        case Authority(side=side):
            return side
        case Precedence(beats=beats):
            if (document, relational) in beats:
                return Side.DOCUMENT
            return Side.RELATIONAL if (relational, document) in beats else None
        case Review() | Derived():
            return None
        case _:
            assert_never(each.rule)


def describe(each: Field) -> str:
    """The rule of a field in words, as diffs and changes carry it."""
    match each.rule:
        case Authority(side=side):
            return f"the {side} side is right"
        case Precedence(beats=beats):
            return "precedence: " + ", ".join(f"{winner} beats {loser}" for winner, loser in beats)
        case Derived(base=base, less=less):
            return f"derived: {base} less the {less.field} of {less.entity}"
        case Review():
            return "an operator decides"
        case _:
            assert_never(each.rule)
