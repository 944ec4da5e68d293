"""What callers send: bodies and query parameters, with their limits."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from app.errors import FAULT
from app.moments import SAID
from app.pages import LIMIT_MAX
from app.reconciliation.ledger.views import LEAST_THROTTLE, MOST_THROTTLE
from app.reconciliation.running.events import Event

Mode = Literal["full", "incremental", "invariants"]
Side = Literal["document", "relational"]
RunStatus = Literal[
    "active", "queued", "comparing", "held", "repairing", "done", "cancelled", "failed", "skipped"
]
DiffStatus = Literal[
    "pending", "open", "in_review", "approved", "unsettled", "repaired", "rejected", "vanished"
]
UndoItemStatus = Literal["pending", "undone", "refused"]
Kind = Literal["fields", "missing_document", "missing_relational", "invariant", "unreadable_key"]

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="how many to list at most")]
Cursor = Annotated[str | None, QueryParameter(description="`next_cursor` of the page before")]
RecordId = Annotated[str | None, QueryParameter(description="of the record: its key, on both sides")]
Reason = Annotated[
    str,
    Meta(
        pattern=r"\S",
        max_length=1000,
        description="why, for whoever reads the history later",
        extra={FAULT: "must say why, in 1 to 1,000 characters"},
    ),
]
Why = Annotated[
    str,
    QueryParameter(pattern=r"\S", max_length=1000, description="why, for whoever reads the history later"),
]

Throttle = Annotated[
    Annotated[int, Meta(ge=LEAST_THROTTLE, le=MOST_THROTTLE)] | None,
    Meta(
        description="the most records that are read in a second, of each side; null: as fast as it can",
        extra={FAULT: f"is null, or a number from {LEAST_THROTTLE} to {MOST_THROTTLE}"},
    ),
]


class JobChange(Struct, forbid_unknown_fields=True):
    """What to change about a job; what is left out stays."""

    reason: Reason
    repairs: bool | UnsetType = UNSET
    paused: bool | UnsetType = UNSET


class Decision(Struct, forbid_unknown_fields=True):
    """An operator's decision and the reason for it."""

    reason: Reason


class Cancellation(Struct, forbid_unknown_fields=True, frozen=True):
    """Why a run is cancelled, where there is something to say."""

    reason: Reason = "no reason given"


class Approval(Struct, forbid_unknown_fields=True):
    """The side whose values win, and why."""

    side: Side
    reason: Reason


Ids = Annotated[list[UUID], Meta(min_length=1, max_length=1000)]


class Decisions(Struct, forbid_unknown_fields=True):
    """One decision on one to a thousand diffs: it holds for all of them, or for none."""

    ids: Ids
    reason: Reason


class Approvals(Struct, forbid_unknown_fields=True):
    """The side whose values win in one to a thousand diffs: in all of them, or in none."""

    ids: Ids
    side: Side
    reason: Reason


class RecordName(Struct, forbid_unknown_fields=True):
    """A record of an entity."""

    entity: str
    id: Annotated[str, Meta(min_length=1, max_length=500)]


class Holding(Struct, forbid_unknown_fields=True):
    """One to a thousand records to hold or to release: all of them, or none."""

    records: Annotated[list[RecordName], Meta(min_length=1, max_length=1000)]
    reason: Reason


class UndoChoice(Struct, forbid_unknown_fields=True):
    """What to undo: one to a thousand changes, or all changes of one run."""

    change_ids: Annotated[list[UUID], Meta(max_length=1000)] = []
    run_id: UUID | None = None


class UndoOrder(UndoChoice, forbid_unknown_fields=True, kw_only=True):
    """What to undo, and why."""

    reason: Reason


class PersonName(Struct, forbid_unknown_fields=True):
    """A person: the record of an entity with this id."""

    person: Annotated[str, Meta(min_length=1, max_length=500)]
    entity: str = "customers"


class ErasureOrder(PersonName, forbid_unknown_fields=True):
    """Who is to be forgotten, and why."""

    reason: Reason = "no reason given"


class ArchiveChoice(Struct, forbid_unknown_fields=True):
    """What to archive: what was sealed before then, or what is due by its age."""

    before: Annotated[str | None, Meta(description=f"when it was sealed: {SAID}")] = None


class ArchiveOrder(ArchiveChoice, forbid_unknown_fields=True):
    """What to archive, and why."""

    reason: Reason = "no reason given"


class RunOrder(Struct, forbid_unknown_fields=True):
    """The run to start. A dry run finds and proposes, and changes nothing."""

    entity: str
    mode: Mode = "full"
    dry_run: bool = False
    records_per_second: Throttle = None


class RunChange(Struct, forbid_unknown_fields=True):
    """How fast a run may read from now on, and why."""

    reason: Reason
    records_per_second: Throttle


class ChangeEvent(Event, forbid_unknown_fields=True, frozen=True):
    """Something changed about one record, on either side."""

    entity: str
    id: Annotated[str, Meta(min_length=1, max_length=500)]
    occurred_at: Annotated[datetime, Meta(tz=True)] | None = None


class Events(Struct, forbid_unknown_fields=True):
    """One to a thousand events: all are accepted, or none."""

    events: Annotated[list[ChangeEvent], Meta(min_length=1, max_length=1000)]


class Accepted(Struct):
    """How many events were taken in; events of one record become one look at it."""

    accepted: int
