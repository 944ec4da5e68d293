"""Reads and judges the texts that say which seals have moved to which archive file."""

import re
from base64 import b64decode
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from app.audit.verification.report import Finding, Wrong
from app.audit.verification.seals import Keys, SealRead, fault_of_signature, is_younger

# The archiver comes every hour, and makes up for a copy that it owes.
COPY_SECONDS = 2 * 3600.0

_NUMBER = rb"([1-9][0-9]{0,17})"
_SHAPE = re.compile(
    rb"(astrocore audit archive 1\nnumber "
    + _NUMBER
    + rb"\nfirst "
    + _NUMBER
    + rb"\nlast "
    + _NUMBER
    + rb"\n"
    rb"seals "
    + _NUMBER
    + rb" "
    + _NUMBER
    + rb"\nfile ([A-Za-z0-9_-][A-Za-z0-9._-]{0,199})\nsha256 ([0-9a-f]{64})\n"
    rb"previous ([0-9a-f]{64})\ntime ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z)\n"
    rb"key ([0-9a-f]{16})\n)signature ([A-Za-z0-9+/]{86}==)\n"
)
_NOTHING_BEFORE = bytes(32)


@dataclass(frozen=True)
class TombstoneRead:
    """What a tombstone says, and the very bytes that say it: the seals `begin` to `end` lie in `file`."""

    text: bytes
    signed: bytes
    number: int
    first: int
    last: int
    begin: int
    end: int
    file: str
    digest: bytes
    previous: bytes
    time: str
    key: str
    signature: bytes

    @property
    def hash(self) -> bytes:
        """What the next tombstone has to name as its previous one."""
        return sha256(self.text).digest()

    def fits(self, seal: SealRead) -> bool:
        """Whether it begins and ends with entries as its seals do."""
        return (seal.number != self.begin or seal.first == self.first) and (
            seal.number != self.end or seal.last == self.last
        )


@dataclass(frozen=True)
class Columns:
    """What the core DB keeps beside a tombstone, unsigned, for queries and the archiver; `size` in bytes."""

    first: int
    last: int
    file: str
    size: int
    trimmed: bool
    """Whether its copy is in Redis and its entries have been taken from there."""


@dataclass(frozen=True)
class TombstoneCopies:
    """What the two stores have for one number; None where one has nothing."""

    number: int
    core: bytes | None
    redis: bytes | None
    columns: Columns | None = None
    """Those beside the copy of the core DB."""


@dataclass(frozen=True)
class Standing:
    """What Redis says has left it, and what it has; `first` is None where it has no entry."""

    archived: int
    first: int | None

    def has_again(self, read: TombstoneRead) -> bool:
        """Whether it is as it was before the entries of an archive were taken, by its own word and by what it has."""
        return self.archived < read.last and (self.first is None or self.first <= read.last)


