"""What takes a change back, decided from its intent and what the side holds now. Pure: it reads and writes nothing.

A change is taken back only where the side still holds what the change wrote. What the mapping does not name was never
recorded: a record that was removed comes back with the mapped fields alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never

from app.audit.entries import IntentEntry
from app.reconciliation.mapping import Field, Mapping, Side, is_plain
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides.ports import Reading
from app.reconciliation.values import Record, Unreadable, parse_value, spell

ERASED = "what it wrote is erased: the person was forgotten"


@dataclass(frozen=True)
class Inverse:
    """The write that takes a change back; `updated_at` is what the record gets."""

    plan: Plan
    updated_at: datetime | None


@dataclass(frozen=True)
class Refused:
    """Why a change cannot be taken back."""

    reason: str


def invert(mapping: Mapping, intent: IntentEntry, reading: Reading) -> Inverse | Refused:
    """The inverse of an applied change of a record that now reads so."""
    if erased(intent):
        return Refused(ERASED)
    match Action(intent.action):
        case Action.CREATE:
            return _remove(intent, reading)
        case Action.REMOVE:
            return _create(mapping, intent, reading)
        case Action.UPDATE:
            return _restore(mapping, intent, reading)
        case _ as unknown:
            assert_never(unknown)


def erased(intent: IntentEntry) -> bool:
    """Whether nobody can tell any more what a change has written."""
    return intent.personal.is_erased if intent.personal else False


def _remove(intent: IntentEntry, reading: Reading) -> Inverse | Refused:
    created = intent.after or {}
    if reading.record is None:
        return Refused("it is gone")
    if changed := _changed(reading.record, created, created):
        return _since(changed)
    # Whoever wrote to it may have written what the mapping does not name, and removing it would lose that.
    if intent.updated_at_after is not None and not _same(reading.updated_at, intent.updated_at_after):
        return _since(["updated_at"])
    return Inverse(_plan(intent, Action.REMOVE, {}), None)


def _create(mapping: Mapping, intent: IntentEntry, reading: Reading) -> Inverse | Refused:
    if reading.record is not None:
        return Refused("it exists again")
    # Of what is only marked as deleted, its time alone tells whether somebody wrote to it.
    if reading.stored and not _known_same(reading.updated_at, intent.updated_at_after):
        return _since(["updated_at"])
    removed = {
        name: value
        for name, value in (intent.before or {}).items()
        if name not in mapping.field_by_name or _is_written(mapping.field_by_name[name], Side(intent.side))
    }
    values = _parse(mapping, removed)
    if isinstance(values, Refused):
        return values
    return Inverse(_plan(intent, Action.CREATE, values), intent.updated_at_before)


def _restore(mapping: Mapping, intent: IntentEntry, reading: Reading) -> Inverse | Refused:
    before, after = intent.before or {}, intent.after or {}
    written = [name for name in after if before.get(name) != after[name]]
    if reading.record is None:
        return Refused("it is gone")
    if not written:
        return Refused("it changed no value")
    if changed := _changed(reading.record, after, written):
        return _since(changed)
    values = _parse(mapping, {name: before.get(name) for name in written})
    if isinstance(values, Refused):
        return values
    untouched = _same(reading.updated_at, intent.updated_at_after)
    updated_at = intent.updated_at_before if untouched else None
    return Inverse(_plan(intent, Action.UPDATE, values), updated_at or reading.updated_at)


def _plan(intent: IntentEntry, action: Action, values: Record) -> Plan:
    why = f"undo of change {intent.id}"
    return Plan(Side(intent.side), action, values, dict.fromkeys(values or ("record",), why))


def _changed(held: Record, wanted: dict[str, Any], names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in held or spell(held[name]) != wanted[name]]


def _since(names: list[str]) -> Refused:
    return Refused(f"changed since: {', '.join(names)}")


def _parse(mapping: Mapping, spelled: dict[str, Any]) -> Record | Refused:
    unknown = [name for name in spelled if name not in mapping.field_by_name]
    if unknown:
        return Refused(f"no longer in the mapping: {', '.join(unknown)}")
    values: Record = {}
    for name, each in spelled.items():
        kind = mapping.field_by_name[name].kind
        try:
            values[name] = parse_value(kind, each)
        except ValueError:
            return Refused(f"no longer of the kind in the mapping: {name}, which is a {kind} now")
    unreadable = [name for name, value in values.items() if isinstance(value, Unreadable)]
    if unreadable:
        return Refused(f"was unreadable before and cannot be restored: {', '.join(unreadable)}")
    return values


def _is_written(each: Field, side: Side) -> bool:
    """Whether a side keeps the field where it can be written: not in a joined table."""
    return side is Side.DOCUMENT or is_plain(each)


def _same(left: datetime | None, right: datetime | None) -> bool:
    """Whether two instants are the same to the millisecond, which is all that both sides keep."""
    return _milliseconds(left) == _milliseconds(right)


def _known_same(left: datetime | None, right: datetime | None) -> bool:
    return left is not None and _same(left, right)


def _milliseconds(instant: datetime | None) -> datetime | None:
    return instant and instant.replace(microsecond=instant.microsecond // 1000 * 1000)
