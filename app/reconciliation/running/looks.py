"""One look at records of one side: does an invariant hold for each of them? Exact, one by one, read-only."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal
from typing import assert_never

from app.reconciliation.invariants import AtMost, Invariant, Product, Refers, referred_by
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.sides.ports import Reading
from app.reconciliation.sides.records import EntitySides
from app.reconciliation.values import Record, Unreadable, Value, spell

# Decimal128 has 34 digits, a count 19: their product is never rounded.
_EXACT = Context(prec=200)


@dataclass(frozen=True)
class Look:
    """How a record stands to an invariant on one side.

    `own` are the numbers that it says itself, `others` those of the records it is held against; `age` is that of the
    youngest change to any of them. `reason` is how it breaks the invariant; not `known`: nobody can tell.
    """

    own: Record
    others: Record = field(default_factory=dict)
    reason: str | None = None
    known: bool = True
    age: timedelta | None = None

    @property
    def values(self) -> Record:
        return self.own | self.others


Readings = dict[str, Reading]
"""Records that a side has, by key."""


async def look(
    every: dict[str, EntitySides], invariant: Invariant, side: Side, readings: Readings
) -> dict[str, Look]:
    """How these records of one side stand to an invariant of theirs; reads what it needs of other records."""
    form = invariant.form
    match form:
        case AtMost():
            port = every[form.total.entity].side(side)
            held = await port.read_referring(form.total.reference, list(readings)) if readings else {}
            return _totals(form, side, readings, held)
        case Refers():
            sides = every[referred_by(every[invariant.entity].mapping, form.field).entity]
            named = _keys(sides.mapping, readings, form.field)
            existing = await sides.side(side).existing(named) if named else set()
            return {
                key: _referring(form, side, sides.mapping, each, existing) for key, each in readings.items()
            }
        case Product():
            sides = every[referred_by(every[invariant.entity].mapping, form.reference).entity]
            named = _keys(sides.mapping, readings, form.reference)
            others = await sides.side(side).read(sorted(named)) if named else {}
            return {
                key: _multiplied(form, side, each, others.get(str(_record(each)[form.reference])))
                for key, each in readings.items()
            }
        case _:
            assert_never(form)


def _totals(form: AtMost, side: Side, readings: Readings, held: Readings) -> dict[str, Look]:
    counted: defaultdict[str, list[Reading]] = defaultdict(list)
    for each in held.values():
        decides = _record(each)[form.total.where_field]
        if decides in form.total.where_values or isinstance(decides, Unreadable):
            counted[str(_record(each)[form.total.reference])].append(each)
    return {key: _totalled(form, side, each, counted[key]) for key, each in readings.items()}


def _totalled(form: AtMost, side: Side, reading: Reading, counted: list[Reading]) -> Look:
    limit = _record(reading)[form.limit]
    numbers = [_number(form, _record(each)) for each in counted]
    total = sum(number for number in numbers if isinstance(number, int))
    own: Record = {form.limit: limit}
    if not isinstance(limit, int) or not all(isinstance(number, int) for number in numbers):
        return Look(own, known=False)
    reason = f"{total} {form.noun} of {limit} on the {side} side" if total > limit else None
    return Look(own, {form.noun: total}, reason, age=_youngest([reading, *counted]))


def _number(form: AtMost, record: Record) -> Value:
    """What a record adds to the total; the reason why nobody can tell, where that is so."""
    decides = record[form.total.where_field]
    return decides if isinstance(decides, Unreadable) else record[form.total.field]


def _referring(form: Refers, side: Side, mapping: Mapping, reading: Reading, existing: set[str]) -> Look:
    value = _record(reading)[form.field]
    reason = None
    if value is None:
        reason = f"{form.field} is empty on the {side} side"
    elif isinstance(value, Unreadable):
        reason = f"{form.field} cannot be read as a key of {mapping.entity} on the {side} side"
    elif str(value) not in existing:
        reason = f"{mapping.entity} {value} is not on the {side} side"
    return Look({form.field: value}, reason=reason, age=reading.age)


def _multiplied(form: Product, side: Side, reading: Reading, other: Reading | None) -> Look:
    record = _record(reading)
    total, factor = record[form.field], record[form.factor]
    own = {form.field: total, form.factor: factor}
    if other is None:
        return Look(own, known=False)
    price = _record(other)[form.price]
    if not (isinstance(total, Decimal) and isinstance(factor, int) and isinstance(price, Decimal)):
        return Look(own, known=False)
    if not _changed_before(other.updated_at, [record[name] for name in form.moments]):
        return Look(own, known=False)
    right = _EXACT.multiply(price, factor)
    reason = None
    if total != right:
        reason = f"{form.field} is {spell(total)}, not {spell(right)} ({factor} x {spell(price)}), on the {side} side"
    return Look(own, {form.price: price}, reason, age=_youngest([reading, other]))


def _changed_before(changed: datetime | None, moments: Iterable[Value]) -> bool:
    """Whether a change lies before all of these moments; a moment that is missing tells nothing."""
    return changed is not None and all(isinstance(each, datetime) and changed < each for each in moments)


def _keys(mapping: Mapping, readings: Readings, name: str) -> set[str]:
    values = (_record(each)[name] for each in readings.values())
    return {
        str(value)
        for value in values
        if value is not None and not isinstance(value, Unreadable) and mapping.is_key(str(value))
    }


def _youngest(readings: Iterable[Reading]) -> timedelta | None:
    return min((each.age for each in readings if each.age is not None), default=None)


def _record(reading: Reading) -> Record:
    assert reading.record is not None
    return reading.record
