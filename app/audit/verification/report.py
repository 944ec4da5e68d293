"""What a verification answers."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct


class Wrong(StrEnum):
    """What can be wrong, with an entry or with a seal."""

    EDITED = "edited"
    DELETED = "deleted"
    INSERTED = "inserted"
    REORDERED = "reordered"
    CUT = "cut"
    ROLLED_BACK = "rolled back"
    FORKED = "forked"
    CHANGED = "changed"
    """Some entry of a seal, and the leaf hashes that would tell which are of no use."""
    FOREIGN = "foreign"
    """An entry after the last seal that the service did not append."""
    MISCOUNTED = "miscounted"

    KEY_GONE = "key gone"
    """The key of personal values is not destroyed but gone, with its row."""
    KEY_CHANGED = "key changed"
    """The key of personal values is another one than they were encrypted with."""
    ERASED_UNSEEN = "erased unseen"
    """A person's key was destroyed, and nothing says by whom."""

    ARCHIVE_MISSING = "archive missing"
    ARCHIVE_DIFFERS = "archive differs"
    ARCHIVE_MISCOUNTED = "archive miscounted"
    """What Redis says has left it is not what has."""
    TOMBSTONE_MISSING = "tombstone missing"
    TOMBSTONE_DIFFERS = "tombstone differs"
    TOMBSTONE_UNREADABLE = "tombstone unreadable"
    TOMBSTONE_UNTRUSTED = "tombstone untrusted"
    TOMBSTONE_UNCHAINED = "tombstone unchained"
    TOMBSTONE_COLUMNS = "tombstone's columns"
    """Those that the core DB keeps beside it say otherwise."""

    SEAL_MISSING = "seal missing"
    SEAL_DIFFERS = "seal differs"
    SEAL_UNREADABLE = "seal unreadable"
    SEAL_UNTRUSTED = "seal untrusted"
    SEAL_UNCHAINED = "seal unchained"
    SEAL_LEAVES = "seal's leaf hashes"
    SEAL_UNKNOWN = "known seal gone"


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: the first entry or seal that it is wrong with."""

    wrong: Wrong
    message: str
    seal: int | None = None
    entry: int | None = None


class Report(Struct, frozen=True, kw_only=True):
    """The verdict over an audit store."""

    ok: bool
    findings: list[Finding]
    """In the order of the chain; the walk ends at the first thing that it cannot go on behind."""
    entries: int
    """Read: those that are sealed and hold, and those that are not sealed yet."""
    sealed: int
    unsealed: int
    unsealed_since: datetime | None
    """When the first of those happened that are not sealed yet."""
    seals: int
    last_seal: str | None
    """Number and hash of the last seal that holds, as `--known-seal` takes them."""
    last_sealed_at: str | None
    keys: list[str]
    """The ids of the keys that have signed."""
    seconds: float
    entries_per_second: float
    unreadable: int = 0
    """Entries of no kind that is known, be they sealed or not: no fault of the seals."""
    first_unreadable: int | None = None
    copy_owed: int | None = None
    """The last seal, where Redis lacks it and it is so new that its copy is on its way: no fault."""
    tombstone_owed: int | None = None
    """The last archive, where Redis lacks its tombstone, still has its entries, and it is so new that the copy is on its way."""
    archives: int = 0
    """Archives whose tombstones hold."""
    archived: int = 0
    """Of the entries those that were read from archives."""
    unread: int = 0
    """Entries that are sealed and archived, and could not be read: they are not among `entries`."""
    erased_entries: int = 0
    """Those with personal values that nobody can read any more."""
    erased_persons: int = 0


class Progress(Struct, frozen=True):
    """How far a verification is."""

    entries: int
    total: int
    seconds: float
