"""Breaches: invariants that records break, confirmed by reading them again, as diffs of kind `invariant`.

A check nominates, this confirms: what holds at any of several looks, a settle window apart, was only being written.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from app.reconciliation.invariants import Invariant
from app.reconciliation.ledger import diffs
from app.reconciliation.ledger.diffs import OPEN, Discrepancy, Ending
from app.reconciliation.ledger.views import DiffView, FieldView
from app.reconciliation.mapping import Side
from app.reconciliation.rules import invariants_of
from app.reconciliation.running.looks import Look, look
from app.reconciliation.scanning.check import CheckResult
from app.reconciliation.scanning.scan import ScanStoppedError
from app.reconciliation.sides.records import EntitySides, every_entity
from app.reconciliation.values import spell
from app.stores.connections import Stores

KIND = "invariant"
_BATCH = 200
# Looks at a record that is being written all the time; what it breaks at each of them, it breaks.
_PATIENCE = 5


@dataclass(frozen=True)
class Breach:
    """An invariant, or the name of one that is no longer declared, as a record stands to it on both sides."""

    key: str
    name: str
    invariant: Invariant | None
    looks: dict[Side, Look]
    persons: tuple[str, ...] = ()

    @property
    def broken(self) -> list[Look]:
        return [each for each in self.looks.values() if each.reason]

    @property
    def reason(self) -> str:
        return "; ".join(str(each.reason) for each in self.broken)

    @property
    def tokens(self) -> set[str]:
        """One per side that breaks it: the same as long as its numbers are."""
        return {hashlib.sha256(str(each.reason).encode()).hexdigest()[:16] for each in self.broken}

    @property
    def fields(self) -> list[FieldView]:
        names = dict.fromkeys(name for each in self.looks.values() for name in each.values)
        document, relational = (self.looks[side].values if side in self.looks else {} for side in Side)
        rule = self.invariant.rule if self.invariant else ""
        return [
            FieldView(name, spell(document.get(name)), spell(relational.get(name)), rule, None, None)
            for name in names
        ]

    def is_young(self, window: timedelta) -> bool:
        return any(each.age is not None and each.age < window for each in self.broken)

    def is_rejected_by(self, diff: DiffView | None) -> bool:
        """Whether an operator has said to leave alone what breaks it: every side that does, with these numbers."""
        return diff is not None and diff.status == "rejected" and self.tokens <= set(diff.fingerprint.split())

    def may_still_be(self, diff: DiffView) -> bool:
        """Whether nobody can tell whether it still holds, and what the record says itself is what it said."""
        said = {each.name: (each.document, each.relational) for each in diff.fields}
        unknown = [side for side, each in self.looks.items() if not each.known]
        return any(
            all(
                name in said and said[name][list(Side).index(side)] == spell(value)
                for name, value in self.looks[side].own.items()
            )
            for side in unknown
        )


@dataclass(frozen=True)
class _Confirming:
    """What every step of a confirmation needs."""

    stores: Stores
    run_id: UUID
    entity: str
    every: dict[str, EntitySides]


async def confirm(
    stores: Stores, run_id: UUID, entity: str, checked: CheckResult, *, stopped: Callable[[], bool]
) -> None:
    """Look again at what a run's check found and at every breach that is open, and record what is broken.

    Doing it twice does no harm. Raises ScanStoppedError soon after `stopped` turns true, StoreUnavailableError where a
    store does not answer.
    """
    await _warn(stores.core, run_id, entity, checked)
    confirming = _Confirming(stores, run_id, entity, every_entity(stores))
    last: str | None = None  # "" is a key that a record may have
    await asyncio.sleep(_window(stores).total_seconds())
    while True:
        rows = await stores.core.fetch(
            """
            SELECT key FROM findings WHERE run_id = $1 AND kind = $2 AND ($3::text IS NULL OR key > $3)
            UNION SELECT key FROM diffs WHERE entity = $4 AND invariant <> '' AND status = ANY($5)
                AND ($3::text IS NULL OR key > $3)
            ORDER BY key LIMIT $6
            """,
            run_id,
            KIND,
            last,
            entity,
            OPEN,
            _BATCH,
        )
        if not rows:
            return
        keys = [row["key"] for row in rows]
        await _confirm_some(confirming, keys, stopped)
        last = keys[-1]


async def _warn(core: asyncpg.Pool, run_id: UUID, entity: str, checked: CheckResult) -> None:
    """Say in the run what could not be judged, and why."""
    warnings = [
        f"{number:,} {entity} on the {side} side were not judged by {invariant.name}: a value that it needs is missing, "
        "or may have changed since"
        for (invariant, side), number in checked.unjudged.items()
        if number
    ]
    await core.execute(
        "UPDATE runs SET warnings = ARRAY(SELECT DISTINCT unnest(warnings || $2::text[]) ORDER BY 1) WHERE id = $1",
        run_id,
        warnings,
    )


async def _confirm_some(confirming: _Confirming, keys: list[str], stopped: Callable[[], bool]) -> None:
    stores, entity = confirming.stores, confirming.entity
    for number in range(1, _PATIENCE + 1):
        if stopped():
            raise ScanStoppedError
        standing = await diffs.standing_breaches(stores.core, entity, keys)
        breaches = list(await _judge(confirming.every, entity, keys, standing))
        young = {each.key for each in breaches if each.is_young(_window(stores))}
        if number == _PATIENCE:
            young = set()
        await _record(confirming, [each for each in breaches if each.key not in young], standing)
        if not young:
            return
        keys = sorted(young)
        await asyncio.sleep(_window(stores).total_seconds())


def _window(stores: Stores) -> timedelta:
    return timedelta(milliseconds=stores.settings.settle_milliseconds)


_Standing = dict[tuple[str, str], DiffView]


async def _judge(
    every: dict[str, EntitySides], entity: str, keys: Sequence[str], standing: _Standing
) -> Iterator[Breach]:
    readings = await every[entity].read(keys)
    by_side = {
        side: {key: pair[at] for key, pair in readings.items() if pair[at].record is not None}
        for at, side in enumerate(Side)
    }
    looks: dict[tuple[str, str], dict[Side, Look]] = {}
    invariants = {each.name: each for each in invariants_of(entity)}
    for invariant in invariants.values():
        for side in invariant.sides:
            for key, found in (await look(every, invariant, side, by_side[side])).items():
                looks.setdefault((key, invariant.name), {})[side] = found
    places = looks.keys() | standing.keys()
    mapping = every[entity].mapping
    records = {key: [each.record for each in pair] for key, pair in readings.items()}
    return (
        Breach(
            key,
            name,
            invariants.get(name),
            looks.get((key, name), {}),
            mapping.persons(key, *records[key]) if mapping.whose else (),
        )
        for key, name in sorted(places)
    )


def _as_discrepancy(run_id: UUID, entity: str, breach: Breach, stood: DiffView | None) -> Discrepancy:
    return Discrepancy(
        entity=entity,
        key=breach.key,
        run_id=run_id,
        cause=f"run {run_id}",
        kind=KIND,
        status="in_review",
        fields=breach.fields,
        fingerprint=" ".join(sorted(breach.tokens)),
        reason=breach.reason,
        over=stood,
        invariant=breach.name,
        persons=breach.persons,
    )


async def _record(confirming: _Confirming, settled: Sequence[Breach], standing: _Standing) -> None:
    """Open or renew the diffs of what is broken and not rejected so, and end those of what holds again."""
    found: list[Discrepancy] = []
    endings: list[Ending] = []
    for each in settled:
        stood = standing.get((each.key, each.name))
        if each.broken:
            if not each.is_rejected_by(stood):
                found.append(_as_discrepancy(confirming.run_id, confirming.entity, each, stood))
        elif stood is not None and not each.may_still_be(stood):
            endings.append(Ending(stood.id, "vanished"))
    await diffs.record(confirming.stores.core, found)
    await diffs.close(confirming.stores.core, endings)
