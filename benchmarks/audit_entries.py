"""Entries for the audit benchmark, as a busy system makes them."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from msgspec.structs import replace

from app.audit.entries import Entry, Fact, FactEntry, IntentEntry, Outcome, OutcomeEntry

SPAN = timedelta(days=30)
START = datetime(2026, 1, 1, tzinfo=UTC)
ACTORS = [f"operator-{number}" for number in range(20)]
ENTITIES = ("customers", "launches", "bookings")
_CHANGES_OF_A_RUN = 5_000


class Made:
    """Entries as a busy system makes them: changes of runs, each with its outcome, and now and then a fact."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.records = [str(_uuid()) for _ in range(max(1, number // 6))]
        self.runs: list[UUID] = []
        self.busy = str(_uuid())
        """A customer that every other batch changes once: its changes are spread over as many seals."""

    def batch(self, size: int) -> list[Entry]:
        facts = [self._fact(self._at(place)) for place in range(size // 10)]
        intents = [self._intent(self._at(place)) for place in range((size - len(facts)) // 2)]
        if self.count // size % 2:
            intents[0] = replace(intents[0], entity=ENTITIES[0], key=self.busy)
        ended = [OutcomeEntry(id=each.id, at=each.at, outcome=Outcome.APPLIED) for each in intents]
        self.count += len(facts) + len(intents) + len(ended)
        return [*facts, *intents, *ended]

    def moment(self) -> datetime:
        return START + SPAN * random.random()

    def _at(self, place: int) -> datetime:
        return START + SPAN * ((self.count + place) / self.number)

    def _intent(self, at: datetime) -> IntentEntry:
        if self.count // _CHANGES_OF_A_RUN >= len(self.runs):
            self.runs.append(_uuid())
        held = {"first_name": "Ada", "last_name": "Lovelace", "email": f"ada{random.random()}@example.org"}
        return IntentEntry(
            id=_uuid(), at=at, deadline=at + timedelta(seconds=12), entity=ENTITIES[self.count % 3],
            key=random.choice(self.records), side="relational", action="update",
            before={**held, "is_vip": False}, after={**held, "is_vip": True},
            policy={"is_vip": "the relational side is right"}, cause=f"run {self.runs[-1]}", diff_id=_uuid(),
            run_id=self.runs[-1], updated_at_before=at, updated_at_after=at,
        )  # fmt: skip

    def _fact(self, at: datetime) -> FactEntry:
        return FactEntry(
            id=_uuid(), at=at, name=random.choice(list(Fact)), actor=random.choice(ACTORS), target="a run",
            reason="seen and understood", run_id=self.runs[-1] if self.runs else None,
        )  # fmt: skip


def _uuid() -> UUID:
    return UUID(int=random.getrandbits(128), version=4)
