"""Which other records a change touches."""

from collections.abc import Iterator

from app.audit.entries import IntentEntry
from app.reconciliation.mapping import Derived, Side, Total, mappings


def dependents(intent: IntentEntry) -> Iterator[tuple[str, set[str]]]:
    """Entities and keys whose derived fields follow from what a change writes on the document side."""
    if intent.side != Side.DOCUMENT:
        return
    for other in mappings().values():
        for each in other.derived_fields:
            assert isinstance(each.rule, Derived)
            if each.rule.less.entity == intent.entity and _touches(each.rule.less, intent):
                yield other.entity, _referred(each.rule.less, intent)


def _touches(total: Total, intent: IntentEntry) -> bool:
    if intent.before is None or intent.after is None:
        return True
    counted = (total.reference, total.field, total.where_field)
    return any(intent.before.get(name) != intent.after.get(name) for name in counted)


def _referred(total: Total, intent: IntentEntry) -> set[str]:
    values = {(record or {}).get(total.reference) for record in (intent.before, intent.after)}
    return {str(value) for value in values if value is not None}
