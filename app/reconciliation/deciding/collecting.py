"""Which changes an undo takes back: of a run they are collected page by page, so that memory is bounded whatever its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from app.audit.entries import Outcome
from app.audit.store import AuditStore, Change
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.reconciliation.deciding.inverse import ERASED, erased
from app.reconciliation.ledger import holds, runs
from app.reconciliation.mapping import mappings
from app.stores.connections import Stores

MOST = 1000
# Changes of a run that are collected at a time, each page with the holds on its records.
PAGE = 1000
# Of a whole run, what was tried and changed nothing is passed over; named by its id it is refused.
_WITHOUT_EFFECT = (Outcome.SUPERSEDED, Outcome.REJECTED)


@dataclass(frozen=True)
class Item:
    """A change to take back; `refusal` says why it cannot be, where that is known from the start."""

    sequence: int
    change_id: UUID
    entity: str
    key: str
    side: str
    refusal: str | None = None

    @property
    def address(self) -> holds.Address:
        return self.entity, self.key


@dataclass(frozen=True)
class Collected:
    """Some of the changes to take back, the latest ones; `further` is where to go on, None where these are all."""

    items: list[Item]
    further: int | None = None


async def collect(stores: Stores, change_ids: Sequence[UUID], run_id: UUID | None) -> Collected:
    """The changes with these ids, or the first ones of a run.

    Raises NotFoundError where there is no such change or run, InvalidInputError naming every unknown change,
    ConflictError for a run that is active or changed nothing, and for a single change whose values are erased.
    """
    if (run_id is None) == (not change_ids):
        raise InvalidInputError(
            "what is to be undone?", [Fault("body", "needs either `change_ids` or `run_id`")]
        )
    if run_id is None:
        items = await _items(stores, await _changes(_audit(stores), change_ids))
        if [each.refusal for each in items] == [ERASED]:
            raise ConflictError(f"change {items[0].change_id} cannot be undone: {ERASED}")
        return Collected(items)
    status = await stores.core.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
    if status in runs.ACTIVE:
        raise ConflictError(
            f"run {run_id} is {status}: cancel it or wait for its end", f"/v1/reconciliation/runs/{run_id}"
        )
    collected = await collect_before(stores, run_id)
    while not collected.items and collected.further is not None:
        collected = await collect_before(stores, run_id, collected.further)
    if collected.items:
        return collected
    # The row of an old run is deleted before its changes are: it is unknown only where neither is left.
    raise (
        NotFoundError(f"no run {run_id}")
        if status is None
        else ConflictError(f"run {run_id} changed nothing")
    )


async def collect_before(stores: Stores, run_id: UUID, before: int | None = None) -> Collected:
    """The changes on the next page of a run, before a place in the audit store; there may be none on it."""
    page, further = await _audit(stores).changes_page(run_id=run_id, before=before, limit=PAGE)
    effective = [each for each in page if each.outcome is None or each.outcome.outcome not in _WITHOUT_EFFECT]
    return Collected(await _items(stores, effective), further)


async def keep(
    connection: asyncpg.Connection, undo_id: UUID, items: Sequence[Item], *, by: str, reason: str
) -> int:
    """Make the items part of an undo, and hold their records; answers how many were not held yet.

    Raises asyncpg.UniqueViolationError where another undo has just begun on some of the changes.
    """
    await connection.execute(
        """
        INSERT INTO undo_items (undo_id, sequence, change_id, entity, key, side, reason, status)
        SELECT $1, given.*, CASE WHEN given.refusal IS NULL THEN 'pending' ELSE 'refused' END
        FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
            AS given (sequence, change_id, entity, key, side, refusal)
        """,
        undo_id,
        [item.sequence for item in items],
        [item.change_id for item in items],
        [item.entity for item in items],
        [item.key for item in items],
        [item.side for item in items],
        [item.refusal for item in items],
    )
    wanted = {item.address for item in items if item.refusal is None}
    placed = await holds.place_in(connection, wanted, by=by, reason=f"undone: {reason}", undo_id=undo_id)
    return len(placed)


def _audit(stores: Stores) -> AuditStore:
    return AuditStore.of(stores)


async def _changes(audit: AuditStore, change_ids: Sequence[UUID]) -> list[Change]:
    if len(change_ids) > MOST:
        raise InvalidInputError("too many changes", [Fault("change_ids", f"takes 1 to {MOST} ids")])
    found = await audit.changes_by_id(list(dict.fromkeys(change_ids)))
    faults = [
        Fault(f"change_ids/{at}", "there is no such change")
        for at, change_id in enumerate(change_ids)
        if change_id not in found
    ]
    if not found:
        raise NotFoundError(
            "there is no such change" if len(faults) == 1 else "there is none of these changes"
        )
    if faults:
        raise InvalidInputError(f"{len(faults)} of {len(change_ids)} changes are unknown", faults)
    return list(found.values())


async def _items(stores: Stores, changes: Sequence[Change]) -> list[Item]:
    undone = await stores.core.fetch(
        "SELECT change_id, undo_id, status FROM undo_items WHERE change_id = ANY($1) AND status <> 'refused'",
        [each.intent.id for each in changes],
    )
    known = {row["change_id"]: _undone_by(row) for row in undone}
    return [_item(each, known.get(each.intent.id)) for each in changes]


def _item(change: Change, undone: str | None) -> Item:
    intent, refusal = change.intent, undone
    if intent.entity not in mappings():
        refusal = "its entity is no longer mapped"
    elif change.outcome is None:
        refusal = "how it ended is not known yet"
    elif change.outcome.outcome is not Outcome.APPLIED:
        refusal = f"it ended as {change.outcome.outcome}, not as applied"
    elif undone is None and erased(intent):
        refusal = ERASED
    return Item(change.sequence, intent.id, intent.entity, intent.key, intent.side, refusal)


def _undone_by(row: asyncpg.Record) -> str:
    return (
        f"{'undone already' if row['status'] == 'undone' else 'about to be undone'} by undo {row['undo_id']}"
    )
