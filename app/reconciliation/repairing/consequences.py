"""Which other records a change touches."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol
from uuid import UUID

from app.audit.entries import IntentEntry
from app.reconciliation.mapping import Derived, Side, Total, mapping_of, mappings
from app.reconciliation.values import Record


class Nominate(Protocol):
    async def __call__(
        self, entity: str, keys: Iterable[str], *, cause: str, mode: str, run_id: UUID | None
    ) -> None: ...


async def nominate_dependents(nominate: Nominate, written: Sequence[IntentEntry]) -> None:
    """Have the records looked at that follow from what was written, on behalf of whoever may repair them."""
    followers: dict[tuple[str, UUID | None], set[str]] = defaultdict(set)
    causes: dict[tuple[str, UUID | None], str] = {}
    for intent in written:
        for entity, keys in dependents(intent):
            place = (entity, intent.run_id)
            followers[place] |= keys
            causes[place] = (
                f"changes of {intent.entity}" if place in causes else f"{intent.entity} {intent.key}"
            )
    for (entity, run_id), keys in followers.items():
        await nominate(entity, keys, cause=causes[entity, run_id], mode="any", run_id=run_id)


def followers(entity: str, *held: Record | None) -> Iterator[tuple[str, set[str]]]:
    """Entities and keys whose derived fields follow from a record, as each side holds it."""
    for other, total in _totals_over(entity):
        yield other, _keys(other, (record[total.reference] for record in held if record))


def dependents(intent: IntentEntry) -> Iterator[tuple[str, set[str]]]:
    """Entities and keys whose derived fields follow from what a change writes on the document side."""
    if intent.side != Side.DOCUMENT:
        return
    for other, total in _totals_over(intent.entity):
        if _touches(total, intent):
            records = (intent.before or {}, intent.after or {})
            yield other, _keys(other, (record.get(total.reference) for record in records))


def _totals_over(entity: str) -> Iterator[tuple[str, Total]]:
    """The entities with a field derived from records of this one, and how."""
    for other in mappings().values():
        for each in other.derived_fields:
            assert isinstance(each.rule, Derived)
            if each.rule.less.entity == entity:
                yield other.entity, each.rule.less


def _touches(total: Total, intent: IntentEntry) -> bool:
    if intent.before is None or intent.after is None:
        return True
    counted = (total.reference, total.field, total.where_field)
    return any(intent.before.get(name) != intent.after.get(name) for name in counted)


def _keys(entity: str, values: Iterable[Any]) -> set[str]:
    """Those of the values that can be keys of an entity."""
    mapping = mapping_of(entity)
    return {str(value) for value in values if value is not None and mapping.is_key(str(value))}
