"""The two sides of an entity as the repair path sees them: read some records, write one conditionally."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from app.audit.entries import Outcome
from app.reconciliation.resolve import Plan
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


@dataclass(frozen=True)
class Written:
    """How a conditional write ended; `detail` names the constraint that said no."""

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
    """One side of one entity. Every method raises StoreUnavailableError when the store does not answer."""

    async def read(self, keys: Sequence[str]) -> dict[str, Reading]:
        """The records with these keys; absent ones are left out."""

    async def read_referring(self, name: str, keys: Sequence[str]) -> dict[str, Reading]:
        """The records whose field `name` holds one of these keys."""

    async def existing(self, keys: Iterable[str]) -> set[str]:
        """Which of these keys exist."""

    async def write(self, writes: Sequence[Write], *, until: datetime) -> list[Written | None]:
        """Carry out each plan if the side still holds exactly what was read of its record; keys differ.

        A write that reaches the store after `until` is superseded: others may have judged by then that it never took
        effect. PostgreSQL sees to that itself. MongoDB cannot, so there only what is sent after `until` is held back.

        Answers in the order of `writes`; None where the store did not say whether it took the write, so that only
        reading the record again can tell. No write depends on how another one ends.
        """
