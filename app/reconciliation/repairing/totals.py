"""Derived fields: what they should be, from the records that refer to theirs.

The document side is right about those records, but only once they are reconciled themselves: a derived field that
differs is believed when none of them is waiting for a repair, else it waits for them.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.reconciliation.mapping import Authority, Derived, Mapping, Side, Total
from app.reconciliation.resolve import differ, resolve
from app.reconciliation.sides.ports import ABSENT, Reading
from app.reconciliation.sides.records import EntitySides
from app.reconciliation.values import Record, Unreadable, Value

# (entity, keys) -> those of the keys that nobody will repair before an operator has decided.
LeftAlone = Callable[[str, list[str]], Awaitable[set[str]]]


@dataclass
class Expected:
    """What the derived fields of one record should be; `unsettled` are the records that they wait for."""

    values: Record = field(default_factory=dict)
    unsettled: dict[str, set[str]] = field(default_factory=dict)
    """By entity, the keys of the records that disagree between the sides."""


async def expect(
    mapping: Mapping,
    records: dict[str, tuple[Reading, Reading]],
    referring: dict[str, EntitySides],
    *,
    left_alone: LeftAlone,
) -> dict[str, Expected]:
    """The derived fields of records, each given as (document reading, relational reading).

    `left_alone` tells which of some records wait for an operator: those are counted as the document side has them.
    """
    expected = {key: Expected() for key in records}
    for each in mapping.derived_fields:
        assert isinstance(each.rule, Derived)
        sides = referring[each.rule.less.entity]
        held = await sides.document.read_referring(each.rule.less.reference, list(records))
        totals = _sum(each.rule.less, held)
        doubtful: list[str] = []
        for key, (document, relational) in records.items():
            value = _less(_base(mapping, each.rule.base, document, relational), totals.get(key, 0))
            expected[key].values[each.name] = value
            if document.record and relational.record and differ(document.record[each.name], value):
                doubtful.append(key)
        await _withhold_unsettled(
            each.name,
            each.rule.less,
            doubtful,
            held=held,
            sides=sides,
            expected=expected,
            left_alone=left_alone,
        )
    return expected


async def _withhold_unsettled(
    name: str,
    total: Total,
    doubtful: Sequence[str],
    *,
    held: dict[str, Reading],
    sides: EntitySides,
    expected: dict[str, Expected],
    left_alone: LeftAlone,
) -> None:
    if not doubtful:
        return
    relational = await sides.relational.read_referring(total.reference, doubtful)
    # A record may refer to different ones on its two sides; the whole record is needed to judge it.
    document = held | await sides.document.read(
        [key for key in relational if key not in held and sides.mapping.is_key(key)]
    )
    relational |= await sides.relational.read(
        [key for key in held if key not in relational and sides.mapping.is_key(key)]
    )
    disagreeing = {
        key: (document.get(key, ABSENT), relational.get(key, ABSENT))
        for key in document.keys() | relational.keys()
        if _would_be_repaired(sides.mapping, document.get(key, ABSENT), relational.get(key, ABSENT))
    }
    for key in await left_alone(total.entity, list(disagreeing)):
        del disagreeing[key]
    for key, (here, there) in disagreeing.items():
        for reading in (here, there):
            referred = str(reading.record[total.reference]) if reading.record else ""
            if referred in doubtful:
                expected[referred].unsettled.setdefault(total.entity, set()).add(key)
                expected[referred].values.pop(name, None)


def _would_be_repaired(mapping: Mapping, document: Reading, relational: Reading) -> bool:
    return bool(resolve(mapping, document.record, relational.record, derived={}).plans)


def _sum(total: Total, held: dict[str, Reading]) -> dict[str, int | Unreadable]:
    sums: dict[str, int | Unreadable] = {}
    for reading in held.values():
        assert reading.record is not None
        decides, counted = reading.record[total.where_field], reading.record[total.field]
        if isinstance(decides, Unreadable):
            counted = decides
        elif decides not in total.where_values:
            continue
        referred = str(reading.record[total.reference])
        so_far = sums.get(referred, 0)
        if isinstance(counted, int) and isinstance(so_far, int):
            sums[referred] = so_far + counted
        else:
            sums[referred] = Unreadable(f"a {total.field} of {total.entity}")
    return sums


def _base(mapping: Mapping, name: str, document: Reading, relational: Reading) -> Value:
    rule = mapping.field_by_name[name].rule
    assert isinstance(rule, Authority)
    right, other = (document, relational) if rule.side is Side.DOCUMENT else (relational, document)
    record = right.record or other.record
    return record[name] if record else None


def _less(base: Value, total: int | Unreadable) -> Value:
    if base is None or isinstance(base, Unreadable) or isinstance(total, Unreadable):
        return total if isinstance(total, Unreadable) else base
    return base - total if isinstance(base, int) else Unreadable(f"{base!r} is no number")
