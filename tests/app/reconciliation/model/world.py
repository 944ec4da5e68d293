"""A world of model stores: its two owners, its operators, and what must hold of it whatever happens."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from app.audit.entries import IntentEntry, Outcome
from app.reconciliation.deciding.undoing import Undoer
from app.reconciliation.mapping import Authority, Derived, Side, mappings
from app.reconciliation.repairing.repair import Repairer
from app.reconciliation.resolve import Action, differ
from app.reconciliation.sides.ports import Write
from app.reconciliation.sides.records import EntitySides
from app.reconciliation.values import Record, Value, spell
from tests.app.reconciliation.model.stores import Held, ModelAudit, ModelSide, ModelWork
from tests.app.reconciliation.model.turns import Actor, BrokenPromiseError, Clock

ENTITIES = ("customers", "launches", "bookings")
WRITE_SECONDS = 5.0
SETTLE = timedelta(milliseconds=200)
KEYS = {entity: [str(UUID(int=10 * at + n + 1)) for n in range(3)] for at, entity in enumerate(ENTITIES)}


@dataclass
class Effect:
    """A write of ours that took effect, and the change that announced it."""

    intent: IntentEntry
    at: datetime


@dataclass
class World:
    """Both sides, the audit store and the core DB, with the actors that write to them."""

    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    audit: ModelAudit = field(default_factory=ModelAudit)
    effects: list[Effect] = field(default_factory=list)
    owner_wrote: list[tuple[str, str, Side, datetime]] = field(default_factory=list)
    events: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.work = ModelWork(self.clock)
        known = mappings()
        self.sides = {
            (entity, side): ModelSide(known[entity], side, self.clock, self._witness)
            for entity in ENTITIES
            for side in Side
        }
        bookings = self.side("bookings", Side.RELATIONAL)
        for name, entity in (("customer_id", "customers"), ("launch_id", "launches")):
            bookings.must_exist[name] = self.side(entity, Side.RELATIONAL)
            self.side(entity, Side.RELATIONAL).referred_by.append(bookings)

    def side(self, entity: str, side: Side) -> ModelSide:
        return self.sides[entity, side]

    def repairer(self) -> Repairer:
        batch = self.rng.choice((1, 2, 250))
        return Repairer(self._every_entity(), self.work, self.audit, SETTLE, WRITE_SECONDS, self.clock, batch)

    def undoer(self) -> Undoer:
        return Undoer(self._every_entity(), self.work.nominate, self.audit, WRITE_SECONDS, self.clock)

    def held(self) -> dict[tuple[str, Side], dict[str, Held]]:
        """What every side holds."""
        return {place: dict(side.records) for place, side in self.sides.items()}

    def _every_entity(self) -> dict[str, EntitySides]:
        return {
            entity: EntitySides(
                mappings()[entity], self.side(entity, Side.DOCUMENT), self.side(entity, Side.RELATIONAL)
            )
            for entity in ENTITIES
        }

    # What owners and operators do.

    def owner_writes(self) -> None:
        """An owner creates, changes or deletes a record on one side; the event may get lost or come twice."""
        entity, side = self.rng.choice(ENTITIES), self.rng.choice(list(Side))
        key = self.rng.choice(KEYS[entity])
        place = self.side(entity, side)
        held = place.records.get(key)
        if held is None:
            self._create(place, key)
        elif self.rng.random() < 0.1:
            self._delete(place, key)
        else:
            name = self.rng.choice([each.name for each in place.mapping.fields if each.name in held.record])
            record = held.record | {name: self._value(entity, name)}
            if self._may_be_held(place, record):
                place.records[key] = Held(record, self.clock())
        self.owner_wrote.append((entity, key, side, self.clock()))
        self.events += [(entity, key)] * self.rng.choice((0, 1, 1, 2))

    def seed(self) -> None:
        """Both sides start out equal."""
        for entity in ENTITIES:
            for key in KEYS[entity][:2]:
                record = self._record(entity)
                if entity == "bookings":
                    record |= {
                        "customer_id": UUID(KEYS["customers"][0]),
                        "launch_id": UUID(KEYS["launches"][1]),
                    }
                for side in Side:
                    self.side(entity, side).records[key] = Held(
                        self._kept(entity, side, record), self.clock()
                    )
        for key in KEYS["launches"][:2]:
            self._count_seats(key)
        self.clock.advance(60)

    def _create(self, place: ModelSide, key: str) -> None:
        entity = place.mapping.entity
        record = self._kept(entity, place.side, self._record(entity))
        if self._may_be_held(place, record):
            place.records[key] = Held(record, self.clock())

    def _delete(self, place: ModelSide, key: str) -> None:
        used = any(
            str(held.record[name]) == key
            for other in place.referred_by
            for name, target in other.must_exist.items()
            if target is place
            for held in other.records.values()
        )
        if not used:
            del place.records[key]

    def _may_be_held(self, place: ModelSide, record: Record) -> bool:
        return all(str(record[name]) in target.records for name, target in place.must_exist.items())

    def delivers_event(self) -> None:
        """Some event arrives: late, or before one that was sent earlier."""
        if self.events:
            entity, key = self.events.pop(self.rng.randrange(len(self.events)))
            self.work.nominate_now(entity, [key])

    def operator_acts(self) -> None:
        """Approve, reject, hold or release something."""
        open_diffs = [each for each in self.work.diffs.values() if each.status == "in_review"]
        entity = self.rng.choice(ENTITIES)
        key = self.rng.choice(KEYS[entity])
        match self.rng.choice(("approve", "reject", "hold", "release")):
            case "approve" if open_diffs:
                diff = self.rng.choice(open_diffs)
                self.work.change_diff(diff, status="approved", resolution=self.rng.choice(list(Side)).value)
                self.work.nominate_now(diff.entity, [diff.key], cause="approved")
            case "reject" if open_diffs:
                self.work.change_diff(self.rng.choice(open_diffs), status="rejected")
            case "hold":
                self.work.holds[entity, key] = "test"
            case "release" if (entity, key) in self.work.holds:
                del self.work.holds[entity, key]
                self.work.nominate_now(entity, [key], mode="any")

    def late_writes_land(self) -> None:
        for side in self.sides.values():
            side.take_late()

    def full_run_nominates(self) -> None:
        """What full runs would find: every record that the other side does not agree with."""
        for entity in ENTITIES:
            keys = {key for side in Side for key in self.side(entity, side).records}
            keys |= {each.key for each in self.work.diffs.values() if each.entity == entity}
            self.work.nominate_now(entity, keys, cause="run", mode="full")

    def sweep_nominates(self) -> None:
        for change in self.audit.all_changes():
            if change.outcome is None and change.intent.deadline < self.clock():
                self.work.nominate_now(change.intent.entity, [change.intent.key], cause="sweep")

    # What must hold.

    def _witness(self, place: ModelSide, write: Write, before: Record | None, by: Actor | None) -> None:
        """At the moment of a write of ours: it was announced, says the truth, and is nobody else's to decide."""
        announced = [each for each in self.audit.all_changes() if each.outcome is None]
        fitting = [
            each.intent
            for each in announced
            if (each.intent.entity, each.intent.key, each.intent.side)
            == (place.mapping.entity, write.key, place.side)
            and each.intent.before == _spelled(before)
            and each.intent.after == _after(before, write)
            and self.audit.authors[each.intent.id] is by
        ]
        _promise(fitting, f"a write without an open intent that tells of it: {write}")
        taken = {effect.intent.id for effect in self.effects}
        fresh = [intent for intent in fitting if intent.id not in taken]
        _promise(fresh, f"a change was written twice: {write}")
        self.effects.append(Effect(fresh[0], self.clock()))
        if write.plan.action is Action.UPDATE and fresh[0].undoes is None:
            for name in write.plan.values:
                rule = place.mapping.field_by_name[name].rule
                assert not (isinstance(rule, Authority) and rule.side is place.side), (
                    f"{name} belongs to {place.side}"
                )

    def check_ended(self) -> None:
        """After the last repair: one outcome per change, none of them a lie, and sides that agree."""
        self.check_agreements()
        assert not self.work.rows, f"still suspect: {self.work.rows}"
        outcomes = Counter(key[1] for key in self.audit.entries if key[0] == "outcome")
        for change in self.audit.all_changes():
            assert outcomes[change.intent.id] == 1, "one intent, one outcome"
            assert change.outcome is not None
            self._check_outcome(change.intent, change.outcome.outcome, change.outcome.detail)
        for entity in ENTITIES:
            for key in KEYS[entity]:
                self._check_agreement(entity, key)

    def check_agreements(self) -> None:
        """Whoever finds the versions that agreed finds records that agree: no watermark has them looked at again.

        An undo may leave a version as it was, and a record that differs; that one is on hold until it is released,
        which makes it suspect.
        """
        for (entity, key), agreement in self.work.agreements.items():
            if (entity, key) in self.work.holds or (entity, key) in self.work.rows:
                continue
            document = self.side(entity, Side.DOCUMENT).records.get(key)
            relational = self.side(entity, Side.RELATIONAL).records.get(key)
            if document is None or relational is None or self._was_written_too_late(entity, key):
                continue
            if (document.updated_at, relational.updated_at) == (
                agreement.document_at,
                agreement.relational_at,
            ):
                self._check_fields(entity, key, document, relational)

    def _was_written_too_late(self, entity: str, key: str) -> bool:
        """The document side cannot be kept from taking a write that was sent in time, whenever that is."""
        own = (each for each in self.effects if (each.intent.entity, each.intent.key) == (entity, key))
        return any(each.at > each.intent.deadline and each.intent.side == Side.DOCUMENT for each in own)

    def check_same(self, before: dict[tuple[str, Side], dict[str, Held]]) -> None:
        """Every side holds what it held, and nothing else."""
        for place, records in before.items():
            assert self.sides[place].records == records, f"{place} is not what it was"

    def check_held_are_same(self, before: dict[tuple[str, Side], dict[str, Held]]) -> None:
        """Records on hold are what they were; others may follow from them."""
        for (entity, side), records in before.items():
            for key in KEYS[entity]:
                if (entity, key) in self.work.holds:
                    assert self.side(entity, side).records.get(key) == records.get(key), f"{entity} {key}"

    def _check_outcome(self, intent: IntentEntry, outcome: Outcome, detail: str | None) -> None:
        effect = next((each for each in self.effects if each.intent.id == intent.id), None)
        if effect is None:
            # On reading again, what somebody else wrote since may look like our own write.
            assert outcome is not Outcome.APPLIED or "reading again" in str(detail), (
                f"never took effect: {intent}"
            )
        elif outcome in {Outcome.SUPERSEDED, Outcome.REJECTED}:
            assert "reading again" in str(detail), f"took effect and says {outcome}: {intent}"
            if effect.at > intent.deadline and intent.side == Side.DOCUMENT:
                return  # sent in time and taken too late: the document side cannot be kept from that
            assert self._was_written_since(intent, effect.at), f"took effect and says {outcome}: {intent}"

    def _was_written_since(self, intent: IntentEntry, at: datetime) -> bool:
        by_owner = any(
            (entity, key, side) == (intent.entity, intent.key, intent.side) and when >= at
            for entity, key, side, when in self.owner_wrote
        )
        return by_owner or any(
            (each.intent.entity, each.intent.key, each.intent.side)
            == (intent.entity, intent.key, intent.side)
            and each.at >= at
            and each.intent.id != intent.id
            for each in self.effects
        )

    def _check_agreement(self, entity: str, key: str) -> None:
        standing = self.work.standing_now(entity, key)
        if standing:
            held = (entity, key) in self.work.holds
            assert standing.status in {"in_review", "rejected"} or (
                held and standing.status in {"open", "approved"}
            ), f"{entity} {key} is {standing.status}: {standing.reason}"
            return
        document = self.side(entity, Side.DOCUMENT).records.get(key)
        relational = self.side(entity, Side.RELATIONAL).records.get(key)
        assert (document is None) == (relational is None), (
            f"{entity} {key} is on one side only, and no diff says so"
        )
        if document and relational:
            self._check_fields(entity, key, document, relational)
            if entity == "launches":
                assert document.record["available_seats"] == self._seats_left(key), (
                    "seats that follow from bookings"
                )

    def _check_fields(self, entity: str, key: str, document: Held, relational: Held) -> None:
        for each in mappings()[entity].compared_fields:
            assert not differ(document.record[each.name], relational.record[each.name]), f"{key} {each.name}"

    def _seats_left(self, key: str) -> int:
        rule = mappings()["launches"].field_by_name["available_seats"].rule
        assert isinstance(rule, Derived)
        bookings = self.side("bookings", Side.DOCUMENT).records.values()
        sold = sum(
            int(str(held.record["number_of_seats"]))
            for held in bookings
            if str(held.record["launch_id"]) == key and held.record["status"] in rule.less.where_values
        )
        total = self.side("launches", Side.RELATIONAL).records[key].record["total_seats"]
        return int(str(total)) - sold

    def _count_seats(self, key: str) -> None:
        place = self.side("launches", Side.DOCUMENT)
        place.records[key] = replace(
            place.records[key], record=place.records[key].record | {"available_seats": self._seats_left(key)}
        )

    # Records and values.

    def _record(self, entity: str) -> Record:
        return {each.name: self._value(entity, each.name) for each in mappings()[entity].fields}

    def _kept(self, entity: str, side: Side, record: Record) -> Record:
        derived = {each.name for each in mappings()[entity].derived_fields}
        return record if side is Side.DOCUMENT else {k: v for k, v in record.items() if k not in derived}

    def _value(self, entity: str, name: str) -> Value:
        choices: dict[str, list[Value]] = {
            "customer_id": [UUID(key) for key in KEYS["customers"]],
            "launch_id": [UUID(key) for key in KEYS["launches"]],
            "status": ["Confirmed", "Cancelled", "Completed"],
            "cancellation_date": [None, datetime(2026, 5, 1, tzinfo=self.clock().tzinfo)],
        }
        if name in choices and (entity == "bookings" or name != "status"):
            return self.rng.choice(choices[name])
        kinds: dict[str, list[Value]] = {
            "uuid": [UUID(int=77), UUID(int=78)],
            "text": ["a", "b"],
            "integer": [1, 2, 3],
            "boolean": [True, False],
            "decimal": [Decimal("1.00"), Decimal("2.50")],
            "timestamp": [datetime(2026, 1, day, tzinfo=self.clock().tzinfo) for day in (1, 2)],
            "date": [date(1990, 1, 1), date(1991, 1, 1)],
        }
        return self.rng.choice(kinds[mappings()[entity].field_by_name[name].kind])


def _promise(kept: object, broken: str) -> None:
    if not kept:
        raise BrokenPromiseError(broken)


def _spelled(record: Record | None) -> dict[str, object] | None:
    return None if record is None else {name: spell(value) for name, value in record.items()}


def _after(before: Record | None, write: Write) -> dict[str, object] | None:
    return None if write.plan.action is Action.REMOVE else _spelled((before or {}) | write.plan.values)
