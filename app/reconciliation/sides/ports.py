"""The two sides of an entity as the repair path sees them: read some records, write one conditionally."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from app.audit.entries import Outcome
from app.reconciliation.resolve import SEVERAL, Plan
from app.reconciliation.values import Record


@dataclass(frozen=True)
class Reading:
    """A record as one side holds it. Absent: `record` is None.

    `stored` is what was read, in the store's own values, for a write to be conditional on. `age` is how long ago the
    record was last changed, by the store's clock; None where it does not say. A record that is only marked as deleted
    counts as absent, and `stored` holds what would be revived by creating it.
    """

    record: Record | None = None
    stored: dict[str, Any] = field(default_factory=dict)
    updated_at: datetime | None = None
    age: timedelta | None = None


ABSENT = Reading()


def one_each(found: Iterable[tuple[str, Reading]]) -> dict[str, Reading]:
    """One reading per key. Where several live records have it, every field is `SEVERAL`, for none is the record."""
    by_key: defaultdict[str, list[Reading]] = defaultdict(list)
    for key, reading in found:
        by_key[key].append(reading)
    return {key: _only(readings) for key, readings in by_key.items()}


def _only(readings: list[Reading]) -> Reading:
    live = [each for each in readings if each.record is not None]
    if live:
        return live[0] if len(live) == 1 else _one_of_several(live[0])
    # Nobody can say which of several that are marked as deleted would be revived.
    return readings[0] if len(readings) == 1 else ABSENT


def all_referring(found: Iterable[tuple[str, Reading]], name: str) -> dict[str, Reading]:
    """The live records that refer by the field `name`. Of several with one key each counts, under a key made up for it.

    They may refer to different records, so each keeps its reference, and no other field.
    """
    live = [(key, reading) for key, reading in found if reading.record is not None]
    times = Counter(key for key, _reading in live)
    return {
        (key if times[key] == 1 else f"{key}, record {at}"): (
            reading if times[key] == 1 else _one_of_several(reading, name)
        )
        for at, (key, reading) in enumerate(live)
    }


def _one_of_several(reading: Reading, *kept: str) -> Reading:
    record = {name: value if name in kept else SEVERAL for name, value in (reading.record or {}).items()}
    return replace(reading, record=record)


class RecordFaultError(Exception):
    """A store stumbles over what some of the records hold. The message names the kind of fault, never a value."""


@dataclass(frozen=True)
class Written:
    """How a conditional write ended; `detail` names the constraint, column or field that said no, never a value."""

    outcome: Outcome
    detail: str | None = None


@dataclass(frozen=True)
class Write:
    """A plan for one record, conditional on what was read of it; `updated_at` is what the record gets."""

    key: str
    plan: Plan
    reading: Reading
    updated_at: datetime | None


class SidePort(Protocol):
    """One side of one entity. Every method raises StoreUnavailableError when the store does not answer.

    Those that read raise RecordFaultError where it answers, but cannot tell what some of the records hold.
    """

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        """The records with these keys; absent ones are left out. Whoever implements it answers by `one_each`."""

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        """The records whose field `name` holds one of these keys, as `all_referring` gives them."""

    async def existing(self, keys: Iterable[str]) -> set[str]:
        """Which of these keys exist."""

    async def write(self, writes: Sequence[Write], *, until: datetime) -> list[Written | None]:
        """Carry out each plan if the side still holds exactly what was read of its record; keys differ.

        A write that reaches the store after `until` is superseded: others may have judged by then that it never took
        effect. PostgreSQL sees to that itself. MongoDB cannot, so there only what is sent after `until` is held back.

        Answers in the order of `writes`; None where the store did not say whether it took the write, so that only
        reading the record again can tell. No write depends on how another one ends.
        """
