"""Walks along the chain from the first seal to the last entry, and ends at the first break that it cannot pass."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from app.audit.verification.archives import Archives
from app.audit.verification.chain import Chain
from app.audit.verification.diagnosis import Batch, is_entry
from app.audit.verification.kinds import Kinds
from app.audit.verification.merkle import leaf_hash, tree_root
from app.audit.verification.persons import Persons
from app.audit.verification.report import Finding, Progress, Report, Wrong
from app.audit.verification.seals import Keys, SealRead
from app.audit.verification.stores import Copies, EntryReader, Evidence, Stored, numbers_of
from app.audit.verification.tombstones import TombstoneRead

Show = Callable[[Progress], None]


async def verify(
    evidence: Evidence, keys: Keys, *, known: Mapping[int, str] | None = None, show: Show | None = None
) -> Report:
    """Judge everything by these keys. `known` are hashes of seals, by number, that must be in the chain.

    Raises StoreUnavailableError where a store cannot be read to its end.
    """
    archives = Archives(evidence, keys, evidence.archives)
    walk = _Walk(evidence, Chain(keys), dict(known or {}), show or _silent, Persons(evidence), archives)
    try:
        return await walk.run()
    finally:
        archives.close()


class _Happened(msgspec.Struct):
    """All that is looked at inside an entry: when it happened."""

    at: datetime | None = None


@dataclass
class _Walk:
    evidence: Evidence
    chain: Chain
    known: dict[int, str]
    show: Show
    persons: Persons
    archives: Archives
    kinds: Kinds = field(default_factory=Kinds)
    break_: Finding | None = None
    unsealed: int = 0
    since: datetime | None = None
    started: float = field(default_factory=time.monotonic)

    async def run(self) -> Report:
        await self.archives.refresh()
        reader, total = EntryReader(self.evidence), self.evidence.length() + self.archives.chain.reach
        async for copies in self.evidence.seals():
            self.break_ = await self._take_seal(copies, reader)
            if self.break_ is not None:
                break
            self.show(Progress(self.chain.end, total, time.monotonic() - self.started))
        else:
            self.break_ = await self._take_rest(reader, total)
        whole = self.break_ is None
        await self.persons.judge(complete=whole and not self.archives.unread)
        return self._report(await self.archives.findings(self.chain.last, whole=whole))

    async def _take_seal(self, copies: Copies, reader: EntryReader) -> Finding | None:
        seal = self.chain.choose(copies)
        if isinstance(seal, Finding):
            return seal
        if self.known.pop(seal.number, seal.hash.hex()) != seal.hash.hex():
            return Finding(
                wrong=Wrong.SEAL_UNKNOWN,
                message=f"seal {seal.number}: it is not the one that was known",
                seal=seal.number,
            )
        finding = await self._take_entries(seal, copies, reader)
        if finding is None:
            self.chain.accept(seal)
        return finding

    async def _take_entries(self, seal: SealRead, copies: Copies, reader: EntryReader) -> Finding | None:
        found = reader.upto(seal.last, seal.count + 1)
        leaves = _leaves(found, seal)
        tombstone = self.archives.chain.covering(seal)
        if leaves is None and tombstone is None and await self.archives.refresh():  # archived a moment ago
            tombstone = self.archives.chain.covering(seal)
        # What Redis says has not left it is held to the seal there, archived or not.
        if tombstone is not None and (leaves is not None or not self.evidence.has_from(seal.first)):
            return await self._take_archived(seal, copies, tombstone, found, leaves)
        if leaves is None:
            return Batch(seal, found, reader.next(), copies.leaves, copies.redis is not None).finding()
        await self._take(seal, copies, found, leaves)
        return None

    async def _take_archived(
        self,
        seal: SealRead,
        copies: Copies,
        tombstone: TombstoneRead,
        left: list[Stored],
        held: list[bytes] | None,
    ) -> Finding | None:
        """Judge what the archive has.

        `left` is what Redis has in its place, for it may not have been taken yet, `held` its leaf hashes where it is all there.
        """
        found = self.archives.take(seal, tombstone)
        if found is None and held is not None:
            await self._take(seal, copies, left, held)
            return None
        if found is None:
            self.archives.unread += seal.count
            return None
        if (leaves := _leaves(found, seal)) is None:
            following = found[seal.count] if len(found) > seal.count else None
            finding = Batch(seal, found[: seal.count], following, copies.leaves, copied=True).finding()
            return msgspec.structs.replace(finding, message=f"{finding.message} (archive {tombstone.file})")
        there = dict(found)
        for place, fields in left:
            if there.get(place) != fields:
                return _inserted(seal, place)
        await self._take(seal, copies, found, leaves)
        return None

    async def _take(self, seal: SealRead, copies: Copies, found: list[Stored], leaves: list[bytes]) -> None:
        if copies.leaves is not None and copies.leaves != b"".join(leaves):
            self.chain.note(
                Wrong.SEAL_LEAVES,
                "the leaf hashes that the core DB keeps with it are not those of its entries",
                seal.number,
            )
        await self._look_inside(seal.first, found)

    async def _look_inside(self, first: int, found: list[Stored]) -> None:
        self.kinds.take(first, (fields[1] for _place, fields in found))
        await self.persons.take(first, (fields[1] for _place, fields in found))

    async def _take_rest(self, reader: EntryReader, total: int) -> Finding | None:
        """Count what is not sealed yet. All that can be seen of it is whether there is a gap."""
        sequence = self.chain.end
        for page in reader.pages():
            for stored in page:
                sequence += 1
                if not is_entry(stored, sequence):
                    return _foreign(stored, sequence)
            await self._look_inside(sequence + 1 - len(page), page)
            self.since = self.since or _moment(page[0])
            self.unsealed += len(page)
            self.show(Progress(sequence, max(total, sequence), time.monotonic() - self.started))
        return self._miscounted()

    def _miscounted(self) -> Finding | None:
        # Entries come meanwhile: the last one lies between two looks at the counter.
        before, place, after = (
            self.evidence.counted(),
            self.evidence.last_place(),
            self.evidence.counted(),
        )
        sequence, _, minor = place.partition(b"-")
        if minor == b"0" and before <= int(sequence) <= after:
            return None
        return Finding(
            wrong=Wrong.MISCOUNTED,
            message=f"the service has appended {after} entries, but the last one is {place.decode()}: some that were "
            "not sealed yet were cut off, or somebody else has appended",
            entry=min(int(sequence), after) + 1,
        )

    def _report(self, archived: list[Finding]) -> Report:
        whole = self.break_ is None or self.break_.seal is None
        copy_owed = self.chain.take_owed_copy(datetime.now(UTC)) if whole else None
        findings = [*([self.break_] if self.break_ else []), *self.chain.findings(), *self._gone()]
        findings += [*archived, *self.persons.found]
        findings.sort(key=lambda each: each.seal or self.chain.end + 1)
        seconds, last = time.monotonic() - self.started, self.chain.last
        entries = self.chain.end - self.archives.unread + self.unsealed
        return Report(
            ok=not findings,
            findings=findings,
            entries=entries,
            sealed=self.chain.end,
            unsealed=self.unsealed,
            unsealed_since=self.since,
            seals=last.number if last else 0,
            last_seal=f"{last.number}:{last.hash.hex()}" if last else None,
            last_sealed_at=last.time if last else None,
            keys=sorted(self.chain.signers),
            seconds=seconds,
            entries_per_second=entries / seconds,
            copy_owed=copy_owed,
            unreadable=self.kinds.unknown,
            first_unreadable=self.kinds.first,
            tombstone_owed=self.archives.chain.owed,
            archives=len(self.archives.chain.held),
            archived=self.archives.entries,
            unread=self.archives.unread,
            erased_entries=self.persons.entries,
            erased_persons=self.persons.erased_persons,
        )

    def _gone(self) -> list[Finding]:
        return [
            Finding(
                wrong=Wrong.SEAL_UNKNOWN,
                message=f"seal {number}: it was known, and the chain does not reach it",
                seal=number,
            )
            for number in self.known
        ]


def _silent(_progress: Progress) -> None:
    pass


def _leaves(found: list[Stored], seal: SealRead) -> list[bytes] | None:
    """The leaf hashes of a seal's entries, each in its place; None where they are not those that were sealed."""
    leaves = []
    for sequence, (place, fields) in enumerate(found, seal.first):
        if place != b"%d-0" % sequence or len(fields) != 2 or fields[0] != b"entry":  # noqa: PLR2004
            return None
        leaves.append(leaf_hash(sequence, fields[1]))
    return leaves if len(leaves) == seal.count and tree_root(leaves) == seal.root else None


def _inserted(seal: SealRead, place: bytes) -> Finding:
    sequence, minor = numbers_of(place)
    entry = max(seal.first, sequence + bool(minor))
    return Finding(
        wrong=Wrong.INSERTED,
        message=f"entry {entry} (seal {seal.number}): it is archived, and Redis has {place.decode()}, which is not what "
        "the archive has",
        seal=seal.number,
        entry=entry,
    )


def _foreign(stored: Stored, sequence: int) -> Finding:
    return Finding(
        wrong=Wrong.FOREIGN,
        message=f"entry {sequence} (not sealed): {stored[0].decode()} stands in its place; the service did not append it, "
        "or one that it did append is gone",
        entry=sequence,
    )


def _moment(stored: Stored) -> datetime | None:
    try:
        return msgspec.json.decode(stored[1][1], type=_Happened).at
    except msgspec.MsgspecError:
        return None
