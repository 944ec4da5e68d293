"""Walks along the chain from the first seal to the last entry, and ends at the first break that it cannot pass."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from app.audit.verification.chain import Chain
from app.audit.verification.diagnosis import Batch, is_entry
from app.audit.verification.merkle import leaf_hash, tree_root
from app.audit.verification.report import Finding, Progress, Report, Wrong
from app.audit.verification.seals import Keys, SealRead
from app.audit.verification.stores import Copies, EntryReader, Evidence, Stored

Show = Callable[[Progress], None]


async def verify(
    evidence: Evidence, keys: Keys, *, known: Mapping[int, str] | None = None, show: Show | None = None
) -> Report:
    """Judge everything by these keys. `known` are hashes of seals, by number, that must be in the chain.

    Raises StoreUnavailableError where a store cannot be read to its end.
    """
    return await _Walk(evidence, Chain(keys), dict(known or {}), show or _silent).run()


class _Happened(msgspec.Struct):
    """All that is looked at inside an entry: when it happened."""

    at: datetime | None = None


@dataclass
class _Walk:
    evidence: Evidence
    chain: Chain
    known: dict[int, str]
    show: Show
    break_: Finding | None = None
    unsealed: int = 0
    since: datetime | None = None
    started: float = field(default_factory=time.monotonic)

    async def run(self) -> Report:
        reader, total = EntryReader(self.evidence), self.evidence.length()
        async for copies in self.evidence.seals():
            self.break_ = self._take_seal(copies, reader)
            if self.break_ is not None:
                break
            self.show(Progress(self.chain.end, total, time.monotonic() - self.started))
        else:
            self.break_ = self._take_rest(reader, total)
        return self._report()

    def _take_seal(self, copies: Copies, reader: EntryReader) -> Finding | None:
        seal = self.chain.choose(copies)
        if isinstance(seal, Finding):
            return seal
        if self.known.pop(seal.number, seal.hash.hex()) != seal.hash.hex():
            return Finding(
                wrong=Wrong.SEAL_UNKNOWN,
                message=f"seal {seal.number}: it is not the one that was known",
                seal=seal.number,
            )
        finding = self._take_entries(seal, copies, reader)
        if finding is None:
            self.chain.accept(seal)
        return finding

    def _take_entries(self, seal: SealRead, copies: Copies, reader: EntryReader) -> Finding | None:
        found = reader.upto(seal.last, seal.count + 1)
        leaves = _leaves(found, seal.first)
        if leaves is None or len(leaves) != seal.count or tree_root(leaves) != seal.root:
            return Batch(seal, found, reader.next(), copies.leaves, copies.redis is not None).finding()
        if copies.leaves is not None and copies.leaves != b"".join(leaves):
            self.chain.note(
                Wrong.SEAL_LEAVES,
                "the leaf hashes that the core DB keeps with it are not those of its entries",
                seal.number,
            )
        return None

    def _take_rest(self, reader: EntryReader, total: int) -> Finding | None:
        """Count what is not sealed yet. All that can be seen of it is whether there is a gap."""
        sequence = self.chain.end
        for page in reader.pages():
            for stored in page:
                sequence += 1
                if not is_entry(stored, sequence):
                    return _foreign(stored, sequence)
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

    def _report(self) -> Report:
        findings = [*([self.break_] if self.break_ else []), *self.chain.findings(), *self._gone()]
        findings.sort(key=lambda each: each.seal or self.chain.end + 1)
        seconds, last = time.monotonic() - self.started, self.chain.last
        entries = self.chain.end + self.unsealed
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


def _leaves(found: list[Stored], first: int) -> list[bytes] | None:
    """The leaf hashes of entries, each in its place; None where one is not."""
    leaves = []
    for sequence, (place, fields) in enumerate(found, first):
        if place != b"%d-0" % sequence or len(fields) != 2 or fields[0] != b"entry":  # noqa: PLR2004
            return None
        leaves.append(leaf_hash(sequence, fields[1]))
    return leaves


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
