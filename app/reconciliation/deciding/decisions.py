"""An operator's decisions on diffs: which side wins where no rule decides, or that a record stays as it is."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import asyncpg

from app.audit.entries import Fact
from app.audit.outbox import About, record_all
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.reconciliation.ledger import holds
from app.reconciliation.ledger.diffs import APPROVABLE, IN_ORDER, view
from app.reconciliation.ledger.suspects import nominate_all
from app.reconciliation.ledger.views import DiffView
from app.reconciliation.mapping import Side
from app.stores.connections import Stores

MOST = 1000
REJECTABLE = ("in_review", "open", "unsettled")


async def approve(
    stores: Stores, diff_ids: Sequence[UUID], *, side: str, by: str, reason: str
) -> list[DiffView]:
    """Let `side` win in 1 to 1,000 diffs where the rules ask for review, all or none.

    Their records are repaired on the one repair path. Raises InvalidInputError for an unknown side, NotFoundError
    where there is none of the diffs, ConflictError naming every one that cannot be approved.
    """
    if side not in set(Side):
        raise InvalidInputError("unknown side", [Fault("side", f"is one of {', '.join(Side)}")])
    async with stores.core.acquire() as connection, connection.transaction():
        found = await _lock(connection, diff_ids)
        held = await _held(connection, found.values())
        _refuse(diff_ids, {each: _why_not_approved(found.get(each), held) for each in diff_ids}, found)
        decided = await _decide(connection, diff_ids, "approved", side=side, by=by, reason=reason)
        records = {(diff.entity, diff.key): diff.run_id for diff in decided}
        await nominate_all(connection, records, cause=f"approved by {by}")
    return decided


async def reject(stores: Stores, diff_ids: Sequence[UUID], *, by: str, reason: str) -> list[DiffView]:
    """Leave the records of 1 to 1,000 diffs as they are, as long as their values stay what they are now; all or none.

    Raises NotFoundError where there is none of the diffs, ConflictError naming every one that cannot be rejected.
    """
    async with stores.core.acquire() as connection, connection.transaction():
        found = await _lock(connection, diff_ids)
        _refuse(diff_ids, {each: _why_not_in(found.get(each), REJECTABLE) for each in diff_ids}, found)
        return await _decide(connection, diff_ids, "rejected", side=None, by=by, reason=reason)


async def _lock(connection: asyncpg.Connection, diff_ids: Sequence[UUID]) -> dict[UUID, DiffView]:
    if not 1 <= len(diff_ids) <= MOST:
        raise InvalidInputError("bad number of diffs", [Fault("ids", f"takes 1 to {MOST} ids")])
    rows = await connection.fetch(
        f"SELECT * FROM diffs WHERE id = ANY($1) {IN_ORDER} FOR UPDATE", list(diff_ids)
    )
    return {row["id"]: view(row) for row in rows}


async def _held(connection: asyncpg.Connection, diffs: Iterable[DiffView]) -> dict[tuple[str, str], str]:
    keys: dict[str, list[str]] = {}
    for diff in diffs:
        keys.setdefault(diff.entity, []).append(diff.key)
    return {
        (entity, key): reason
        for entity, own in keys.items()
        for key, reason in (await holds.held(connection, entity, own)).items()
    }


def _refuse(diff_ids: Sequence[UUID], reasons: dict[UUID, str | None], found: dict[UUID, DiffView]) -> None:
    faults = [
        Fault(f"ids/{at}", reason)
        for at, diff_id in enumerate(diff_ids)
        if (reason := reasons[diff_id]) is not None
    ]
    if not faults:
        return
    if not found:
        raise NotFoundError(faults[0].message if len(faults) == 1 else "there is none of these diffs")
    if len(diff_ids) == 1:
        raise ConflictError(faults[0].message)
    raise ConflictError(f"{len(faults)} of {len(diff_ids)} diffs cannot be decided so", faults=faults)


def _why_not_approved(diff: DiffView | None, held: dict[tuple[str, str], str]) -> str | None:
    if (why := _why_not_in(diff, APPROVABLE)) or diff is None:
        return why
    if not diff.approvable:
        return f"no side can be chosen; {diff.reason}: correct that, or reject the diff"
    if reason := held.get((diff.entity, diff.key)):
        return f"{diff.entity} {diff.key} is held ({reason}): release it first"
    return None


def _why_not_in(diff: DiffView | None, statuses: Sequence[str]) -> str | None:
    if diff is None:
        return "there is no such diff"
    if diff.status not in statuses:
        return f"diff {diff.id} is {diff.status}, not {' or '.join(statuses)}"
    return None


async def _decide(
    connection: asyncpg.Connection,
    diff_ids: Sequence[UUID],
    status: str,
    *,
    side: str | None,
    by: str,
    reason: str,
) -> list[DiffView]:
    rows = await connection.fetch(
        """
        UPDATE diffs SET status = $2, resolution = $3, decided_by = $4, decision = $5,
            closed_at = CASE WHEN $2 = 'rejected' THEN now() END
        WHERE id = ANY($1) RETURNING *
        """,
        list(diff_ids),
        status,
        side,
        by,
        reason,
    )
    decided = {row["id"]: view(row) for row in rows}
    in_order = [decided[diff_id] for diff_id in dict.fromkeys(diff_ids)]
    facts: list[About] = [
        {"by": by, "target": str(diff.id), "reason": reason, "detail": {"side": side}, "run_id": diff.run_id,
         "entity": diff.entity, "key": diff.key}
        for diff in in_order
    ]  # fmt: skip
    await record_all(connection, Fact.DIFF_APPROVED if side else Fact.DIFF_REJECTED, facts)
    return in_order
