"""The seals of both stores as one chain: which of two copies counts, and whether it follows the one before."""

from dataclasses import dataclass, field
from datetime import datetime

from app.audit.verification.report import Finding, Wrong
from app.audit.verification.seals import Keys, SealRead, is_younger, read_seal
from app.audit.verification.stores import Copies

# The sealer comes every minute, and makes up for a copy that it owes.
COPY_SECONDS = 180.0
_NOTHING_BEFORE = bytes(32)
_STORES = ("the core DB", "Redis")


@dataclass
class Chain:
    """The chain up to the last seal that holds, and what was found wrong with seals on the way."""

    keys: Keys
    last: SealRead | None = None
    signers: set[str] = field(default_factory=set)
    _noted: dict[tuple[Wrong, str], list[int]] = field(default_factory=dict)

    def choose(self, copies: Copies) -> SealRead | Finding:
        """The copy that goes on the chain, or why none does. What is wrong with the other is noted."""
        texts = (copies.core, copies.redis)
        for store, text in zip(_STORES, texts, strict=True):
            if text is None:
                self.note(Wrong.SEAL_MISSING, _missing(store), copies.number)
        if None not in texts and texts[0] != texts[1]:
            self.note(Wrong.SEAL_DIFFERS, "Redis and the core DB have different ones", copies.number)
        judged = [self._judge(text, copies.number) for text in dict.fromkeys(texts) if text is not None]
        return next((each for each in judged if isinstance(each, SealRead)), judged[0])

    def accept(self, seal: SealRead) -> None:
        """Put a seal on the chain."""
        self.last = seal
        self.signers.add(seal.key)

    def note(self, wrong: Wrong, what: str, number: int) -> None:
        """Remember something that does not keep the chain from being followed."""
        self._noted.setdefault((wrong, what), []).append(number)

    def take_owed_copy(self, instant: datetime) -> int | None:
        """The last seal, no longer noted, where Redis alone lacks it and the sealer's next turn makes the copy."""
        noted = Wrong.SEAL_MISSING, _missing(_STORES[1])
        if not self.last or self._noted.get(noted) != [self.last.number]:
            return None
        if not is_younger(self.last.time, COPY_SECONDS, instant):
            return None
        del self._noted[noted]
        return self.last.number

    def findings(self) -> list[Finding]:
        """What was noted, each thing once, with the first seal that it was noted of."""
        return [
            Finding(
                wrong=wrong,
                message=f"seal {numbers[0]}{_more(numbers)}: {what}",
                seal=numbers[0],
            )
            for (wrong, what), numbers in self._noted.items()
        ]

    @property
    def end(self) -> int:
        """The last sequence number that is sealed."""
        return self.last.last if self.last else 0

    def _judge(self, text: bytes, number: int) -> SealRead | Finding:
        seal = read_seal(text)
        if seal is None:
            return _told(Wrong.SEAL_UNREADABLE, number, "it is not spelled as a seal is")
        if (fault := seal.signature_fault(self.keys)) is not None:
            return _told(Wrong.SEAL_UNTRUSTED, number, fault)
        if (broken := self._unchained(seal, number)) is not None:
            return _told(Wrong.SEAL_UNCHAINED, number, broken)
        return seal

    def _unchained(self, seal: SealRead, number: int) -> str | None:
        expected = self.last.number + 1 if self.last else 1
        if number != expected:
            return f"seal {expected} should come next, and no store has it"
        if seal.number != number:
            return f"it calls itself seal {seal.number}"
        if seal.previous != (self.last.hash if self.last else _NOTHING_BEFORE):
            return "it does not name the hash of the seal before it"
        if seal.first != self.end + 1:
            return f"it begins with entry {seal.first}, the one before it ends with {self.end}"
        return None


def _missing(store: str) -> str:
    return f"it is in {_STORES[1 - _STORES.index(store)]} and not in {store}"


def _more(numbers: list[int]) -> str:
    return f" and {len(numbers) - 1:,} more up to {numbers[-1]}" if len(numbers) > 1 else ""


def _told(wrong: Wrong, number: int, what: str) -> Finding:
    return Finding(wrong=wrong, message=f"seal {number}: {what}", seal=number)
