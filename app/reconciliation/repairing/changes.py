"""Changes: conditional writes, each with its own intent and outcome in the audit store.

The intent is durable before the write is tried. A writer that dies leaves an intent without an outcome; once its
deadline has passed, whoever comes next reads the record and says how it ended.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from loguru import logger
from msgspec import UNSET, UnsetType

from app.audit.entries import IntentEntry, Outcome, OutcomeEntry, Personal
from app.audit.store import AuditPort
from app.clock import Clock
from app.errors import StoreUnavailableError
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides.ports import ABSENT, Reading, Write, Written
from app.reconciliation.sides.records import EntitySides
from app.reconciliation.values import Record, spell
from config.correlation import current

# Between the longest write and the moment when others may judge it.
_GRACE = timedelta(seconds=2)
# Whoever comes so much after a deadline is not too early by a rounding.
_AFTERWARDS = timedelta(seconds=0.1)


# Told of what has been written, before its outcome is recorded.
Announce = Callable[[Sequence[IntentEntry]], Awaitable[None]]


@dataclass(frozen=True)
class Change:
    """One plan for one record, ready to be written: a repair of a diff, or what takes another change back."""

    id: UUID
    entity: str
    key: str
    cause: str
    run_id: UUID | None
    diff_id: UUID
    plan: Plan
    reading: Reading
    updated_at: datetime | None
    undoes: UUID | None = None


class NothingTriedError(StoreUnavailableError):
    """The audit store has not taken the intents, so none of the writes was tried."""


async def carry_out(
    sides: EntitySides,
    audit: AuditPort,
    changes: Sequence[Change],
    *,
    timeout_seconds: float,
    announce: Announce,
    clock: Clock,
) -> list[Written | None]:
    """Write the intents, try the writes side by side, record the outcomes; answers one result per change.

    None stands for a write of which the store did not tell: its intent stays open for `finish_open`, which can tell in
    `seconds_to_judge`. Raises NothingTriedError when the audit store does not take the intents.
    """
    started = clock()
    latest = started + timedelta(seconds=timeout_seconds)
    intents = [_intent(sides.mapping, change, started, latest + _GRACE) for change in changes]
    try:
        await audit.append(intents)
    except StoreUnavailableError as error:
        raise NothingTriedError(str(error)) from error
    results = await _write(sides, changes, latest, clock)
    known = zip(intents, results, strict=True)
    await _end(audit, [_Ended(intent, result) for intent, result in known if result], announce, clock)
    return results


def seconds_to_judge(write_seconds: float) -> float:
    """How long after a write without an answer reading its record tells how it ended."""
    return write_seconds + (_GRACE + _AFTERWARDS).total_seconds()


async def finish_open(
    sides: EntitySides, audit: AuditPort, keys: Collection[str], *, announce: Announce, clock: Clock
) -> dict[str, float]:
    """Say how the writes of dead writers to these records ended, by reading the records again.

    Answers the records with a write that may still be under way, and in how many seconds it is over: no record is to be
    judged before.
    """
    instant = clock()
    intents = await audit.open_intents_of(sides.mapping.entity, keys)
    over = [each for each in intents if each.deadline <= instant]
    await _finish(sides, audit, over, announce, clock)
    left = (each for each in intents if each.deadline > instant)
    return {each.key: (each.deadline - instant + _AFTERWARDS).total_seconds() for each in left}


async def _finish(
    sides: EntitySides, audit: AuditPort, intents: Sequence[IntentEntry], announce: Announce, clock: Clock
) -> None:
    for side in Side:
        own = [intent for intent in intents if intent.side == side]
        held = await sides.side(side).read([intent.key for intent in own]) if own else {}
        judged = [_judge(sides.mapping, each, held.get(each.key, ABSENT)) for each in own]
        await _end(audit, judged, announce, clock)


@dataclass(frozen=True)
class _Ended:
    """How the write of an intent ended, and whose it is what the detail quotes of a record."""

    intent: IntentEntry
    written: Written
    quoted: Personal | UnsetType = UNSET

    def entry(self, at: datetime) -> OutcomeEntry:
        return OutcomeEntry(self.intent.id, at, self.written.outcome, self.written.detail, self.quoted)


async def _end(audit: AuditPort, ended: Sequence[_Ended], announce: Announce, clock: Clock) -> None:
    """Record outcomes, but first have it known what was written: who dies in between is followed by `finish_open`."""
    written = {Outcome.APPLIED, Outcome.INDETERMINATE}
    await announce([each.intent for each in ended if each.written.outcome in written])
    await audit.append([each.entry(clock()) for each in ended])
    if ended:
        _log(ended)


def _log(ended: Sequence[_Ended]) -> None:
    """Details stay out: they may quote what the record holds."""
    for each in ended:
        intent, outcome = each.intent, each.written.outcome
        bound = logger.bind(entity=intent.entity, key=intent.key, outcome=outcome)
        bound.bind(side=intent.side, change_id=intent.id, run_id=intent.run_id).debug("change.settled")
    counts = Counter(str(each.written.outcome) for each in ended)
    logger.bind(entity=ended[0].intent.entity, **counts).info("changes.settled")


async def _write(
    sides: EntitySides, changes: Sequence[Change], latest: datetime, clock: Clock
) -> list[Written | None]:
    results: dict[UUID, Written | None] = {}
    for side, written in zip(
        Side,
        await asyncio.gather(*(_write_side(sides, side, changes, latest, clock) for side in Side)),
        strict=True,
    ):
        own = (change for change in changes if change.plan.side is side)
        results |= {change.id: result for change, result in zip(own, written, strict=True)}
    return [results[change.id] for change in changes]


async def _write_side(
    sides: EntitySides, side: Side, changes: Sequence[Change], latest: datetime, clock: Clock
) -> Sequence[Written | None]:
    own = [change for change in changes if change.plan.side is side]
    left = (latest - clock()).total_seconds()
    if left <= 0:  # this process was held up; others may judge the intents from now on
        return [Written(Outcome.SUPERSEDED, "its time was over before it was tried")] * len(own)
    try:
        async with asyncio.timeout(left):
            return await sides.side(side).write(
                [Write(each.key, each.plan, each.reading, each.updated_at) for each in own],
                until=latest + _GRACE / 2,
            )
    except TimeoutError:
        # It may still take effect: only after the deadline can reading the records tell.
        return [None] * len(own)


def _judge(mapping: Mapping, intent: IntentEntry, reading: Reading) -> _Ended:
    held = _spelled(reading.record)
    if intent.personal and intent.personal.is_erased:
        return _Ended(intent, Written(Outcome.INDETERMINATE, "what it was to write is erased"))
    if _agrees(held, intent.after):
        return _Ended(intent, Written(Outcome.APPLIED, "found applied on reading again"))
    if _agrees(held, intent.before):
        return _Ended(intent, Written(Outcome.SUPERSEDED, "found unchanged on reading again"))
    quoted = _personal(mapping, intent.key, reading.record)
    if quoted:
        quoted = Personal(quoted.persons, fields=("detail",))
    return _Ended(intent, Written(Outcome.INDETERMINATE, f"found {held}"), quoted)


def _agrees(held: dict[str, Any] | None, wanted: dict[str, Any] | None) -> bool:
    if held is None or wanted is None:
        return held is wanted
    return all(held.get(name) == value for name, value in wanted.items())


def _intent(mapping: Mapping, change: Change, at: datetime, deadline: datetime) -> IntentEntry:
    before = change.reading.record
    after: Record | None = None
    if change.plan.action is not Action.REMOVE:
        after = (before or {}) | change.plan.values
    correlation = current()
    return IntentEntry(
        id=change.id,
        at=at,
        deadline=deadline,
        entity=change.entity,
        key=change.key,
        side=change.plan.side,
        action=change.plan.action,
        before=_spelled(before),
        after=_spelled(after),
        policy=change.plan.why,
        cause=change.cause,
        diff_id=change.diff_id,
        run_id=change.run_id,
        updated_at_before=change.reading.updated_at,
        # A change that sets none leaves what there was. A removal that only marks the record has one too.
        updated_at_after=change.updated_at or change.reading.updated_at,
        undoes=change.undoes,
        trace_id=correlation.trace_id if correlation else None,
        request_id=correlation.request_id if correlation else None,
        personal=_personal(mapping, change.key, before, after),
    )


def _personal(mapping: Mapping, key: str, *held: Record | None) -> Personal | UnsetType:
    """Whose values these states of a record hold, and in which fields."""
    named = {name for record in held for name in record or {}} & mapping.personal_fields
    return Personal(mapping.persons(key, *held), tuple(sorted(named))) if named else UNSET


def _spelled(record: Record | None) -> dict[str, Any] | None:
    return None if record is None else {name: spell(value) for name, value in record.items()}
