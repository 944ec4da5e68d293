"""What the audit store keeps: one typed Struct per kind of entry, and their names in one enum.

An entry stays readable for ever. Its `type` names the kind and its version: `intent`, `outcome` and `fact` are version
1. A field may be added to a version with a default, never removed, renamed or given another meaning; what cannot be
said so becomes a Struct of its own, tagged `intent.2`, beside the old one. Fields that are not known are passed over,
so that an older process reads what a newer one wrote; but not a fact of a name that it does not know.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, get_args
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct, UnsetType


class Fact(StrEnum):
    """Names of recorded facts, source:subject:action. A retired name stays listed."""

    JOB_CHANGED = "operator:job:change"
    REPAIRS_ALLOWED = "operator:breaker:reset"
    RUN_STARTED = "reconciliation:run:start"
    RUN_APPROVED = "operator:run:approve"
    RUN_CANCELLED = "operator:run:cancel"
    RUN_PAUSED = "operator:run:pause"
    RUN_RESUMED = "operator:run:resume"
    RUN_THROTTLED = "operator:run:throttle"
    RUN_ENDED = "reconciliation:run:end"
    RUN_HELD = "reconciliation:run:hold"
    BREAKER_TRIPPED = "reconciliation:breaker:trip"
    DIFF_APPROVED = "operator:diff:approve"
    DIFF_REJECTED = "operator:diff:reject"
    HOLD_PLACED = "operator:hold:place"
    HOLD_RELEASED = "operator:hold:release"
    UNDO_STARTED = "operator:undo:start"
    UNDO_ENDED = "reconciliation:undo:end"
    SEALING_STOPPED = "audit:sealing:stop"
    ARCHIVE_ORDERED = "operator:archive:order"
    ARCHIVE_MADE = "audit:archive:make"
    ARCHIVE_RESTORED = "operator:archive:restore"
    ARCHIVING_STOPPED = "audit:archive:stop"
    VERIFICATION_PASSED = "audit:verification:pass"
    VERIFICATION_FAILED = "audit:verification:fail"
    AUDIT_READ = "operator:audit:read"
    CHANGES_READ = "operator:changes:read"
    RECORD_READ = "operator:record:read"
    PERSON_FORGOTTEN = "operator:person:forget"
    USER_CREATED = "accounts:user:create"
    USER_CHANGED = "accounts:user:change"
    USER_LOCKED = "accounts:user:lock"
    USER_UNLOCKED = "accounts:user:unlock"
    USER_DISABLED = "accounts:user:disable"
    USER_DELETED = "accounts:user:delete"
    SIGNED_IN = "accounts:session:start"
    SIGNED_OUT = "accounts:session:end"
    TOKEN_REPLAYED = "accounts:session:replay"
    SIGN_IN_BLOCKED = "accounts:sign-in:block"
    SIGN_IN_ALLOWED = "accounts:sign-in:allow"
    PASSWORD_SET = "accounts:password:set"
    PASSWORD_RESET_ASKED = "accounts:password:ask-reset"
    PASSWORD_REMOVED = "accounts:password:remove"
    EMAIL_VERIFICATION_ASKED = "accounts:email:ask-verification"
    EMAIL_VERIFIED = "accounts:email:verify"
    EMAIL_CHANGE_ASKED = "accounts:email:ask-change"
    EMAIL_CHANGED = "accounts:email:change"
    SECOND_FACTOR_PROPOSED = "accounts:second-factor:propose"
    SECOND_FACTOR_ASKED = "accounts:second-factor:ask"
    SECOND_FACTOR_SET = "accounts:second-factor:set"
    SECOND_FACTOR_REMOVED = "accounts:second-factor:remove"
    RECOVERY_CODE_USED = "accounts:recovery-code:use"
    RECOVERY_CODES_RENEWED = "accounts:recovery-codes:renew"
    CLIENT_CREATED = "accounts:client:create"
    CLIENT_CHANGED = "accounts:client:change"
    CLIENT_DISABLED = "accounts:client:disable"
    CLIENT_ENABLED = "accounts:client:enable"
    CREDENTIAL_ADDED = "accounts:credential:add"
    CREDENTIAL_REVOKED = "accounts:credential:revoke"
    TOKEN_KEY_MADE = "accounts:token-key:make"
    CIRCUIT_OPENED = "notifications:circuit:open"
    CIRCUIT_CLOSED = "notifications:circuit:close"
    TEMPLATE_SHIPPED = "notifications:template:ship"
    TEMPLATE_CHANGED = "notifications:template:change"
    TEMPLATE_CHOSEN = "notifications:template:choose"
    TEMPLATE_ENABLED = "notifications:template:enable"
    TEMPLATE_DISABLED = "notifications:template:disable"
    NOTIFICATIONS_ASKED = "notifications:batch:create"
    NOTIFICATION_MOVED = "notifications:notification:move"
    SCHEDULE_CREATED = "operator:schedule:create"
    SCHEDULE_CHANGED = "operator:schedule:change"
    SCHEDULE_ENABLED = "operator:schedule:enable"
    SCHEDULE_DISABLED = "operator:schedule:disable"
    SCHEDULE_DELETED = "operator:schedule:delete"
    SCHEDULE_TRIGGERED = "operator:schedule:trigger"
    SCHEDULE_TRIED = "operator:schedule:try"
    ADDRESS_BLOCKED = "notifications:address:block"
    ADDRESS_UNBLOCKED = "notifications:address:unblock"


class Outcome(StrEnum):
    """How a change ended; see `app.reconciliation.repairing.repair`."""

    APPLIED = "applied"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    INDETERMINATE = "indeterminate"


class Personal(Struct, frozen=True, omit_defaults=True):
    """The values of persons that an entry holds.

    `persons` says whose they are, each one `entity/key`; `fields` which: of an intent names in `before` and `after`, of an
    outcome its own members. In the process an entry is in clear. Where it is stored these values stand in `text` alone,
    encrypted with each of `keys` in turn; see `app.audit.persons`. `checks` tell each key from any other one.
    """

    persons: tuple[str, ...]
    fields: tuple[str, ...]
    keys: tuple[UUID, ...] = ()
    text: bytes | None = None
    checks: tuple[bytes, ...] = ()

    @property
    def is_erased(self) -> bool:
        """Whether nobody can read the values any more: of an entry that was read, for it comes in clear otherwise."""
        return self.text is not None


class IntentEntry(Struct, frozen=True, tag="intent"):
    """A write that is about to be tried. Values are spelled as JSON; `before` and `after` hold the mapped fields."""

    id: UUID
    at: datetime
    deadline: datetime
    """Its writer has given up by then: later the intent may be finished by others."""
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
    updated_at_before: datetime | None = None
    updated_at_after: datetime | None = None
    undoes: UUID | None = None
    """The change that this one takes back."""
    trace_id: str | None = None
    """What the change came of, as log entries have it; so is `request_id`, where that was a request."""
    request_id: str | None = None
    personal: Personal | UnsetType = UNSET


class OutcomeEntry(Struct, frozen=True, tag="outcome"):
    """How the write of the intent with the same id ended; `detail` names a constraint or says what was found."""

    id: UUID
    at: datetime
    outcome: Outcome
    detail: str | None = None
    personal: Personal | UnsetType = UNSET


class FactEntry(Struct, frozen=True, tag="fact"):
    """Something that somebody did or that happened to a row of the core DB."""

    id: UUID
    at: datetime
    name: Fact
    actor: str
    target: str
    reason: str | None = None
    detail: dict[str, Any] | None = None
    run_id: UUID | None = None
    entity: str | None = None
    key: str | None = None


Entry = IntentEntry | OutcomeEntry | FactEntry


class UnreadableEntry(Struct, frozen=True, tag="unreadable"):
    """What stands in an entry's place and cannot be read: nothing of ours, or of a version or a name yet to come.

    It is never appended. `text` is the beginning of what is there, `why` what is wrong with it.
    """

    text: str
    why: str


class Kind(StrEnum):
    """The kinds of entries, and what is none."""

    INTENT = "intent"
    OUTCOME = "outcome"
    FACT = "fact"
    UNREADABLE = "unreadable"


def kind_of(entry: Entry | UnreadableEntry) -> Kind:
    """Of whatever version."""
    return _KINDS[type(entry)]


def encode(entry: Entry) -> bytes:
    """The bytes that are stored: JSON, with `type` first."""
    return msgspec.json.encode(entry)


def decode(body: bytes | str) -> Entry:
    """The entry that was stored so, by this version or an earlier one; raises msgspec.MsgspecError for any other bytes."""
    return _DECODER.decode(body)


# The tag up to the first dot.
_KINDS = {
    each: Kind(str(each.__struct_config__.tag).partition(".")[0])
    for each in (*get_args(Entry), UnreadableEntry)
}
_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)
