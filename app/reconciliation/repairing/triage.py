"""What to do about a record that was looked at. Pure: it reads nothing and writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property

from app.reconciliation.ledger.agreements import Agreement
from app.reconciliation.ledger.suspects import SETTLING, Suspect
from app.reconciliation.ledger.views import DiffView
from app.reconciliation.mapping import Side
from app.reconciliation.repairing.judging import Judged
from app.reconciliation.resolve import Action, Kind, Plan, Verdict

# After so many looks a record that will not settle, or waits in vain, is shown as such and left: about 50 s.
PATIENCE = 8
# How far an owner's clock may be ahead of its store's.
_MOST_AHEAD = timedelta(seconds=10)


@dataclass(frozen=True)
class Look:
    """One look at one suspect: what was judged, what stands recorded of it, why it is held if it is."""

    suspect: Suspect
    judged: Judged
    diff: DiffView | None
    held: str | None = None

    @cached_property
    def verdict(self) -> Verdict:
        """That of the rules, or what an operator decided for the values that are still there."""
        verdict = self.judged.verdict
        if verdict.kind is Kind.EQUAL and self.judged.expected.unsettled:
            return self.judged.doubtful()
        if verdict.review and self.diff and self.diff.status == "approved" and self._is_about(verdict):
            return self.judged.decided(Side(str(self.diff.resolution)))
        return verdict

    @property
    def out_of_patience(self) -> bool:
        return self.suspect.attempts >= PATIENCE

    @property
    def unsettled(self) -> str:
        """The records that its derived fields wait for, in words."""
        waiting = self.judged.expected.unsettled.items()
        return ", ".join(f"{len(keys)} {entity}" for entity, keys in waiting) + " to be reconciled"

    @property
    def is_approved(self) -> bool:
        return self.diff is not None and self.diff.status == "approved" and self._is_about(self.verdict)

    @property
    def is_rejected(self) -> bool:
        return self.was_rejected and self._is_about(self.verdict)

    @property
    def was_rejected(self) -> bool:
        return self.diff is not None and self.diff.status == "rejected"

    def is_young(self, window: timedelta) -> bool:
        """Whether it has been written a moment ago; what claims to be written in the future tells nothing."""
        ages = (self.judged.document.age, self.judged.relational.age)
        return any(age is not None and -_MOST_AHEAD < age < window for age in ages)

    def agreement(self, window: timedelta, plans: Sequence[Plan] = ()) -> Agreement | None:
        """That of the two sides as they were read, or as `plans` have left them; None where versions do not tell.

        What was written within `window` before it was read may be written again under the same `updated_at`.
        """
        sides = {Side.DOCUMENT: self.judged.document, Side.RELATIONAL: self.judged.relational}
        known = [each for each in sides.values() if each.updated_at is not None]
        if any(each.age is None or each.age < window for each in known):
            return None
        versions = {side: each.updated_at for side, each in sides.items()}
        for plan in plans:
            versions[plan.side] = None if plan.action is Action.REMOVE else self.judged.updated_at
        document, relational = versions[Side.DOCUMENT], versions[Side.RELATIONAL]
        if document is None or relational is None:
            return None
        return Agreement(self.suspect.entity, self.suspect.key, document, relational)

    def _is_about(self, verdict: Verdict) -> bool:
        return self.diff is not None and self.diff.fingerprint == verdict.fingerprint


@dataclass(frozen=True)
class Repair:
    """Write what the verdict plans."""


@dataclass(frozen=True)
class Agreed:
    """Nothing differs: an open diff ends."""


@dataclass(frozen=True)
class Dismiss:
    """Nothing is to be done, and nothing new is to be recorded."""


@dataclass(frozen=True)
class Wait:
    """Look again later; it uses up patience."""

    waiting_for: str


@dataclass(frozen=True)
class Show:
    """Record the diff with this status."""

    status: str
    reason: str | None = None


Decision = Repair | Agreed | Dismiss | Wait | Show


def triage(look: Look, *, allowed: set[str], settle_window: timedelta) -> Decision:
    """What to do about a record; `allowed` are the modes of its entity's jobs that may repair."""
    decision = _decide(look, allowed, settle_window)
    if isinstance(decision, Wait) and look.out_of_patience:
        if look.was_rejected:  # a diff in its place would outlive the moment, and the rejection be forgotten
            return Dismiss()
        decision = Show("unsettled", f"waited in vain for {decision.waiting_for}")
    if isinstance(decision, Show) and decision.status in {"unsettled", "open"} and look.is_approved:
        return replace(decision, status="approved")
    return decision


def _decide(look: Look, allowed: set[str], settle_window: timedelta) -> Decision:
    if look.was_rejected and look.judged.expected.unsettled:
        return Wait(look.unsettled)  # until it is known whether its values are those that were rejected
    if look.judged.verdict.kind is Kind.EQUAL:
        return _follow(look, allowed) if look.judged.expected.unsettled else Agreed()
    if look.is_young(settle_window):
        return Wait(SETTLING)
    return _leave(look, allowed) or Repair()


def _leave(look: Look, allowed: set[str]) -> Show | Dismiss | None:
    """Why a record that differs is not written, if there is a reason."""
    if look.verdict.kind is Kind.MISSING_BOTH:
        return Show("vanished", "on neither side")
    if look.is_rejected:
        return Dismiss()
    if look.verdict.review:
        return Show("in_review")
    if look.held is not None:
        return Show("open", f"held: {look.held}")
    if not (may_repair(look.suspect, allowed) or look.is_approved):
        return Show("open", "its job only observes")
    return None


def _follow(look: Look, allowed: set[str]) -> Decision:
    """Equal but for derived fields, which follow from records that are not settled yet."""
    if may_repair(look.suspect, allowed):
        return Wait(look.unsettled)
    return Show("unsettled", f"follows from what is observed only: {look.unsettled}")


def may_repair(suspect: Suspect, allowed: set[str]) -> bool:
    return suspect.mode in allowed or (suspect.mode == "any" and bool(allowed))
