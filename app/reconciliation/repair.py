"""The one path that repairs: claim suspects, read both sides again, resolve by policy, write conditionally.

Outcomes of a write: *applied*; *superseded*, what was read no longer held, so the record is looked at again;
*rejected*, a constraint said no, so the diff goes to review; *indeterminate*, after a crash the record equals neither
what was nor what was meant, so it is looked at again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from loguru import logger

from app.audit.entries import IntentEntry, Outcome
from app.audit.store import AuditStore
from app.clock import now
from app.errors import CoreError
from app.reconciliation import breaker, diffs, jobs, runs
from app.reconciliation.changes import Change, carry_out, finish, prepare
from app.reconciliation.consequences import dependents
from app.reconciliation.judging import Judged, judge
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.records import EntitySides, every_entity
from app.reconciliation.references import Need, find_missing, is_nowhere
from app.reconciliation.resolve import Action, Kind, Verdict
from app.reconciliation.sides import Written
from app.reconciliation.suspects import (
    Postponed,
    Suspect,
    claim,
    dismiss,
    hasten,
    next_due,
    nominate,
    postpone,
)
from app.reconciliation.views import DiffView
from app.stores.connections import Stores
from app.stores.health import FAULTS

BATCH = 32
# After so many looks a record that will not settle, or waits in vain, is shown as such and left: about 50 s.
PATIENCE = 8
_LONGEST_DELAY_SECONDS = 30.0
_STOPPED_SECONDS = 60.0


@dataclass
class Look:
    """One look at one suspect: what was judged, what stands recorded, what is to be done."""

    suspect: Suspect
    judged: Judged
    diff: DiffView | None
    verdict: Verdict
    diff_id: UUID | None = None

    @property
    def out_of_patience(self) -> bool:
        return self.suspect.attempts >= PATIENCE

    def is_young(self, window: timedelta) -> bool:
        ages = (self.judged.document.age, self.judged.relational.age)
        return any(age is not None and age < window for age in ages)


@dataclass
class Batch:
    """What becomes of the suspects of one claim, and which further records became suspect."""

    done: list[Suspect] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)
    nominations: list[tuple[str, Iterable[str], Suspect]] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)

    def wait(self, suspect: Suspect, waiting_for: str, seconds: float | None = None) -> None:
        """Look again later; unless `seconds` is given the delay doubles with each attempt, from 0.2 s on."""
        doubled = min(0.2 * 2 ** min(suspect.attempts, PATIENCE), _LONGEST_DELAY_SECONDS)
        self.postponed.append(Postponed(suspect, doubled if seconds is None else seconds, waiting_for))

    def hold_back(self, suspect: Suspect, waiting_for: str, seconds: float) -> None:
        """Look again later for a reason that is not the record's: its patience is not used up."""
        self.postponed.append(Postponed(suspect, seconds, waiting_for, counts=False))

    def undecided(self, claimed: Sequence[Suspect]) -> list[Suspect]:
        decided = {each.key for each in self.done} | {each.suspect.key for each in self.postponed}
        return [suspect for suspect in claimed if suspect.key not in decided]


