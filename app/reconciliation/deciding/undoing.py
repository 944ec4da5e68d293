"""Taking changes back: each by a change of its own, with the same intent, conditional write and outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from loguru import logger

from app.audit.entries import IntentEntry, Outcome
from app.audit.store import AuditPort
from app.clock import Clock, now
from app.errors import CoreError
from app.reconciliation.deciding.inverse import Inverse, Refused, invert
from app.reconciliation.mapping import Side
from app.reconciliation.repairing.changes import Announce, Change, carry_out, finish_open, seconds_to_judge
from app.reconciliation.repairing.consequences import Nominate, nominate_dependents
from app.reconciliation.repairing.judging import cannot_be_judged
from app.reconciliation.sides.ports import Reading, Written
from app.reconciliation.sides.records import EntitySides
from app.stores.health import FAULTS

ATTEMPTS = 3


@dataclass(frozen=True)
class Undone:
    """A change was taken back, by this one."""

    by: UUID


@dataclass(frozen=True)
class UnderWay:
    """A write to the record may still take effect: in `seconds`, reading it tells."""

    seconds: float


Result = Undone | Refused | UnderWay
Pair = tuple[Reading, Reading]


@dataclass(frozen=True)
class Undoer:
    """Takes applied changes back. A write that is not answered within `write_seconds` is given up."""

    sides: dict[str, EntitySides]
    nominate: Nominate
    audit: AuditPort
    write_seconds: float
    clock: Clock = now

    async def undo(self, intents: Sequence[IntentEntry]) -> dict[UUID, Result]:
        """Take changes of one entity back, the latest first, at most one for each record and side.

        Answers what came of each. Raises StoreUnavailableError when a store goes away; what was done by then is found
        when the same changes are given again.
        """
        sides = self.sides.get(intents[0].entity) if intents else None
        if sides is None:
            return {each.id: Refused("its entity is no longer mapped") for each in intents}
        results: dict[UUID, Result] = {}
        keys = {each.key for each in intents}
        busy = await finish_open(sides, self.audit, keys, announce=self._announce, clock=self.clock)
        results |= {each.id: UnderWay(busy[each.key]) for each in intents if each.key in busy}
        try:
            results |= await self._try(sides, [each for each in intents if each.key not in busy])
        except (CoreError, *FAULTS):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a record holds, it must not hold up the others)
            logger.bind(entity=intents[0].entity).opt(exception=error).error("changes.refused")
            if len(intents) == 1:
                results[intents[0].id] = Refused(cannot_be_judged(error))
        # A write may have been refused only for the place of another record in the batch, a unique index for one.
        for intent in intents:
            if intent.id not in results:
                results |= await self.undo([intent])
        return results

    async def _try(self, sides: EntitySides, intents: Sequence[IntentEntry]) -> dict[UUID, Result]:
        """Answers all but those that a constraint refused beside others: they are worth another try, alone."""
        results: dict[UUID, Result] = {}
        left, alone = list(intents), len(intents) == 1
        for _attempt in range(ATTEMPTS):
            superseded: list[IntentEntry] = []
            for intent, written in await self._attempt(sides, left):
                match written:
                    case Written(outcome=Outcome.REJECTED) if not alone:
                        results.pop(intent.id, None)
                    case Written(outcome=Outcome.REJECTED):
                        results[intent.id] = Refused(f"rejected: {written.detail}")
                    case Written():
                        superseded.append(intent)
                        results[intent.id] = _superseded(written)
                    case _ as result:
                        results[intent.id] = result
            left = superseded
        return results

    async def _attempt(
        self, sides: EntitySides, intents: Sequence[IntentEntry]
    ) -> list[tuple[IntentEntry, Result | Written]]:
        """What came of each; where a write was not applied, how it ended."""
        ended: list[tuple[IntentEntry, Result | Written]] = []
        changes: list[tuple[IntentEntry, Change]] = []
        pairs = await sides.read(list({each.key for each in intents})) if intents else {}
        for intent in await self._as_they_are_now(intents):
            reading = _of(pairs[intent.key], Side(intent.side))
            inverse = invert(sides.mapping, intent, reading)
            if isinstance(inverse, Inverse):
                changes.append((intent, _change(intent, inverse, reading)))
            else:
                ended.append((intent, await self._taken_back(intent) or inverse))
        written = await self._write(sides, [change for _intent, change in changes])
        for (intent, change), result in zip(changes, written, strict=True):
            if result is None:
                ended.append((intent, UnderWay(seconds_to_judge(self.write_seconds))))
            else:
                applied = result.outcome is Outcome.APPLIED
                ended.append((intent, Undone(change.id) if applied else result))
        return ended

    async def _as_they_are_now(self, intents: Sequence[IntentEntry]) -> list[IntentEntry]:
        """Read again: a person may have been forgotten since, and what was erased is not to be written back."""
        found = await self.audit.changes_by_id([each.id for each in intents])
        return [found[each.id].intent for each in intents]

    async def _write(self, sides: EntitySides, changes: Sequence[Change]) -> list[Written | None]:
        if not changes:
            return []
        return await carry_out(
            sides,
            self.audit,
            changes,
            timeout_seconds=self.write_seconds,
            announce=self._announce,
            clock=self.clock,
        )

    async def _taken_back(self, intent: IntentEntry) -> Undone | None:
        """By whom, if somebody did who then died or was given up: the record no longer holds what the change wrote."""
        for each in await self.audit.changes(entity=intent.entity, key=intent.key, limit=100):
            applied = each.outcome is not None and each.outcome.outcome is Outcome.APPLIED
            if applied and each.intent.undoes == intent.id:
                return Undone(each.intent.id)
        return None

    @property
    def _announce(self) -> Announce:
        return partial(nominate_dependents, self.nominate)


def _of(pair: Pair, side: Side) -> Reading:
    return pair[0] if side is Side.DOCUMENT else pair[1]


def _change(intent: IntentEntry, inverse: Inverse, reading: Reading) -> Change:
    return Change(
        id=uuid4(),
        entity=intent.entity,
        key=intent.key,
        cause=f"undo of {intent.id}",
        run_id=None,
        diff_id=intent.diff_id,
        plan=inverse.plan,
        reading=reading,
        updated_at=inverse.updated_at,
        undoes=intent.id,
    )


def _superseded(written: Written) -> Refused:
    why = written.detail or "somebody else was writing to it"
    return Refused(f"superseded {ATTEMPTS} times in a row: {why}")
