"""The one path that repairs: claim suspects, read both sides again, resolve by policy, write conditionally.

Outcomes of a write: *applied*; *superseded*, what was read no longer held, so the record is looked at again;
*rejected*, a constraint said no, so the diff goes to review; *indeterminate*, after a crash the record equals neither
what was nor what was meant, so it is looked at again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from loguru import logger

from app.audit.entries import Outcome
from app.audit.store import AuditPort, AuditStore
from app.clock import Clock, now
from app.errors import CoreError
from app.reconciliation.ledger.breaker import Limits
from app.reconciliation.ledger.diffs import OPEN, Ending, Found
from app.reconciliation.ledger.suspects import Suspect
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.repairing.batch import Batch
from app.reconciliation.repairing.changes import (
    Announce,
    Change,
    NothingTriedError,
    carry_out,
    finish_open,
    seconds_to_judge,
)
from app.reconciliation.repairing.consequences import followers, nominate_dependents
from app.reconciliation.repairing.judging import cannot_be_judged, judge
from app.reconciliation.repairing.references import Need, find_coming, find_hopeless, find_missing
from app.reconciliation.repairing.triage import Agreed, Dismiss, Look, Repair, Show, Wait, triage
from app.reconciliation.repairing.work import CoreWork, WorkPort
from app.reconciliation.resolve import Action, Kind, Verdict
from app.reconciliation.sides.ports import Written
from app.reconciliation.sides.records import EntitySides, every_entity
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.correlation import DONE, note_outcome

# Records that are read, judged and written together, and how many batches of them at once.
BATCH = 250
_SIDE_BY_SIDE = 4
# After so many turns whoever called may do something else: suspects may keep coming for ever.
_MOST_TURNS = 100
_STOPPED_SECONDS = 60.0
_DECIDED_MEANWHILE_SECONDS = 0.1
_COMING_SECONDS = 1.0


@dataclass(frozen=True)
class Repairer:
    """Works off suspects. Any number may run at once, on any number of machines.

    A record changed within `settle_window`, by its store's clock, waits. A write that is not answered within
    `write_seconds` is given up.
    """

    sides: dict[str, EntitySides]
    work: WorkPort
    audit: AuditPort
    settle_window: timedelta
    write_seconds: float
    clock: Clock = now
    batch: int = BATCH

    async def run_due(self) -> float | None:
        """Look at every suspect that is due, referenced entities first; answers seconds until the next one is.

        Raises StoreUnavailableError when a store goes away, after what can be looked at all the same; what was claimed
        is given back.
        """
        stopped = await self.work.stopped()
        working = {entity: sides for entity, sides in self.sides.items() if entity not in stopped}
        faults: dict[str, Exception] = {}
        # A turn for each entity, over and over: neither many suspects nor a broken table of one hold up the others.
        for _ in range(_MOST_TURNS):
            if not await self._take_turns(working, faults):
                break
        for error in faults.values():
            raise error
        return await self.work.next_due(list(working))

    async def _take_turns(self, working: dict[str, EntitySides], faults: dict[str, Exception]) -> bool:
        found = False
        for entity, sides in working.items():
            if entity in faults:
                continue
            try:
                found = await self._take_turn(sides) or found
            except (CoreError, *FAULTS) as error:
                faults[entity] = error
        return found

    async def _take_turn(self, sides: EntitySides) -> bool:
        """Whether there was anything to look at."""
        claimed = await self._claim(sides)
        if not claimed:
            return False
        note_outcome(DONE)
        # A full batch is hardly the last: while one is read, another one is written.
        others = _SIDE_BY_SIDE - 1 if len(claimed) == self.batch else 0
        await _all(self._work_off(sides, claimed), *(self._work_off_next(sides) for _ in range(others)))
        return True

    async def _claim(self, sides: EntitySides) -> list[Suspect]:
        return await self.work.claim(
            sides.mapping.entity, limit=self.batch, lease_seconds=self._lease_seconds
        )

    async def _work_off_next(self, sides: EntitySides) -> None:
        if claimed := await self._claim(sides):
            await self._work_off(sides, claimed)

    @property
    def _lease_seconds(self) -> float:
        # Long enough for any batch but one that meets a store at its slowest several times; another repairer may
        # then take up its suspects, which open intents and conditional writes make harmless.
        return self.write_seconds * 2 + 10

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
            await batch.record(self.work)

    async def _decide(self, sides: EntitySides, claimed: list[Suspect], batch: Batch) -> None:
        ready = await self._finish_intents(sides, claimed, batch)
        looks = await self._look(sides, ready)
        allowed = await self.work.repairing_modes(sides.mapping.entity)
        wanted = [look for look in looks if await self._triage(look, allowed, batch)]
        wanted = await self._with_references(sides.mapping, wanted, batch)
        await self._show(batch)
        await self._repair(sides, wanted, batch)

    async def _isolate(
        self, sides: EntitySides, claimed: list[Suspect], batch: Batch, error: Exception
    ) -> list[Suspect]:
        """Find out which record of a batch cannot be judged, and show it to an operator; answers who is left."""
        if len(claimed) > 1:
            named = logger.bind(entity=sides.mapping.entity, records=len(claimed))
            named.opt(exception=error).error("batch.refused")
            for suspect in claimed:
                await self._work_off(sides, [suspect])
            return []
        for suspect in claimed:
            named = logger.bind(entity=suspect.entity, key=suspect.key)
            named.opt(exception=error).error("record.refused")
            verdict = Verdict(Kind.FIELDS, review=cannot_be_judged(error))
            standing = (await self.work.standing(suspect.entity, [suspect.key])).get(suspect.key)
            await self.work.put([Found(suspect, verdict, "in_review", over=standing)])
            batch.done.append(suspect)
        return claimed

    async def _finish_intents(
        self, sides: EntitySides, claimed: Sequence[Suspect], batch: Batch
    ) -> list[Suspect]:
        """No record is judged while a write to it may be under way."""
        by_key = {each.key: each for each in claimed}
        busy = await finish_open(sides, self.audit, by_key.keys(), announce=self._announce, clock=self.clock)
        for key, seconds in busy.items():
            batch.hold_back(by_key[key], "a write under way", seconds)
        return [each for each in claimed if each.key not in busy]

    async def _look(self, sides: EntitySides, suspects: Sequence[Suspect]) -> list[Look]:
        entity, keys = sides.mapping.entity, [each.key for each in suspects]
        # Before the sides are read: a hold or a decision that comes later must find the look still to be written.
        standing = await self.work.standing(entity, keys)
        held = await self.work.held(entity, keys)
        judged = await judge(self.sides, self.work, entity, keys)
        return [Look(each, judged[each.key], standing.get(each.key), held.get(each.key)) for each in suspects]

    async def _triage(self, look: Look, allowed: set[str], batch: Batch) -> bool:
        """Whether the record is to be repaired now; every other case goes into the batch."""
        for entity, keys in look.judged.expected.unsettled.items():
            batch.nominations.append((entity, keys, look.suspect))
        decision = triage(look, allowed=allowed, settle_window=self.settle_window)
        if isinstance(decision, Agreed):
            batch.agree(look.agreement(self.settle_window))
        match decision:
            case Repair():
                return True
            case Wait(waiting_for=waiting_for):
                batch.wait(look.suspect, waiting_for)
            case Show(status="vanished", reason=reason) if look.diff and look.diff.status in OPEN:
                batch.end(look, look.diff.id, "vanished", reason)
            case Show() as shown:
                batch.shown.append((look, shown))
            case Agreed() if look.diff and look.diff.status in OPEN:
                batch.end(look, look.diff.id, await self._how_it_ended(look.suspect, look.diff.id))
            case Agreed() | Dismiss():
                batch.done.append(look.suspect)
        return False

    async def _how_it_ended(self, suspect: Suspect, diff_id: UUID) -> str:
        """An open diff of a record that agrees: a change of ours may have made it so, before its worker died."""
        recent = await self.audit.changes(entity=suspect.entity, key=suspect.key, limit=2)
        ours = (each for each in recent if each.intent.diff_id == diff_id and each.outcome)
        applied = any(each.outcome and each.outcome.outcome is Outcome.APPLIED for each in ours)
        return "repaired" if applied else "vanished"

    async def _with_references(self, mapping: Mapping, looks: list[Look], batch: Batch) -> list[Look]:
        """The looks whose writes refer to records that are there; the others wait for them, or go to review."""
        missing = await find_missing(self.sides, mapping, {look.suspect.key: look.verdict for look in looks})
        hopeless = await find_hopeless(self.sides, self.work, set(missing.values()))
        coming = await find_coming(self.work, set(missing.values()) - hopeless.keys())
        stopped = await self.work.stopped() if coming else {}
        for look in looks:
            need = missing.get(look.suspect.key)
            if need is None:
                continue
            if need in hopeless or (look.out_of_patience and need not in coming):
                reason = hopeless.get(need, f"waited in vain for {need}")
                batch.shown.append((look, Show("in_review", reason)))
                continue
            if need in coming:  # its turn will come: waiting for it tells nothing about this record
                seconds = _STOPPED_SECONDS if need.entity in stopped else _COMING_SECONDS
                batch.hold_back(look.suspect, str(need), seconds)
            else:
                batch.nominations.append((need.entity, [need.key], look.suspect))
                batch.wait(look.suspect, str(need))
        return [look for look in looks if look.suspect.key not in missing]

    async def _show(self, batch: Batch) -> None:
        for (look, shown), diff_id in zip(batch.shown, await self._put(batch.shown, batch), strict=True):
            if diff_id is None:
                continue
            batch.done.append(look.suspect)
            if shown.status == "in_review" and (look.diff is None or look.diff.status != "in_review"):
                # What is derived from it has waited for it, and now counts it as it is.
                held = look.judged.document.record, look.judged.relational.record
                for entity, keys in followers(look.suspect.entity, *held):
                    batch.nominations.append((entity, keys, look.suspect))

    async def _put(self, shown: Sequence[tuple[Look, Show]], batch: Batch) -> list[UUID | None]:
        """Record what looks found, unless an operator decided meanwhile: then the record is looked at again."""
        diff_ids = await self.work.put(
            [
                Found(
                    look.suspect,
                    look.verdict,
                    each.status,
                    look.diff,
                    each.reason,
                    look.judged.persons(look.suspect.key),
                )
                for look, each in shown
            ]
        )
        for (look, _show), diff_id in zip(shown, diff_ids, strict=True):
            if diff_id is None:
                reason = "another look: its diff has just been decided"
                batch.hold_back(look.suspect, reason, _DECIDED_MEANWHILE_SECONDS)
        return diff_ids

    async def _repair(self, sides: EntitySides, looks: list[Look], batch: Batch) -> None:
        shown = [(look, _while_written(look)) for look in looks]
        put = zip(looks, await self._put(shown, batch), strict=True)
        ready = [(look, diff_id) for look, diff_id in put if diff_id]
        if not ready:
            return
        granted = await self.work.reserve(sides.mapping.entity, [_size(look) for look, _diff_id in ready])
        for look, _diff_id in ready[granted.repairs :]:
            batch.hold_back(look.suspect, f"an operator: {granted.stopped}", _STOPPED_SECONDS)
        ready = ready[: granted.repairs]
        if not ready:
            return
        changes = [change for look, diff_id in ready for change in _prepare(look, diff_id)]
        try:
            results = await carry_out(
                sides,
                self.audit,
                changes,
                timeout_seconds=self.write_seconds,
                announce=self._announce,
                clock=self.clock,
            )
        except NothingTriedError:
            # While the audit store refuses, the same repairs are tried again and again: they must not trip the breaker.
            await self.work.give_back(
                sides.mapping.entity, granted, [_size(look) for look, _diff_id in ready]
            )
            raise
        ended: dict[UUID, list[tuple[Change, Written | None]]] = defaultdict(list)
        for change, result in zip(changes, results, strict=True):
            ended[change.diff_id].append((change, result))
        for look, diff_id in ready:
            self._conclude(look, diff_id, ended[diff_id], batch)

    def _conclude(
        self, look: Look, diff_id: UUID, own: list[tuple[Change, Written | None]], batch: Batch
    ) -> None:
        results = [result for _change, result in own]
        batch.arrived += [
            str(Need(change.entity, change.key, change.plan.side))
            for change, result in own
            if change.plan.action is Action.CREATE and result and result.outcome is Outcome.APPLIED
        ]
        rejected = [each.detail for each in results if each and each.outcome is Outcome.REJECTED]
        if None in results:
            batch.hold_back(look.suspect, "a write under way", seconds_to_judge(self.write_seconds))
        elif rejected:
            batch.end(look, diff_id, "in_review", f"rejected: {rejected[0]}")
        elif all(each and each.outcome is Outcome.APPLIED for each in results):
            self._conclude_applied(look, diff_id, batch)
        elif look.out_of_patience and not look.is_approved:
            batch.end(look, diff_id, "unsettled", "somebody else writes it all the time")
        else:
            batch.wait(look.suspect, "a moment in which nobody else writes it")

    def _conclude_applied(self, look: Look, diff_id: UUID, batch: Batch) -> None:
        if look.judged.expected.unsettled:
            batch.endings.append(Ending(diff_id, "repaired"))
            batch.wait(look.suspect, "records that it is derived from")
        else:
            batch.end(look, diff_id, "repaired")
            batch.agree(look.agreement(self.settle_window, look.verdict.plans))

    @property
    def _announce(self) -> Announce:
        return partial(nominate_dependents, self.work.nominate)


def repairer_of(stores: Stores) -> Repairer:
    """The repairer of all declared entities."""
    return Repairer(
        sides=every_entity(stores),
        work=CoreWork(stores),
        audit=AuditStore.of(stores),
        settle_window=timedelta(milliseconds=stores.settings.settle_milliseconds),
        write_seconds=stores.settings.store_timeout_seconds,
    )


def _while_written(look: Look) -> Show:
    """How a diff is shown while its record is being written: one that was refused before stays in review until it is not."""
    if look.diff and look.diff.status == "in_review" and look.diff.fingerprint == look.verdict.fingerprint:
        return Show("in_review", look.diff.reason)
    return Show("approved" if look.is_approved else "open")


async def _all(*work: Coroutine[Any, Any, None]) -> None:
    """Wait for all of it, and only then raise what one of them raised: the others give back what they claimed."""
    for ended in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _size(look: Look) -> Limits:
    plans = look.verdict.plans
    return Limits(changes=len(plans), deletes=sum(plan.action is Action.REMOVE for plan in plans))


def _prepare(look: Look, diff_id: UUID) -> list[Change]:
    document, relational = look.judged.document, look.judged.relational
    return [
        Change(
            id=uuid4(),
            entity=look.suspect.entity,
            key=look.suspect.key,
            cause=look.suspect.cause,
            run_id=look.suspect.run_id,
            diff_id=diff_id,
            plan=plan,
            reading=document if plan.side is Side.DOCUMENT else relational,
            updated_at=look.judged.updated_at,
        )
        for plan in look.verdict.plans
    ]
