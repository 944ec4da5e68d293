"""Audit entries as people read them: what happened in one line, beside the entry as it is stored."""

from datetime import datetime
from uuid import UUID

from msgspec import Struct

from app.audit.entries import (
    Entry,
    Fact,
    FactEntry,
    IntentEntry,
    Kind,
    OutcomeEntry,
    UnreadableEntry,
    kind_of,
)

# What the actor did, or what happened, to the target.
PHRASES = {
    Fact.JOB_CHANGED: "{actor} changed job {target}",
    Fact.REPAIRS_ALLOWED: "{actor} let repairs of {target} go on",
    Fact.RUN_STARTED: "{actor} started run {target}",
    Fact.RUN_APPROVED: "{actor} approved run {target}",
    Fact.RUN_CANCELLED: "{actor} cancelled run {target}",
    Fact.RUN_PAUSED: "{actor} paused run {target}",
    Fact.RUN_RESUMED: "{actor} resumed run {target}",
    Fact.RUN_THROTTLED: "{actor} throttled run {target}",
    Fact.RUN_ENDED: "run {target} ended",
    Fact.RUN_HELD: "run {target} is held",
    Fact.BREAKER_TRIPPED: "the circuit breaker stopped repairs of {target}",
    Fact.DIFF_APPROVED: "{actor} approved diff {target}",
    Fact.DIFF_REJECTED: "{actor} rejected diff {target}",
    Fact.HOLD_PLACED: "{actor} holds {target}",
    Fact.HOLD_RELEASED: "{actor} released {target}",
    Fact.UNDO_STARTED: "{actor} started undo {target}",
    Fact.UNDO_ENDED: "undo {target} ended",
    Fact.SEALING_STOPPED: "sealing stopped at {target}",
    Fact.ARCHIVE_ORDERED: "{actor} had archived what was sealed before {target}",
    Fact.ARCHIVE_MADE: "archived as {target}",
    Fact.ARCHIVE_RESTORED: "{actor} took archive {target} back from a backup",
    Fact.ARCHIVING_STOPPED: "archiving stopped at {target}",
    Fact.VERIFICATION_PASSED: "{actor} found everything as it was sealed, up to {target}",
    Fact.VERIFICATION_FAILED: "{actor} found a fault at {target}",
    Fact.AUDIT_READ: "{actor} read the audit: {target}",
    Fact.CHANGES_READ: "{actor} read the changes: {target}",
    Fact.RECORD_READ: "{actor} read the past of {target}",
    Fact.PERSON_FORGOTTEN: "{actor} had {target} forgotten",
    Fact.USER_CREATED: "{actor} created user {target}",
    Fact.USER_CHANGED: "{actor} changed user {target}",
    Fact.USER_LOCKED: "{actor} locked user {target}",
    Fact.USER_UNLOCKED: "{actor} unlocked user {target}",
    Fact.USER_DISABLED: "{actor} disabled user {target}",
    Fact.USER_DELETED: "{actor} deleted user {target}",
    Fact.SIGNED_IN: "{target} signed in through {actor}",
    Fact.SIGNED_OUT: "{actor} signed {target} out",
    Fact.TOKEN_REPLAYED: "a refresh token of {target} was used twice; the session has ended",
    Fact.SIGN_IN_BLOCKED: "{target} cannot sign in before their password is reset: too many tries were wrong",
    Fact.SIGN_IN_ALLOWED: "{actor} let {target} try to sign in again",
    Fact.PASSWORD_SET: "{actor} set the password of {target}",
    Fact.PASSWORD_RESET_ASKED: "{actor} asked for a new password of {target}",
    Fact.PASSWORD_REMOVED: "{actor} removed the password of {target}: it was too short to be the only factor",
    Fact.EMAIL_VERIFICATION_ASKED: "{actor} asked for a link to prove the address of {target}",
    Fact.EMAIL_VERIFIED: "{target} has proven their address",
    Fact.EMAIL_CHANGE_ASKED: "{actor} asked for another address of {target}",
    Fact.EMAIL_CHANGED: "{target} has proven another address, which is theirs now",
    Fact.SECOND_FACTOR_PROPOSED: "{actor} began to set up a second factor of {target}",
    Fact.SECOND_FACTOR_ASKED: "somebody gave the password of {target}, and no code of the second factor yet",
    Fact.SECOND_FACTOR_SET: "{actor} set up the second factor of {target}",
    Fact.SECOND_FACTOR_REMOVED: "{actor} removed the second factor of {target}",
    Fact.RECOVERY_CODE_USED: "{target} signed in with a recovery code",
    Fact.RECOVERY_CODES_RENEWED: "{actor} made new recovery codes of {target}",
    Fact.CLIENT_CREATED: "{actor} created client {target}",
    Fact.CLIENT_CHANGED: "{actor} changed the scopes of client {target}",
    Fact.CLIENT_DISABLED: "{actor} disabled client {target}",
    Fact.CLIENT_ENABLED: "{actor} let client {target} in again",
    Fact.CREDENTIAL_ADDED: "{actor} gave client {target} a credential",
    Fact.CREDENTIAL_REVOKED: "{actor} revoked a credential of client {target}",
    Fact.TOKEN_KEY_MADE: "a new key will sign access tokens: {target}",
    Fact.CIRCUIT_OPENED: "no mail goes by {target} for a while: it failed time and again",
    Fact.CIRCUIT_CLOSED: "mail goes by {target} again",
    Fact.TEMPLATE_SHIPPED: "the service brought a version of the mail {target} along",
    Fact.TEMPLATE_CHANGED: "{actor} wrote a version of the mail {target}",
    Fact.TEMPLATE_CHOSEN: "{actor} chose another version of the mail {target}",
    Fact.TEMPLATE_ENABLED: "{actor} let the mail {target} go out again",
    Fact.TEMPLATE_DISABLED: "{actor} let the mail {target} go out no more",
    Fact.NOTIFICATIONS_ASKED: "{actor} asked for mail {target}",
    Fact.NOTIFICATION_MOVED: "mail {target} has come to another state by {actor}",
    Fact.SCHEDULE_CREATED: "{actor} added schedule {target}",
    Fact.SCHEDULE_CHANGED: "{actor} changed schedule {target}",
    Fact.SCHEDULE_ENABLED: "{actor} switched schedule {target} on",
    Fact.SCHEDULE_DISABLED: "{actor} switched schedule {target} off",
    Fact.SCHEDULE_DELETED: "{actor} removed schedule {target}",
    Fact.SCHEDULE_TRIGGERED: "{actor} fired schedule {target} by hand",
    Fact.SCHEDULE_TRIED: "{actor} looked at whom a tick would write to: {target}",
    Fact.ADDRESS_BLOCKED: "an address gets no more mail, or none of a kind, by {actor} ({target})",
    Fact.ADDRESS_UNBLOCKED: "{actor} let an address have mail again ({target})",
}


