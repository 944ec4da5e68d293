"""Read records on both sides and say what the rules make of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from app.reconciliation.mapping import Derived, Mapping, Side
from app.reconciliation.repairing.totals import Expected, expect
from app.reconciliation.repairing.work import WorkPort
from app.reconciliation.resolve import FieldDiff, Kind, Verdict, describe, resolve
from app.reconciliation.sides.ports import Reading, RecordFaultError
from app.reconciliation.sides.records import EntitySides


@dataclass(frozen=True)
class Judged:
    """One record: what both sides hold, what its derived fields should be, and the verdict of the rules."""

    mapping: Mapping
    document: Reading
    relational: Reading
    expected: Expected
    verdict: Verdict

    @property
    def updated_at(self) -> datetime | None:
        """What changes of the record set: the greater of the two that were read, never now."""
        known = [each.updated_at for each in (self.document, self.relational) if each.updated_at is not None]
        return max(known, default=None)

    def persons(self, key: str) -> tuple[str, ...]:
        """Whose values it holds, where a reference of its own tells that."""
        if not self.mapping.whose:
            return ()
        return self.mapping.persons(key, self.document.record, self.relational.record)

    def doubtful(self) -> Verdict:
        """The verdict that only says which derived fields cannot be told yet."""
        document = self.document.record or {}
        return Verdict(
            Kind.FIELDS,
            tuple(
                FieldDiff(each.name, document.get(each.name), None, describe(each), None)
                for each in self.mapping.derived_fields
                if each.name not in self.expected.values
            ),
        )

    def decided(self, side: Side) -> Verdict:
        """The verdict with an operator's decision that `side` wins where the rules ask for review."""
        return resolve(
            self.mapping,
            self.document.record,
            self.relational.record,
            derived=self.expected.values,
            decided=side,
        )


async def judge(
    every: dict[str, EntitySides], work: WorkPort, entity: str, keys: Sequence[str]
) -> dict[str, Judged]:
    """The verdict on each of these records of `entity`, as both sides hold them now."""
    mapping = every[entity].mapping
    if not keys:
        return {}
    pairs = await every[entity].read(keys)
    rules = (each.rule for each in mapping.derived_fields)
    counted = {rule.less.entity for rule in rules if isinstance(rule, Derived)}
    expected = await expect(
        mapping, pairs, {other: every[other] for other in counted}, left_alone=partial(_left_alone, work)
    )
    return {
        key: Judged(
            mapping,
            document,
            relational,
            expected[key],
            resolve(mapping, document.record, relational.record, derived=expected[key].values),
        )
        for key, (document, relational) in pairs.items()
    }


def cannot_be_judged(error: Exception) -> str:
    """Why a record cannot be judged, for operators: never with a value, which the message of a stranger may quote."""
    known = isinstance(error, RecordFaultError)
    return f"it cannot be judged: {error if known else f'{type(error).__name__}, see the logs'}"


async def _left_alone(work: WorkPort, entity: str, keys: list[str]) -> set[str]:
    standing = await work.standing(entity, keys)
    undecided = {key for key, diff in standing.items() if diff.status in {"in_review", "rejected"}}
    return undecided | (await work.held(entity, keys)).keys()
