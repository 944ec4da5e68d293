"""Models of a side, of the audit store and of the core DB. A call has two turns: before its effect and after it."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import msgspec

from app.audit.entries import Entry, FactEntry, IntentEntry, Outcome, OutcomeEntry
from app.audit.store import Change
from app.errors import StoreUnavailableError
from app.reconciliation.ledger.agreements import Agreement
from app.reconciliation.ledger.breaker import Granted, Limits
from app.reconciliation.ledger.diffs import OPEN, Ending, Found
from app.reconciliation.ledger.suspects import SETTLING, Postponed, Suspect
from app.reconciliation.ledger.views import DiffView
from app.reconciliation.mapping import Mapping, Side
from app.reconciliation.resolve import Action
from app.reconciliation.sides.ports import Reading, Write, Written
from app.reconciliation.values import Record
from tests.app.reconciliation.model.turns import Actor, Clock, current, turn

AWAY, LOST, LATE, PARTLY = "away", "lost", "late", "partly"

# (side, write, record before, who sent it): told of each write of ours before it takes effect.
Witness = Callable[["ModelSide", Write, Record | None, Actor | None], None]


@dataclass
class Held:
    """A record as a side holds it."""

    record: Record
    updated_at: datetime


@dataclass
class ModelSide:
    """Implements `SidePort`. `must_exist` are the fields that hold a key of another table: a foreign key."""

    mapping: Mapping
    side: Side
    clock: Clock
    witness: Witness
    must_exist: dict[str, "ModelSide"] = field(default_factory=dict)
    referred_by: list["ModelSide"] = field(default_factory=list)
    records: dict[str, Held] = field(default_factory=dict)
    late: list[tuple[datetime, Write, Actor | None]] = field(default_factory=list)

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        _check(await turn())
        found = {key: self._reading(self.records[key]) for key in keys if key in self.records}
        _check(await turn())
        return found

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        _check(await turn())
        return {
            key: self._reading(held)
            for key, held in self.records.items()
            if str(held.record[name]) in set(keys)
        }

    async def existing(self, keys: Iterable[str]) -> set[str]:
        _check(await turn())
        return set(keys) & self.records.keys()

    async def write(self, writes: Sequence[Write], *, until: datetime) -> list[Written | None]:
        fault = await turn()
        if fault == LATE:
            self.late += [(until, each, current()) for each in writes]
            return [None] * len(writes)
        if fault == AWAY:
            return [None] * len(writes)
        taken = writes[: len(writes) // 2] if fault == PARTLY else writes
        results = [self.take(each, current(), until) for each in taken]
        if fault in {LOST, PARTLY} or await turn() == LOST:
            return [None] * len(writes)
        return list(results)

    def take(self, write: Write, by: Actor | None, until: datetime) -> Written:
        """What the store does with a conditional write, at one moment."""
        held = self.records.get(write.key)
        if self.clock() > until and self.side is Side.RELATIONAL:
            return Written(Outcome.SUPERSEDED)
        before = held and self._reading(held).stored
        if (before or {}) != write.reading.stored:
            return Written(Outcome.SUPERSEDED)
        if refusal := self._refusal(write):
            return Written(Outcome.REJECTED, refusal)
        self.witness(self, write, held and held.record, by)
        if write.plan.action is Action.REMOVE:
            del self.records[write.key]
            return Written(Outcome.APPLIED)
        record = (held.record if held else {}) | write.plan.values
        updated_at = write.updated_at or (held.updated_at if held else self.clock())
        self.records[write.key] = Held(record, updated_at)
        return Written(Outcome.APPLIED)

    def take_late(self) -> None:
        """Writes whose answer was given up take effect after all, in time or too late."""
        for until, write, by in self.late:
            self.take(write, by, until)
        self.late.clear()

    def _refusal(self, write: Write) -> str | None:
        if write.plan.action is Action.REMOVE:
            key = write.key
            used = any(
                str(held.record[name]) == key
                for other in self.referred_by
                for name, target in other.must_exist.items()
                if target is self
                for held in other.records.values()
            )
            return "constraint used" if used else None
        for name, target in self.must_exist.items():
            if name in write.plan.values and str(write.plan.values[name]) not in target.records:
                return f"constraint {name}"
        return None

    def _reading(self, held: Held) -> Reading:
        return Reading(
            record=dict(held.record),
            stored={**held.record, "updated_at": held.updated_at},
            updated_at=held.updated_at,
            age=self.clock() - held.updated_at,
        )


def _check(fault: str) -> None:
    if fault in {AWAY, LOST}:
        raise StoreUnavailableError("a model store is away")


@dataclass
class ModelAudit:
    """Implements `AuditPort`."""

    entries: dict[tuple[str, UUID], Entry] = field(default_factory=dict)
    authors: dict[UUID, Actor | None] = field(default_factory=dict)

    async def append(self, entries: Sequence[Entry]) -> int:
        _check(await turn())
        for entry in entries:
            kind = str(entry.__struct_config__.tag)
            if isinstance(entry, OutcomeEntry) and entry.id not in {each.id for each in self._open()}:
                continue
            # What was read back is what was stored: an entry must survive its own encoding.
            kept = msgspec.json.decode(
                msgspec.json.encode(entry), type=IntentEntry | OutcomeEntry | FactEntry
            )
            self.entries.setdefault((kind, entry.id), kept)
            self.authors.setdefault(entry.id, current())
        _check(await turn())
        return len(entries)

    async def open_intents_of(self, entity: str, keys: Collection[str]) -> list[IntentEntry]:
        _check(await turn())
        return [each for each in self._open() if each.entity == entity and each.key in keys]

    async def changes(
        self, *, entity: str | None = None, key: str | None = None, limit: int = 50
    ) -> list[Change]:
        _check(await turn())
        found = [
            each
            for each in self.all_changes()
            if (entity is None or each.intent.entity == entity) and (key is None or each.intent.key == key)
        ]
        return found[::-1][:limit]

    async def changes_by_id(self, ids: Sequence[UUID]) -> dict[UUID, Change]:
        _check(await turn())
        return {each.intent.id: each for each in self.all_changes() if each.intent.id in ids}

    def all_changes(self) -> list[Change]:
        """From the oldest to the newest."""
        return [
            Change(at, entry, self._outcome(entry.id))
            for at, entry in enumerate(self.entries.values())
            if isinstance(entry, IntentEntry)
        ]

    def _outcome(self, change_id: UUID) -> OutcomeEntry | None:
        found = self.entries.get(("outcome", change_id))
        return found if isinstance(found, OutcomeEntry) else None

    def _open(self) -> list[IntentEntry]:
        return [each.intent for each in self.all_changes() if each.outcome is None]


@dataclass
class Row:
    """A row of suspects."""

    suspect: Suspect
    due_at: datetime
    waiting_for: str | None = None
    leased_until: datetime | None = None

    def is_free(self, instant: datetime) -> bool:
        return self.due_at <= instant and (self.leased_until is None or self.leased_until < instant)


NOBODY = UUID(int=0)


def _of_run(cause: str) -> bool:
    return cause == "watermark" or cause.startswith("run ")


@dataclass
class ModelWork:
    """Implements `WorkPort`. What a method does, it does in one step."""

    clock: Clock
    modes: set[str] = field(default_factory=lambda: {"full", "incremental"})
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    diffs: dict[UUID, DiffView] = field(default_factory=dict)
    holds: dict[tuple[str, str], str] = field(default_factory=dict)
    agreements: dict[tuple[str, str], Agreement] = field(default_factory=dict)

    async def stopped(self) -> dict[str, str]:
        _check(await turn())
        return {}

    async def repairing_modes(self, entity: str) -> set[str]:  # noqa: ARG002  (every job may repair)
        _check(await turn())
        return set(self.modes)

    async def reserve(self, entity: str, wanted: Sequence[Limits]) -> Granted:  # noqa: ARG002  (it never trips)
        _check(await turn())
        return Granted(len(wanted))

    async def give_back(self, *_counted: object) -> None:
        _check(await turn())

    async def claim(self, entity: str, *, limit: int, lease_seconds: float) -> list[Suspect]:
        _check(await turn())
        instant, lease = self.clock(), uuid4()
        free = [
            row
            for (of, _key), row in sorted(self.rows.items(), key=lambda item: (item[1].due_at, item[0]))
            if of == entity and row.is_free(instant)
        ]
        for row in free[:limit]:
            row.suspect = replace(row.suspect, lease=lease)
            row.leased_until = instant + timedelta(seconds=lease_seconds)
        claimed = [row.suspect for row in free[:limit]]
        _check(await turn())
        return claimed

    async def next_due(self, entities: Sequence[str]) -> float | None:
        due = [row.due_at for (entity, _key), row in self.rows.items() if entity in entities]
        return (min(due) - self.clock()).total_seconds() if due else None

    async def nominate(
        self, entity: str, keys: Iterable[str], *, cause: str, mode: str, run_id: UUID | None
    ) -> None:
        _check(await turn())
        self.nominate_now(entity, keys, cause=cause, mode=mode, run_id=run_id)
        _check(await turn())

    def nominate_now(
        self,
        entity: str,
        keys: Iterable[str],
        *,
        cause: str = "event",
        mode: str = "incremental",
        run_id: UUID | None = None,
    ) -> None:
        """What an event or a scan does."""
        for key in keys:
            fresh = Suspect(entity, key, cause, run_id, mode, 1, 0, NOBODY)
            row = self.rows.setdefault((entity, key), Row(fresh, self.clock()))
            if row.suspect is fresh:
                continue
            row.due_at = min(row.due_at, self.clock())
            row.suspect = replace(
                row.suspect,
                cause=row.suspect.cause if _of_run(cause) and not _of_run(row.suspect.cause) else cause,
                mode=mode if row.suspect.mode == mode else "any",
                run_id=run_id or row.suspect.run_id,
                nominations=row.suspect.nominations + 1,
                attempts=row.suspect.attempts if row.waiting_for == SETTLING else 0,
            )

    async def suspected(self, entity: str, keys: Sequence[str]) -> set[str]:
        _check(await turn())
        return {key for key in keys if (entity, key) in self.rows}

    async def postpone(self, postponed: Sequence[Postponed]) -> None:
        _check(await turn())
        for each in postponed:
            row = self._leased(each.suspect)
            if row is None:
                continue
            again = row.suspect.nominations != each.suspect.nominations
            row.due_at = self.clock() + timedelta(seconds=0 if again else each.seconds)
            row.suspect = replace(row.suspect, attempts=row.suspect.attempts + int(each.counts))
            row.waiting_for, row.leased_until = each.waiting_for, None
        _check(await turn())

    async def dismiss(self, done: Sequence[Suspect]) -> None:
        _check(await turn())
        for each in done:
            row = self._leased(each)
            if row and row.suspect.nominations == each.nominations:
                del self.rows[each.entity, each.key]
            elif row:
                row.leased_until, row.due_at = None, self.clock()
        _check(await turn())

    def _leased(self, suspect: Suspect) -> Row | None:
        row = self.rows.get((suspect.entity, suspect.key))
        return row if row and row.suspect.lease == suspect.lease else None

    async def hasten(self, arrived: Sequence[str]) -> None:
        _check(await turn())
        for row in self.rows.values():
            if row.waiting_for in arrived:
                row.due_at = self.clock()

    async def standing(self, entity: str, keys: Sequence[str]) -> dict[str, DiffView]:
        _check(await turn())
        return {key: diff for key in keys if (diff := self.standing_now(entity, key))}

    def standing_now(self, entity: str, key: str) -> DiffView | None:
        own = [each for each in self.diffs.values() if (each.entity, each.key) == (entity, key)]
        best = max(enumerate(own), key=lambda at: (at[1].status in OPEN, at[0]), default=(0, None))[1]
        return best if best and best.status in (*OPEN, "rejected") else None

    async def held(self, entity: str, keys: Sequence[str]) -> dict[str, str]:
        _check(await turn())
        return {key: self.holds[entity, key] for key in keys if (entity, key) in self.holds}

    async def put(self, found: Sequence[Found]) -> list[UUID | None]:
        _check(await turn())
        diff_ids = [self._put(each) for each in found]
        _check(await turn())
        return diff_ids

    def _put(self, found: Found) -> UUID | None:
        entity, key = found.suspect.entity, found.suspect.key
        known = [each for each in self.diffs.values() if (each.entity, each.key) == (entity, key)]
        is_open = next((each for each in known if each.status in OPEN), None)
        over = found.over and self.diffs[found.over.id]
        if over and found.over and over.status != found.over.status:
            return None
        if is_open and (found.over is None or is_open.id != found.over.id):
            return None
        fingerprint, instant = found.verdict.fingerprint, self.clock()
        old = is_open
        diff = DiffView(
            id=old.id if old else uuid4(),
            entity=entity,
            key=key,
            run_id=(old and old.run_id) or found.suspect.run_id,
            cause=found.suspect.cause,
            kind=found.verdict.kind,
            status=found.status,
            fields=[],
            fingerprint=fingerprint,
            reason=found.reason or found.verdict.review,
            resolution=old.resolution if old else None,
            decided_by=None,
            decision=None,
            first_seen_at=old.first_seen_at if old else instant,
            moved_at=old.moved_at if old and old.fingerprint == fingerprint else instant,
            closed_at=None if found.status in OPEN else instant,
        )
        self.diffs[diff.id] = diff
        return diff.id

    async def close(self, endings: Sequence[Ending]) -> None:
        _check(await turn())
        for each in endings:
            diff = self.diffs[each.diff_id]
            if diff.status in OPEN:
                self.change_diff(diff, status=each.status, reason=each.reason or diff.reason)
        _check(await turn())

    async def agree(self, agreements: Sequence[Agreement]) -> None:
        _check(await turn())
        self.agreements |= {(each.entity, each.key): each for each in agreements}
        _check(await turn())

    def change_diff(self, diff: DiffView, **values: object) -> None:
        self.diffs[diff.id] = msgspec.structs.replace(diff, **values)
