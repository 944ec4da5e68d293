"""What callers are shown of reconciliation: one Struct per thing, ready for JSON."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

# Records a second. MongoDB gives up a cursor that rests for 10 minutes, and documents come 5,000 at a time: eight
# partitions that share the least throttle still ask for more in time. The most is PostgreSQL's greatest integer.
LEAST_THROTTLE = 100
MOST_THROTTLE = 2**31 - 1


class JobView(Struct, frozen=True):
    """A predefined reconciliation. It observes until `repairs` is set; `schedule` is a cron expression in UTC."""

    name: str
    entity: str
    mode: str
    schedule: str
    repairs: bool
    paused: bool
    updated_at: datetime
    stopped: str | None = None
    """Why the circuit breaker stopped repairs of the entity; null while it has not."""


class RunView(Struct, frozen=True):
    """One execution of a job, for one entity. Records are counted while the run compares."""

    id: UUID
    entity: str
    mode: str
    dry_run: bool
    status: str
    cause: str
    requested_by: str
    mapping_hash: str
    reason: str | None
    partitions: int
    partitions_done: int
    document_records: int
    relational_records: int
    expected_records: int
    findings: int
    pending: int
    """Suspects of this run that are still to be looked at."""
    outcomes: dict[str, int]
    """Diffs of this run by status; for a dry run, what would become of its findings."""
    consequences: dict[str, int]
    """Diffs of other entities that this run led to, by entity: what its derived fields are counted from, and such."""
    kinds: dict[str, int]
    """Findings of this run by kind: fields, missing_document, missing_relational."""
    nominated: int
    """Records that this run made suspects: what it found, and what it looks at again because a diff is open."""
    rate: float | None
    """Records a second while it compares, records settled a second while it repairs; null where nobody knows."""
    eta_seconds: float | None
    """How long the present step will still take; null where nobody knows."""
    created_at: datetime
    started_at: datetime | None
    compared_at: datetime | None
    finished_at: datetime | None
    paused_at: datetime | None
    """Since when it rests; it goes on where it stopped when it is resumed."""
    paused_seconds: float
    """How long it has rested since it started, before the present rest."""
    compare_seconds: float | None
    """How long the comparing took, rests left out; null until everything is compared."""
    records_per_second: int | None
    """The throttle: the most records that it reads in a second, of each side."""
    warnings: list[str]
    """What was odd about the sides' schemas when it began, but did not stop it."""


class PartitionView(Struct, frozen=True):
    """A part of a run: the keys from `low` on and below `high`; null is no border on that side."""

    number: int
    low: str | None
    high: str | None
    status: str
    """pending, running or done."""
    document_records: int
    relational_records: int
    findings: int
    """Counted once it is done."""
    attempts: int
    leased_until: datetime | None
    """While it is compared: when others may take it, unless its worker renews that."""
    finished_at: datetime | None


class FieldView(Struct, frozen=True):
    """One field that differs: both values, the rule that decides, the side that wins and the value both get."""

    name: str
    document: Any
    relational: Any
    rule: str
    winner: str | None
    value: Any


class DiffView(Struct, frozen=True):
    """A confirmed discrepancy of one record."""

    id: UUID
    entity: str
    key: str
    run_id: UUID | None
    cause: str
    kind: str
    status: str
    fields: list[FieldView]
    fingerprint: str
    """Stays the same while the discrepancy does: a rejected one is left alone for as long."""
    reason: str | None
    resolution: str | None
    decided_by: str | None
    decision: str | None
    """The operator's reason."""
    first_seen_at: datetime
    moved_at: datetime
    """Since when its values are what they are: the age of a discrepancy counts from here."""
    closed_at: datetime | None
    invariant: str = ""
    """The business rule that is broken, for a diff of kind `invariant`."""
    approvable: bool = False
    """Whether it waits for an operator who chooses a side, and choosing settles it. A held record is released first."""
    erased_at: datetime | None = None
    """When the values of personal fields were erased, for the person was forgotten."""


class ChangeView(Struct, frozen=True):
    """One conditional write to one record on one side: its intent and, once known, its outcome."""

    id: UUID
    entity: str
    key: str
    side: str
    action: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    policy: dict[str, str]
    cause: str
    diff_id: UUID
    run_id: UUID | None
    intended_at: datetime
    outcome: str | None
    detail: str | None
    finished_at: datetime | None
    undoes: UUID | None = None
    """The change that this one takes back."""
    erased: list[str] = []
    """The fields whose values are gone from `before`, `after` and `detail`, for the person was forgotten."""


class HoldView(Struct, frozen=True):
    """A record that is left alone until somebody releases it."""

    entity: str
    key: str
    reason: str
    placed_by: str
    placed_at: datetime
    undo_id: UUID | None
    """The undo that placed it, where one did."""


class HoldsPlaced(Struct, frozen=True):
    """What came of holding records: which are held from now on, and which were held already, as they are."""

    placed: list[HoldView]
    already_held: list[HoldView]


class UndoView(Struct, frozen=True):
    """Changes that are taken back: how many of how many records, and how far it is."""

    id: UUID
    run_id: UUID | None
    """The run that is undone, where it is a whole one."""
    reason: str
    requested_by: str
    status: str
    """queued, collecting (of a large run; its counts still grow), working or done."""
    changes: int
    records: int
    pending: int
    undone: int
    refused: int
    created_at: datetime
    finished_at: datetime | None


class UndoItemView(Struct, frozen=True):
    """One change to be taken back, and what came of it."""

    change_id: UUID
    entity: str
    key: str
    side: str
    status: str
    reason: str | None
    """Why it could not be taken back."""
    undone_by: UUID | None
    """The change that took it back."""


class ErasureView(Struct, frozen=True):
    """What is erased of a person, or would be: the person is the record of `entity` with this id."""

    entity: str
    id: str
    key: bool
    """Whether there is a key of their values in the audit store, and so something to read there."""
    changes: int
    """Changes whose values nobody can read any more."""
    diffs: int
    facts: int
    """Facts on their way to the audit store that lose their detail and reason."""
    letters: int
    """Messages that nobody could work off, and that are removed, and tracebacks of messages that wait for another try."""
    document: bool
    """Whether the record is still in the customer DB, which is not touched."""
    relational: bool
    """Whether the record is still in the admin DB, which is not touched."""
    unread: bool = False
    """Whether there may be more changes, in an archive that cannot be read: they cannot be read afterwards either."""
    mails: int = 0
    """Notifications that lose their address and what they said; those that have not gone yet do not go."""

    @property
    def something(self) -> bool:
        return self.key or bool(self.diffs or self.facts or self.letters or self.mails)


class UndoPreview(Struct, frozen=True):
    """What an undo would take back, and how many changes it could not from the start."""

    changes: int
    records: int
    refused: int


class RecordView(Struct, frozen=True):
    """One record as both sides hold it now, and what is known of its past: the latest 100 diffs and 100 changes."""

    entity: str
    key: str
    document: dict[str, Any] | None
    relational: dict[str, Any] | None
    differing: list[str]
    waiting: str | None
    """Why it waits to be looked at; null where it is no suspect."""
    diffs: list[DiffView]
    changes: list[ChangeView]
    hold: HoldView | None = None
    """Why it is left alone; null where it is not."""
    more_diffs: str | None = None
    """The cursor of its older diffs, in the list of diffs; null where these are all."""
    more_changes: str | None = None
    """The cursor of its older changes, in the list of changes; null where these are all."""
