"""What must be there before a record can refer to it."""

from dataclasses import dataclass

from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.records import EntitySides
from app.reconciliation.resolve import Verdict


@dataclass(frozen=True)
class Need:
    """A record that must exist on a side before another can refer to it."""

    entity: str
    key: str
    side: Side

    def __str__(self) -> str:
        return f"{self.entity} {self.key}"


async def find_missing(
    every: dict[str, EntitySides], mapping: Mapping, verdicts: dict[str, Verdict]
) -> dict[str, Need]:
    """By key of the records whose planned writes refer to one that is not there: the one that is missing."""
    wanted = [(key, need) for key, verdict in verdicts.items() for need in _needs(mapping, verdict)]
    missing: dict[str, Need] = {}
    for entity, side in {(need.entity, need.side) for _key, need in wanted}:
        asked = [(key, need) for key, need in wanted if (need.entity, need.side) == (entity, side)]
        found = await every[entity].side(side).existing({need.key for _key, need in asked})
        missing |= {key: need for key, need in asked if need.key not in found}
    return missing


async def is_nowhere(every: dict[str, EntitySides], need: Need) -> bool:
    """Whether a record that is missing on its side is missing on the other one too."""
    return not await every[need.entity].side(need.side.other).existing([need.key])


def _needs(mapping: Mapping, verdict: Verdict) -> list[Need]:
    return [
        Need(reference.entity, str(plan.values[reference.field]), plan.side)
        for plan in verdict.plans
        for reference in mapping.references
        if plan.values.get(reference.field) is not None
    ]
