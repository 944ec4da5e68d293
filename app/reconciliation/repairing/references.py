"""What must be there before a record can refer to it."""

from collections.abc import Iterable
from dataclasses import dataclass

from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.repairing.work import WorkPort
from app.reconciliation.resolve import Verdict
from app.reconciliation.sides.records import EntitySides


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


async def find_hopeless(
    every: dict[str, EntitySides], work: WorkPort, needs: Iterable[Need]
) -> dict[Need, str]:
    """Why some of the records that are missing will not come before an operator has acted."""
    hopeless: dict[Need, str] = {}
    wanted = list(needs)
    for entity, side in {(need.entity, need.side) for need in wanted}:
        keys = [need.key for need in wanted if (need.entity, need.side) == (entity, side)]
        elsewhere = await every[entity].side(side.other).existing(keys)
        held, standing = await work.held(entity, keys), await work.standing(entity, keys)
        for key in keys:
            diff = standing.get(key)
            if key not in elsewhere:
                hopeless[Need(entity, key, side)] = "is on neither side"
            elif key in held:
                hopeless[Need(entity, key, side)] = "is held"
            elif diff and diff.status in {"in_review", "rejected", "unsettled"}:
                hopeless[Need(entity, key, side)] = f"is {diff.status.replace('_', ' ')}"
    return {need: f"{need} {why}" for need, why in hopeless.items()}


async def find_coming(work: WorkPort, needs: set[Need]) -> set[Need]:
    """Those of the records that are missing that are suspects themselves: their turn will come."""
    coming: set[Need] = set()
    for entity in {need.entity for need in needs}:
        own = [need for need in needs if need.entity == entity]
        suspected = await work.suspected(entity, [need.key for need in own])
        coming |= {need for need in own if need.key in suspected}
    return coming


def _needs(mapping: Mapping, verdict: Verdict) -> list[Need]:
    return [
        Need(reference.entity, str(plan.values[reference.field]), plan.side)
        for plan in verdict.plans
        for reference in mapping.references
        if plan.values.get(reference.field) is not None
    ]
