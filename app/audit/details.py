"""What the `detail` of a fact holds, by the fact's name: checked when it is recorded, so that whoever reads can rely on it.

A field may be added with a default, none is ever removed, renamed or given another meaning. What is read is not checked:
older entries may have less.
"""

from typing import Any

import msgspec
from msgspec import Struct

from app.audit.entries import Fact


class _Detail(Struct, forbid_unknown_fields=True):
    """The fields of a detail. Nothing is told with a value of None, or is left out."""


class JobChanged(_Detail):
    """The job's settings from now on; None where it stays as it was."""

    repairs: bool | None
    paused: bool | None


class RunStarted(_Detail):
    """How a run works."""

    mode: str
    dry_run: bool


class RunThrottled(_Detail):
    """Records a second of each side; None: as fast as it can."""

    before: int | None
    after: int | None


class DiffDecided(_Detail):
    """The side that is right; None where the diff was rejected."""

    side: str | None


class UndoStarted(_Detail):
    """The changes that were collected so far, and the records that are held for them."""

    changes: int
    holds_placed: int
    more_to_collect: bool


class ArchiveMade(_Detail):
    """The tombstone's number, the sequence numbers that it covers, and the file's size."""

    number: int
    first: int
    last: int
    bytes: int


class Verified(_Detail):
    """How much was read and held to its seals, archives included, and how many faults were found."""

    entries: int
    seals: int
    archives: int
    faults: int


class AuditRead(_Detail):
    """What was asked for, as it was asked."""

    sequence: int | str | None = None
    kind: str | None = None
    name: str | None = None
    actor: str | None = None
    run_id: str | None = None
    entity: str | None = None
    key: str | None = None
    since: str | None = None
    until: str | None = None


class ChangesRead(_Detail):
    """Whose changes were asked for: of a record, an entity, a run or all."""

    entity: str | None = None
    id: str | None = None
    run_id: str | None = None


class RecordRead(_Detail):
    """Whose past was asked for."""

    entity: str
    id: str


class PersonForgotten(_Detail):
    """Where values of the person were cleared, and from how many.

    `key` is the id of the key that was destroyed; None where there was none. `unread` says that there may be more changes
    than were counted, in an archive that could not be read.
    """

    changes: int
    diffs: int
    facts: int
    letters: int
    key: str | None
    unread: bool
    mails: int = 0


class UserCreated(_Detail):
    """The roles that the user began with."""

    roles: list[str]


class UserChanged(_Detail):
    """Which of the personal fields have changed, and the roles from now on; what stayed is left out."""

    changed: list[str] = []
    roles: list[str] | None = None


class SignedIn(_Detail):
    """The session, and how the user has proven who they are (RFC 8176)."""

    session: str
    methods: list[str]


class SessionEnded(_Detail):
    """The session, or how many of them."""

    session: str | None = None
    sessions: int | None = None


class TokenReplayed(_Detail):
    """The session that has ended."""

    session: str


class ClientScopes(_Detail):
    """What the client may do from now on."""

    scopes: list[str]


class CredentialChanged(_Detail):
    """The credential; of a new one its kind too, `secret` or `key`."""

    credential: str
    kind: str | None = None


class CircuitOpened(_Detail):
    """The service's failures in a row, and for how long nobody tries."""

    failures: int
    seconds: int


class NotificationsAsked(_Detail):
    """The template and its version, and how many mails were asked for."""

    template: str
    version: int
    count: int


class NotificationMoved(_Detail):
    """The state that a mail has come to, and why where that needs a word."""

    state: str
    because: str | None


class AddressBlocked(_Detail):
    """Which mail an address gets no more, or again; why; and the mail that brought it about, where one did."""

    scope: str
    because: str
    notification: str | None


class ScheduleSet(_Detail):
    """When a schedule comes due from now on, for what, and what becomes of late ticks."""

    cron: str
    zone: str
    catch_up: str
    args: dict[str, Any]


class ScheduleTriggered(_Detail):
    """The tick that was added."""

    tick: str


class ScheduleTried(_Detail):
    """The schedule whose recipients were looked at."""

    schedule: str


class TemplateVersioned(_Detail):
    """The version that was added, and the one that mails are rendered from since."""

    version: int
    current: int


class TemplateChosen(_Detail):
    """The versions that mails were rendered from, and are from now on."""

    before: int
    after: int


# Items by how they ended.
_Counts = dict[str, int]

DETAILS: dict[Fact, type[_Detail] | type[_Counts]] = {
    Fact.JOB_CHANGED: JobChanged,
    Fact.RUN_STARTED: RunStarted,
    Fact.RUN_THROTTLED: RunThrottled,
    Fact.DIFF_APPROVED: DiffDecided,
    Fact.DIFF_REJECTED: DiffDecided,
    Fact.UNDO_STARTED: UndoStarted,
    Fact.UNDO_ENDED: _Counts,
    Fact.ARCHIVE_MADE: ArchiveMade,
    Fact.VERIFICATION_PASSED: Verified,
    Fact.VERIFICATION_FAILED: Verified,
    Fact.AUDIT_READ: AuditRead,
    Fact.CHANGES_READ: ChangesRead,
    Fact.RECORD_READ: RecordRead,
    Fact.PERSON_FORGOTTEN: PersonForgotten,
    Fact.USER_CREATED: UserCreated,
    Fact.USER_CHANGED: UserChanged,
    Fact.SIGNED_IN: SignedIn,
    Fact.SIGNED_OUT: SessionEnded,
    Fact.TOKEN_REPLAYED: TokenReplayed,
    Fact.CLIENT_CREATED: ClientScopes,
    Fact.CLIENT_CHANGED: ClientScopes,
    Fact.CREDENTIAL_ADDED: CredentialChanged,
    Fact.CREDENTIAL_REVOKED: CredentialChanged,
    Fact.CIRCUIT_OPENED: CircuitOpened,
    Fact.TEMPLATE_SHIPPED: TemplateVersioned,
    Fact.TEMPLATE_CHANGED: TemplateVersioned,
    Fact.TEMPLATE_CHOSEN: TemplateChosen,
    Fact.NOTIFICATIONS_ASKED: NotificationsAsked,
    Fact.NOTIFICATION_MOVED: NotificationMoved,
    Fact.SCHEDULE_CREATED: ScheduleSet,
    Fact.SCHEDULE_CHANGED: ScheduleSet,
    Fact.SCHEDULE_TRIGGERED: ScheduleTriggered,
    Fact.SCHEDULE_TRIED: ScheduleTried,
    Fact.ADDRESS_BLOCKED: AddressBlocked,
    Fact.ADDRESS_UNBLOCKED: AddressBlocked,
}
"""The names of facts that have a detail; the others have none."""


def check_detail(name: Fact, detail: dict[str, Any] | None) -> None:
    """Raises msgspec.ValidationError where a fact of that name does not have such a detail."""
    if detail is None:
        return
    if name not in DETAILS:
        raise msgspec.ValidationError(f"{name} has no detail")
    msgspec.convert(detail, DETAILS[name])