def read_tombstone(text: bytes) -> TombstoneRead | None:
    """The tombstone that is spelled so; None where none is."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        return None
    signed, number, first, last, begin, end, file, digest, previous, time, key, signature = found.groups()
    return TombstoneRead(
        text=text,
        signed=signed,
        number=int(number),
        first=int(first),
        last=int(last),
        begin=int(begin),
        end=int(end),
        file=file.decode(),
        digest=bytes.fromhex(digest.decode()),
        previous=bytes.fromhex(previous.decode()),
        time=time.decode(),
        key=key.decode(),
        signature=b64decode(signature),
    )


@dataclass
class TombstoneChain:
    """The tombstones of both stores as one chain, up to the first one that does not hold."""

    keys: Keys
    held: list[TombstoneRead] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    owed: int | None = None
    """The newest one, where Redis lacks its copy and may yet get it: nothing has been taken from Redis for it."""
    columns: dict[int, Columns] = field(default_factory=dict)
    _broken: bool = False

    @property
    def last(self) -> TombstoneRead | None:
        return self.held[-1] if self.held else None

    @property
    def number(self) -> int:
        """Of the last one."""
        return self.last.number if self.last else 0

    @property
    def reach(self) -> int:
        """The last entry that is archived."""
        return self.last.last if self.last else 0

    def follow(self, copies: Sequence[TombstoneCopies]) -> bool:
        """Go on along these, which come after those held; answers whether some of them hold."""
        before = len(self.held)
        for each in copies:
            if each.number < 1:
                self.note(Wrong.TOMBSTONE_UNCHAINED, each.number, "its tombstone has a number that none has")
            elif not self._broken:
                self._take(each)
        return len(self.held) > before

    def judge_copies(
        self,
        copies: Sequence[TombstoneCopies],
        standing: Standing,
        *,
        trimmed: Collection[int],
        instant: datetime,
    ) -> None:
        """Say which of those held Redis lacks, and from which one on it is as it was before: an older state.

        `trimmed` are those whose entries were taken from Redis, by the word of the core DB before `standing` was seen; all
        `copies` that there are were read after it.
        """
        copied = {each.number for each in copies if each.redis is not None}
        for read in self.held:
            again = standing.has_again(read)
            # No archive is made before the last one is finished.
            if again and (read.number in trimmed or read is not self.last):
                what = (
                    "its entries were taken from Redis, and Redis has them again: an older state was put back"
                )
                self.note(Wrong.ROLLED_BACK, read.number, what, read.begin)
                return
            if read.number not in copied:
                self._lack(read, owed=again and is_younger(read.time, COPY_SECONDS, instant))

    def _lack(self, read: TombstoneRead, *, owed: bool) -> None:
        if owed:
            self.owed = read.number
            return
        what = "its tombstone is in the core DB and not in Redis"
        self.note(Wrong.TOMBSTONE_MISSING, read.number, what, read.begin)

    def covering(self, seal: SealRead) -> TombstoneRead | None:
        """The one that says where the entries of a seal lie."""
        return next((each for each in reversed(self.held) if each.begin <= seal.number <= each.end), None)

    def note(self, wrong: Wrong, archive: int, what: str, seal: int | None = None) -> None:
        self.findings.append(Finding(wrong=wrong, message=f"archive {archive}: {what}", seal=seal))

    def _take(self, copies: TombstoneCopies) -> None:
        number, seal = copies.number, self.last.end + 1 if self.last else 1
        if copies.core is None:
            self.note(
                Wrong.TOMBSTONE_MISSING, number, "its tombstone is in Redis and not in the core DB", seal
            )
        if copies.core and copies.redis and copies.core != copies.redis:
            self.note(
                Wrong.TOMBSTONE_DIFFERS, number, "Redis and the core DB have different tombstones", seal
            )
        texts = dict.fromkeys(each for each in (copies.core, copies.redis) if each is not None)
        judged = [self._judge(each, number) for each in texts]
        held = next((each for each in judged if isinstance(each, TombstoneRead)), None)
        if held is not None:
            self.held.append(held)
            self._compare(held, copies.columns)
            return
        self._broken = True
        wrong, what = next(each for each in judged if isinstance(each, tuple))
        self.note(wrong, number, what, seal)

    def _compare(self, read: TombstoneRead, columns: Columns | None) -> None:
        if columns is None:
            return
        self.columns[read.number] = columns
        for name in ("first", "last", "file"):
            kept, told = getattr(columns, name), getattr(read, name)
            if kept != told:
                self.differ(read, f"{name} {kept}", f"{name} {told}")

    def differ(self, read: TombstoneRead, kept: str, told: str) -> None:
        """Note a column that is not as it was signed."""
        what = f"the core DB keeps {kept!r} beside its tombstone, and what is signed is {told!r}"
        self.note(Wrong.TOMBSTONE_COLUMNS, read.number, what, read.begin)

    def _judge(self, text: bytes, number: int) -> "TombstoneRead | tuple[Wrong, str]":
        read = read_tombstone(text)
        if read is None:
            return Wrong.TOMBSTONE_UNREADABLE, "its tombstone is not spelled as one is"
        if (fault := fault_of_signature(self.keys, read.key, read.signature, read.signed)) is not None:
            return Wrong.TOMBSTONE_UNTRUSTED, f"its tombstone: {fault}"
        if (broken := self._unchained(read, number)) is not None:
            return Wrong.TOMBSTONE_UNCHAINED, f"its tombstone: {broken}"
        return read

    def _unchained(self, read: TombstoneRead, number: int) -> str | None:
        before = self.last
        if number != (before.number + 1 if before else 1) or read.number != number:
            return "it is not the next one"
        if read.previous != (before.hash if before else _NOTHING_BEFORE):
            return "it does not name the hash of the one before it"
        begin, first = (before.end + 1, before.last + 1) if before else (1, 1)
        if (read.begin, read.first) != (begin, first) or read.end < read.begin or read.last < read.first:
            return f"it does not go on with seal {begin} and entry {first}"
        return None
