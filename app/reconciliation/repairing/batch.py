"""What becomes of the suspects of one claim: collected while they are worked off, recorded at its end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.reconciliation.ledger.agreements import Agreement
from app.reconciliation.ledger.diffs import Ending
from app.reconciliation.ledger.suspects import Postponed, Suspect
from app.reconciliation.repairing.triage import PATIENCE, Look, Show
from app.reconciliation.repairing.work import WorkPort

_LONGEST_DELAY_SECONDS = 30.0


@dataclass
class Batch:
    """What becomes of the suspects of one claim, and which further records became suspect."""

    done: list[Suspect] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)
    nominations: list[tuple[str, Iterable[str], Suspect]] = field(default_factory=list)
    shown: list[tuple[Look, Show]] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    arrived: list[str] = field(default_factory=list)

    def wait(self, suspect: Suspect, waiting_for: str) -> None:
        """Look again later; the delay doubles with each attempt, from 0.2 s on."""
        doubled = min(0.2 * 2 ** min(suspect.attempts, PATIENCE), _LONGEST_DELAY_SECONDS)
        self.postponed.append(Postponed(suspect, doubled, waiting_for))

    def hold_back(self, suspect: Suspect, waiting_for: str, seconds: float) -> None:
        """Look again later for a reason that is not the record's: its patience is not used up."""
        self.postponed.append(Postponed(suspect, seconds, waiting_for, counts=False))

    def agree(self, agreement: Agreement | None) -> None:
        if agreement:
            self.agreements.append(agreement)

    def end(self, look: Look, diff_id: UUID, status: str, reason: str | None = None) -> None:
        """Nothing more is to be done about a record: its diff gets this status."""
        self.endings.append(Ending(diff_id, status, reason))
        self.done.append(look.suspect)

    def undecided(self, claimed: Sequence[Suspect]) -> list[Suspect]:
        decided = {each.key for each in self.done} | {each.suspect.key for each in self.postponed}
        return [suspect for suspect in claimed if suspect.key not in decided]

    async def record(self, work: WorkPort) -> None:
        """Keep all of it; suspects are taken away last, once nothing else is left to be done about them."""
        for entity, keys, suspect in self.nominations:
            cause = f"{suspect.entity} {suspect.key}"
            await work.nominate(entity, keys, cause=cause, mode=suspect.mode, run_id=suspect.run_id)
        await work.close(self.endings)
        await work.agree(self.agreements)
        await work.postpone(self.postponed)
        await work.dismiss(self.done)
        await work.hasten(self.arrived)
