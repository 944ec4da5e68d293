"""Which other records a change touches."""

from collections.abc import Iterator

from app.reconciliation.changes import Change
from app.reconciliation.mapping import Derived, Mapping, Side, Total, mappings


def dependents(mapping: Mapping, change: Change) -> Iterator[tuple[str, set[str]]]:
    """Entities and keys whose derived fields follow from what a change wrote on the document side."""
    if change.plan.side is not Side.DOCUMENT:
        return
    for other in mappings().values():
        for each in other.derived_fields:
            assert isinstance(each.rule, Derived)
            if each.rule.less.entity == mapping.entity and _touches(each.rule.less, change):
                yield other.entity, _referred(each.rule.less, change)


def _touches(total: Total, change: Change) -> bool:
    counted = {total.reference, total.field, total.where_field}
    return (
        change.reading.record is None or not change.plan.values or bool(counted & change.plan.values.keys())
    )


def _referred(total: Total, change: Change) -> set[str]:
    records = (change.reading.record or {}, change.plan.values)
    values = {record.get(total.reference) for record in records}
    return {str(value) for value in values if value is not None}