class Repairer:
    """Works off suspects. Any number may run at once, on any number of machines."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._audit = AuditStore(stores.audit, stores.settings.namespace)
        self._sides = every_entity(stores)
        self._settle_window = timedelta(milliseconds=stores.settings.settle_milliseconds)
        self._write_seconds = stores.settings.store_timeout_seconds
        # Long enough for any batch but one that meets a store at its slowest several times; another repairer may
        # then take up its suspects, which open intents and conditional writes make harmless.
        self._lease_seconds = self._write_seconds * 2 + 10

    async def run_due(self) -> float | None:
        """Look at every suspect that is due, referenced entities first; answers seconds until the next one is.

        Raises StoreUnavailableError when a store goes away; what was claimed is given back first.
        """
        stopped = await breaker.stopped(self._stores.core)
        working = {entity: sides for entity, sides in self._sides.items() if entity not in stopped}
        for entity, sides in working.items():
            while claimed := await claim(
                self._stores.core, entity, limit=BATCH, lease_seconds=self._lease_seconds
            ):
                await self._work_off(sides, claimed)
        return await next_due(self._stores.core, list(working))

    async def _work_off(self, sides: EntitySides, claimed: list[Suspect]) -> None:
        batch, left = Batch(), claimed
        try:
            await self._decide(sides, claimed, batch)
        except (CoreError, *FAULTS):
            raise
        except Exception as error:  # noqa: BLE001  (whatever a record holds, it must not hold up the others)
            left = await self._isolate(sides, batch.undecided(claimed), batch, error)
        finally:
            for suspect in batch.undecided(left):
                batch.hold_back(suspect, "a store that does not answer", 2.0)
            await self._record(batch)

    async def _decide(self, sides: EntitySides, claimed: list[Suspect], batch: Batch) -> None:
        ready = await self._finish_intents(sides, claimed, batch)
        looks = await self._look(sides, ready)
        allowed = await jobs.repairing_modes(self._stores.core, sides.mapping.entity)
        wanted = [look for look in looks if await self._triage(look, allowed, batch)]
        wanted = await self._with_references(sides.mapping, wanted, batch)
        await self._repair(sides, wanted, batch)

    async def _isolate(
        self, sides: EntitySides, claimed: list[Suspect], batch: Batch, error: Exception
    ) -> list[Suspect]:
        """Find out which record of a batch cannot be judged, and show it to an operator; answers who is left."""
        if len(claimed) > 1:
            for suspect in claimed:
                await self._work_off(sides, [suspect])
            return []
        for suspect in claimed:
            named = logger.bind(entity=suspect.entity, key=suspect.key)
            named.opt(exception=error).error("record.unjudgeable")
            reason = f"it cannot be judged: {type(error).__name__}, see the logs"
            verdict = Verdict(Kind.FIELDS, review=reason)
            await diffs.put(self._stores.core, suspect, verdict, status="in_review", over=None)
            batch.done.append(suspect)
        return claimed

    async def _record(self, batch: Batch) -> None:
        core = self._stores.core
        for entity, keys, suspect in batch.nominations:
            cause = f"{suspect.entity} {suspect.key}"
            await nominate(core, entity, keys, cause=cause, mode=suspect.mode, run_id=suspect.run_id)
        await postpone(core, batch.postponed)
        await dismiss(core, batch.done)
        await hasten(core, batch.arrived)
        await runs.settle(self._stores, {each.run_id for each in batch.done if each.run_id})

    async def _finish_intents(
        self, sides: EntitySides, claimed: Sequence[Suspect], batch: Batch
    ) -> list[Suspect]:
        """No record is judged while a write to it may be under way: a dead writer's intent is finished first."""
        by_key = {each.key: each for each in claimed}
        entity, instant = sides.mapping.entity, now()
        intents = [
            each for each in await self._audit.open_intents() if each.entity == entity and each.key in by_key
        ]
        over = [each for each in intents if each.deadline <= instant]
        await finish(sides, self._audit, over, announce=self._nominate_dependents)
        busy = {each.key: each.deadline - instant for each in intents if each.deadline > instant}
        for key, left in busy.items():
            batch.hold_back(by_key[key], "a write under way", left.total_seconds() + 0.1)
        return [each for each in claimed if each.key not in busy]

    async def _look(self, sides: EntitySides, suspects: Sequence[Suspect]) -> list[Look]:
        entity, keys = sides.mapping.entity, [each.key for each in suspects]
        judged = await judge(self._sides, self._stores.core, entity, keys)
        standing = await diffs.standing(self._stores.core, entity, keys)
        return [
            Look(
                each,
                judged[each.key],
                standing.get(each.key),
                _verdict(judged[each.key], standing.get(each.key)),
            )
            for each in suspects
        ]

    async def _triage(self, look: Look, allowed: set[str], batch: Batch) -> bool:
        """Whether the record is to be repaired now; every other case is recorded or postponed here."""
        suspect, verdict = look.suspect, look.verdict
        if look.judged.expected.unsettled:
            for entity, keys in look.judged.expected.unsettled.items():
                batch.nominations.append((entity, keys, suspect))
        if verdict.kind is Kind.EQUAL:
            await self._note_equal(look, allowed, batch)
        elif look.is_young(self._settle_window):
            await self._wait_or_show(look, "the record to settle", batch)
        elif verdict.kind is Kind.MISSING_BOTH:
            await self._show(look, "vanished", batch, reason="on neither side")
        elif _is_rejected(look):
            batch.done.append(suspect)
        elif verdict.review:
            await self._show(look, "in_review", batch)
        elif not _may_repair(suspect, allowed) and not _is_approved(look):
            await self._show(look, "open", batch, reason="its job only observes")
        else:
            return True
        return False

    async def _note_equal(self, look: Look, allowed: set[str], batch: Batch) -> None:
        if unsettled := look.judged.expected.unsettled:
            waiting = ", ".join(f"{len(keys)} {entity}" for entity, keys in unsettled.items())
            look.verdict = look.judged.doubtful()
            if _may_repair(look.suspect, allowed):
                await self._wait_or_show(look, f"{waiting} to be reconciled", batch)
            else:
                await self._show(
                    look, "unsettled", batch, reason=f"follows from {waiting} that are observed only"
                )
            return
        if look.diff and look.diff.status in diffs.OPEN:
            recent = await self._audit.changes(entity=look.suspect.entity, key=look.suspect.key, limit=2)
            repaired = any(
                each.intent.diff_id == look.diff.id
                and each.outcome
                and each.outcome.outcome is Outcome.APPLIED
                for each in recent
            )
            await diffs.close(self._stores.core, look.diff.id, "repaired" if repaired else "vanished")
        batch.done.append(look.suspect)

    async def _wait_or_show(self, look: Look, waiting_for: str, batch: Batch) -> None:
        if look.out_of_patience:
            await self._show(look, "unsettled", batch, reason=f"waited in vain for {waiting_for}")
        else:
            batch.wait(look.suspect, waiting_for)

    async def _show(self, look: Look, status: str, batch: Batch, *, reason: str | None = None) -> None:
        if status == "unsettled" and _is_approved(look):
            status = "approved"
        if await self._put(look, status, batch, reason=reason):
            batch.done.append(look.suspect)

    async def _put(self, look: Look, status: str, batch: Batch, *, reason: str | None = None) -> UUID | None:
        """Record what the look found, unless an operator decided meanwhile: then it is looked at again."""
        diff_id = await diffs.put(
            self._stores.core, look.suspect, look.verdict, status=status, reason=reason, over=look.diff
        )
        if diff_id is None:
            batch.hold_back(look.suspect, "another look: its diff has just been decided", 0.1)
        return diff_id

    async def _with_references(self, mapping: Mapping, looks: list[Look], batch: Batch) -> list[Look]:
        """The looks whose writes refer to records that are there; the others wait for them, or go to review."""
        missing = await find_missing(self._sides, mapping, {look.suspect.key: look.verdict for look in looks})
        ready = [look for look in looks if look.suspect.key not in missing]
        for look in looks:
            need = missing.get(look.suspect.key)
            if need is None:
                continue
            hopeless = await self._is_hopeless(need)
            if hopeless or look.out_of_patience:
                reason = hopeless or f"waited in vain for {need}"
                await self._show(look, "in_review", batch, reason=reason)
            else:
                batch.nominations.append((need.entity, [need.key], look.suspect))
                batch.wait(look.suspect, str(need))
        return ready

    async def _is_hopeless(self, need: Need) -> str | None:
        if await is_nowhere(self._sides, need):
            return f"{need} is on neither side"
        standing = await diffs.standing(self._stores.core, need.entity, [need.key])
        diff = standing.get(need.key)
        return f"{need} is {diff.status}" if diff and diff.status in {"in_review", "rejected"} else None

    async def _repair(self, sides: EntitySides, looks: list[Look], batch: Batch) -> None:
        if not looks:
            return
        for look in looks:
            look.diff_id = await self._put(look, "approved" if _is_approved(look) else "open", batch)
        looks = [look for look in looks if look.diff_id]
        plans = [plan for look in looks for plan in look.verdict.plans]
        removals = sum(plan.action is Action.REMOVE for plan in plans)
        stopped = await breaker.reserve(
            self._stores, sides.mapping.entity, changes=len(plans), deletes=removals
        )
        if stopped:
            for look in looks:
                batch.hold_back(look.suspect, f"an operator: {stopped}", _STOPPED_SECONDS)
            return
        changes = [
            change
            for look in looks
            if look.diff_id
            for change in prepare(
                look.suspect, look.diff_id, look.verdict, look.judged.document, look.judged.relational
            )
        ]
        results = await carry_out(
            sides,
            self._audit,
            changes,
            timeout_seconds=self._write_seconds,
            announce=self._nominate_dependents,
        )
        outcomes = list(zip(changes, results, strict=True))
        for look in looks:
            own = [pair for pair in outcomes if pair[0].suspect is look.suspect]
            await self._conclude(sides.mapping, look, own, batch)

    async def _conclude(
        self, mapping: Mapping, look: Look, own: list[tuple[Change, Written | None]], batch: Batch
    ) -> None:
        assert look.diff_id is not None
        results = [result for _change, result in own]
        batch.arrived += [
            str(Need(mapping.entity, look.suspect.key, change.plan.side))
            for change, result in own
            if change.plan.action is Action.CREATE and result and result.outcome is Outcome.APPLIED
        ]
        rejected = [each.detail for each in results if each and each.outcome is Outcome.REJECTED]
        if None in results:
            batch.hold_back(look.suspect, "a write under way", self._write_seconds + 2.5)
        elif rejected:
            await diffs.close(self._stores.core, look.diff_id, "in_review", f"rejected: {rejected[0]}")
            batch.done.append(look.suspect)
        elif any(each and each.outcome is not Outcome.APPLIED for each in results):
            await self._wait_or_show(look, "a moment in which nobody else writes it", batch)
        else:
            await diffs.close(self._stores.core, look.diff_id, "repaired")
            if look.judged.expected.unsettled:
                batch.wait(look.suspect, "records that it is derived from")
            else:
                batch.done.append(look.suspect)

    async def _nominate_dependents(self, written: Sequence[IntentEntry]) -> None:
        """Have the records looked at that follow from what was written, on behalf of whoever may repair them."""
        for intent in written:
            for entity, keys in dependents(intent):
                cause = f"{intent.entity} {intent.key}"
                await nominate(self._stores.core, entity, keys, cause=cause, mode="any", run_id=intent.run_id)


def _verdict(judged: Judged, diff: DiffView | None) -> Verdict:
    verdict = judged.verdict
    # A decision holds for the values that the operator saw; when they moved, it is theirs to take again.
    if verdict.review and diff and diff.status == "approved" and diff.fingerprint == verdict.fingerprint:
        return judged.decided(Side(str(diff.resolution)))
    return verdict


def _may_repair(suspect: Suspect, allowed: set[str]) -> bool:
    return suspect.mode in allowed or (suspect.mode == "any" and bool(allowed))


def _is_approved(look: Look) -> bool:
    diff = look.diff
    return diff is not None and diff.status == "approved" and diff.fingerprint == look.verdict.fingerprint


def _is_rejected(look: Look) -> bool:
    diff = look.diff
    return diff is not None and diff.status == "rejected" and diff.fingerprint == look.verdict.fingerprint
