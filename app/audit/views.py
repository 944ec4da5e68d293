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
    Fact.AUDIT_READ: "{actor} read the audit: {target}",
    Fact.CHANGES_READ: "{actor} read the changes: {target}",
    Fact.RECORD_READ: "{actor} read the past of {target}",
    Fact.PERSON_FORGOTTEN: "{actor} had {target} forgotten",
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
