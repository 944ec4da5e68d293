"""Which entry of a seal is the first that is not as it was sealed, and what was done to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.audit.verification.merkle import leaf_hash, tree_root
from app.audit.verification.report import Finding, Wrong
from app.audit.verification.seals import SealRead
from app.audit.verification.stores import Stored, numbers_of

_HASH_BYTES = 32


def is_entry(stored: Stored, sequence: int) -> bool:
    """Whether it stands in its place and has the one field of an entry."""
    place, fields = stored
    return place == b"%d-0" % sequence and len(fields) == 2 and fields[0] == b"entry"  # noqa: PLR2004


@dataclass(frozen=True)
class Batch:
    """The entries that stand where a seal's should, the one after them, and the leaf hashes kept with the seal."""

    seal: SealRead
    found: Sequence[Stored]
    following: Stored | None
    kept: bytes | None
    copied: bool
    """Whether Redis has this seal."""

    def finding(self) -> Finding:
        """The first entry that is wrong. Call it only where the entries do not give the seal's root."""
        misplaced = self._first_misplaced()
        if misplaced is not None and misplaced <= self._first_changed():
            return self._of_places(misplaced)
        return self._of_contents()

    def _first_misplaced(self) -> int | None:
        for index, stored in enumerate(self.found[: self.seal.count]):
            if not is_entry(stored, self.seal.first + index):
                return index
        return None if len(self.found) == self.seal.count else min(len(self.found), self.seal.count)

    def _first_changed(self) -> int:
        leaves = self._leaves()
        for index in range(min(len(leaves), len(self.found))):
            if self._leaf(index) != leaves[index]:
                return index
        return self.seal.count

    def _of_places(self, index: int) -> Finding:
        entry = self.seal.first + index
        if index == len(self.found):
            return (
                self._cut(entry) if self.following is None else self._told(Wrong.DELETED, entry, "it is gone")
            )
        place, _ = self.found[index]
        major, minor = numbers_of(place)
        if minor:
            return self._told(Wrong.INSERTED, entry, f"{place.decode()} was put in before it")
        if major > entry:
            return self._told(Wrong.DELETED, entry, f"it is gone, {place.decode()} comes next")
        return self._told(Wrong.EDITED, entry, "it does not have the one field that entries have")

    def _cut(self, entry: int) -> Finding:
        end = f"the store ends at entry {entry - 1}, but was sealed up to {self.seal.last} or further"
        if self.copied:
            return self._told(Wrong.CUT, entry, end)
        return self._told(
            Wrong.ROLLED_BACK, entry, f"{end}; Redis lacks the seal too: an older state was put back"
        )

    def _of_contents(self) -> Finding:
        index = self._first_changed()
        entry, leaves = self.seal.first + index, self._leaves()
        if not leaves:
            return self._told(
                Wrong.CHANGED,
                self.seal.first,
                f"one of the entries up to {self.seal.last} is not what was sealed; the leaf hashes that would tell "
                "which are not those of the seal",
            )
        sealed_as = self._sealed_as(index, leaves)
        if sealed_as == index + 1 and self._sealed_as(index + 1, leaves) == index + 2:
            return self._told(Wrong.DELETED, entry, "it is gone, and those after it were moved up")
        if sealed_as is not None:
            other = self.seal.first + sealed_as
            return self._told(Wrong.REORDERED, entry, f"what was sealed as entry {other} stands in its place")
        if self._sealed_as(index + 1, leaves) == index:
            return self._told(Wrong.INSERTED, entry, "another was put in before it, and it was moved down")
        rest = range(index + 1, min(len(leaves), len(self.found)))
        if rest and all(self._leaf(each) != leaves[each] for each in rest):
            return self._told(
                Wrong.FORKED, entry, f"from here to {self.seal.last} none is what was sealed: another history"
            )
        return self._told(Wrong.EDITED, entry, "it is not what was sealed")

    def _sealed_as(self, index: int, leaves: Sequence[bytes]) -> int | None:
        """The place in the seal at which the body that stands at this one was sealed."""
        body = self._body(index)
        for place, leaf in enumerate(leaves):
            if body is not None and leaf_hash(self.seal.first + place, body) == leaf:
                return place
        return None

    def _leaf(self, index: int) -> bytes | None:
        body = self._body(index)
        return None if body is None else leaf_hash(self.seal.first + index, body)

    def _body(self, index: int) -> bytes | None:
        stored = self.found[index] if index < len(self.found) else self.following
        if stored is None or not is_entry(stored, self.seal.first + index):
            return None
        return stored[1][1]

    def _leaves(self) -> list[bytes]:
        """The leaf hashes as sealed; empty where those that were kept do not give the root."""
        kept = self.kept or b""
        leaves = [kept[at : at + _HASH_BYTES] for at in range(0, len(kept), _HASH_BYTES)]
        return leaves if len(leaves) == self.seal.count and tree_root(leaves) == self.seal.root else []

    def _told(self, wrong: Wrong, entry: int, what: str) -> Finding:
        return Finding(
            wrong=wrong,
            message=f"entry {entry} (seal {self.seal.number}): {what}",
            seal=self.seal.number,
            entry=entry,
        )
