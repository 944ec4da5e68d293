"""What the repair path remembers between two looks, in the core DB: behind one small port.

Suspects to look at, diffs that were found, holds and the circuit breaker. The port lets a model of it replay whole
schedules of writes, crashes and repairs with a clock of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from app.reconciliation.ledger import agreements as ledger_agreements
from app.reconciliation.ledger import breaker, diffs, holds, jobs, runs, suspects
from app.reconciliation.ledger.agreements import Agreement
from app.reconciliation.ledger.breaker import Granted, Limits
from app.reconciliation.ledger.diffs import Ending, Found
from app.reconciliation.ledger.suspects import Postponed, Suspect
from app.reconciliation.ledger.views import DiffView
from app.stores.connections import Stores


class WorkPort(Protocol):
    """Each method is one atomic step: between any two of them the repairer may die."""

    async def stopped(self) -> dict[str, str]:
        """Every entity whose repairs the circuit breaker has stopped, and why."""

    async def repairing_modes(self, entity: str) -> set[str]:
        """The modes of an entity's jobs that may repair."""

    async def reserve(self, entity: str, wanted: Sequence[Limits]) -> Granted:
        """Count repairs that are about to be made: the first ones that the circuit breaker lets through."""

    async def give_back(self, entity: str, granted: Granted, unused: Sequence[Limits]) -> None:
        """Count no longer what was granted and then not tried."""

    async def claim(self, entity: str, *, limit: int, lease_seconds: float) -> list[Suspect]:
        """Due suspects of an entity, each of them nobody else's for that long."""

    async def next_due(self, entities: Sequence[str]) -> float | None:
        """Seconds until the next suspect is due; None where there is none."""

    async def nominate(
        self, entity: str, keys: Iterable[str], *, cause: str, mode: str, run_id: UUID | None
    ) -> None:
        """Make records suspects; one that already is one is looked at (again) now."""

    async def suspected(self, entity: str, keys: Sequence[str]) -> set[str]:
        """Which of these records are suspects that will be looked at, not resting with a run that is paused."""

    async def postpone(self, postponed: Sequence[Postponed]) -> None:
        """Give suspects back, to be looked at later; one that was nominated meanwhile is due now."""

    async def dismiss(self, done: Sequence[Suspect]) -> None:
        """Take away suspects whose outcome is recorded, but those that were nominated meanwhile."""

    async def hasten(self, arrived: Sequence[str]) -> None:
        """Have looked at now what waits for records that have just arrived."""

    async def standing(self, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
        """The open diff of each record that has one, else its rejected one, if that was its last."""

    async def held(self, entity: str, keys: Sequence[str]) -> dict[str, str]:
        """Why operators want some of these records left alone."""

    async def put(self, found: Sequence[Found]) -> list[UUID | None]:
        """Record what looks found; None for what an operator has decided, or somebody else found, meanwhile."""

    async def close(self, endings: Sequence[Ending]) -> None:
        """End open diffs, or send them to review."""

    async def agree(self, agreements: Sequence[Agreement]) -> None:
        """Remember which versions of records agree, in place of what was remembered of them."""


@dataclass(frozen=True)
class CoreWork:
    """Implements `WorkPort` on the core DB."""

    stores: Stores

    async def stopped(self) -> dict[str, str]:
        return await breaker.stopped(self.stores.core)

    async def repairing_modes(self, entity: str) -> set[str]:
        return await jobs.repairing_modes(self.stores.core, entity)

    async def reserve(self, entity: str, wanted: Sequence[Limits]) -> Granted:
        return await breaker.reserve(self.stores, entity, wanted)

    async def give_back(self, entity: str, granted: Granted, unused: Sequence[Limits]) -> None:
        await breaker.give_back(self.stores.core, entity, granted, unused)

    async def claim(self, entity: str, *, limit: int, lease_seconds: float) -> list[Suspect]:
        return await suspects.claim(self.stores.core, entity, limit=limit, lease_seconds=lease_seconds)

    async def next_due(self, entities: Sequence[str]) -> float | None:
        return await suspects.next_due(self.stores.core, entities)

    async def nominate(
        self, entity: str, keys: Iterable[str], *, cause: str, mode: str, run_id: UUID | None
    ) -> None:
        await suspects.nominate(self.stores.core, entity, keys, cause=cause, mode=mode, run_id=run_id)

    async def suspected(self, entity: str, keys: Sequence[str]) -> set[str]:
        return await suspects.suspected(self.stores.core, entity, keys)

    async def postpone(self, postponed: Sequence[Postponed]) -> None:
        await suspects.postpone(self.stores.core, postponed)

    async def dismiss(self, done: Sequence[Suspect]) -> None:
        await suspects.dismiss(self.stores.core, done)
        await runs.settle(self.stores, {each.run_id for each in done if each.run_id})

    async def hasten(self, arrived: Sequence[str]) -> None:
        await suspects.hasten(self.stores.core, arrived)

    async def standing(self, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
        return await diffs.standing(self.stores.core, entity, keys)

    async def held(self, entity: str, keys: Sequence[str]) -> dict[str, str]:
        return await holds.held(self.stores.core, entity, keys)

    async def put(self, found: Sequence[Found]) -> list[UUID | None]:
        return await diffs.put(self.stores.core, found)

    async def close(self, endings: Sequence[Ending]) -> None:
        await diffs.close(self.stores.core, endings)

    async def agree(self, agreements: Sequence[Agreement]) -> None:
        await ledger_agreements.agree(self.stores.core, agreements)