class Found(Struct, frozen=True):
    """An entry with its place, and of an outcome the intent that it ends."""

    sequence: int
    entry: Entry | UnreadableEntry
    intent: IntentEntry | None = None


class EntryView(Struct):
    """An entry of the audit. An outcome is about what its intent is about, and shows that too.

    Of an entry that cannot be read nothing is known but its number.
    """

    sequence: int
    kind: Kind
    at: datetime | None
    text: str
    name: Fact | None
    actor: str | None
    entity: str | None
    key: str | None
    run_id: UUID | None
    entry: Entry | UnreadableEntry


class EntryPage(Struct):
    """A page of entries.

    `complete` is false where the filters hold so seldom that the page ended before it was full: `next_cursor` goes on.
    """

    items: list[EntryView]
    next_cursor: str | None
    complete: bool


def view(found: Found) -> EntryView:
    """The entry as people read it."""
    entry = found.entry
    about = found.intent or (entry if isinstance(entry, IntentEntry | FactEntry) else None)
    return EntryView(
        sequence=found.sequence,
        kind=kind_of(entry),
        at=None if isinstance(entry, UnreadableEntry) else entry.at,
        text=tell(entry, found.intent),
        name=entry.name if isinstance(entry, FactEntry) else None,
        actor=entry.actor if isinstance(entry, FactEntry) else None,
        entity=about.entity if about else None,
        key=about.key if about else None,
        run_id=about.run_id if about else None,
        entry=entry,
    )


def tell(entry: Entry | UnreadableEntry, intent: IntentEntry | None = None) -> str:
    """What happened, in one line; values of fields are left to the entry itself."""
    match entry:
        case IntentEntry():
            return f"about to {_change(entry)}: {entry.cause}"
        case OutcomeEntry():
            what = _change(intent) if intent else f"change {entry.id}"
            erased = "what was found is erased" if entry.personal and entry.personal.is_erased else None
            told = entry.detail or erased
            return f"{what}: {entry.outcome}{f', {told}' if told else ''}"
        case FactEntry():
            told = PHRASES[entry.name].format(actor=entry.actor, target=entry.target)
            return f"{told}: {entry.reason}" if entry.reason else told
        case UnreadableEntry():
            return f"cannot be read: {entry.why}"


def _change(intent: IntentEntry) -> str:
    erased = ", values erased" if intent.personal and intent.personal.is_erased else ""
    what = f" ({', '.join(_changed(intent))})" if intent.action == "update" else ""
    return f"{intent.action} {intent.entity} {intent.key} on the {intent.side} side{what}{erased}"


def _changed(intent: IntentEntry) -> list[str]:
    """The fields that a change writes. Where their values are erased, the rules still tell which."""
    before, after = intent.before or {}, intent.after or {}
    gone = intent.policy if intent.personal and intent.personal.is_erased else {}
    return [
        name for name in {**before, **after, **gone} if name in gone or before.get(name) != after.get(name)
    ]
