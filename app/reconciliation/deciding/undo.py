"""Undo of single changes or of a whole run: a row for each change to take back, worked off the latest first.

Every record concerned is held from the start, so that no run does again what is undone. A worker that dies loses its
lease; whoever comes next goes on with what is left. What cannot be taken back is listed with the reason.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg

from app.audit.entries import Fact, IntentEntry, Outcome
from app.audit.outbox import record
from app.audit.store import AuditStore, Change
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_id, decode_cursor_number, encode_cursor
from app.reconciliation.deciding.inverse import Refused
from app.reconciliation.deciding.undoing import Result, UnderWay, Undoer, Undone
from app.reconciliation.ledger import holds, runs, suspects
from app.reconciliation.ledger.views import UndoItemView, UndoPreview, UndoView
from app.reconciliation.mapping import mappings
from app.reconciliation.sides.records import every_entity
from app.stores.connections import Stores

MOST = 1000
# Changes that are taken back together, and read from the audit store at a time.
BATCH = 100
_PAGE = 1000
# Longer than any batch takes, with the wait for a write that may still take effect.
_LEASE_SECONDS = 60.0
# Of a whole run, what was tried and changed nothing is passed over; named by its id it is refused.
_WITHOUT_EFFECT = (Outcome.SUPERSEDED, Outcome.REJECTED)
ITEM_STATUSES = ("pending", "undone", "refused")

_SELECT = """
SELECT undos.id, run_id, undos.reason, requested_by, undos.status, created_at, finished_at, counted.* FROM undos
CROSS JOIN LATERAL (
    SELECT count(*) AS changes, count(DISTINCT (entity, key)) AS records,
        count(*) FILTER (WHERE undo_items.status = 'pending') AS pending,
        count(*) FILTER (WHERE undo_items.status = 'undone') AS undone,
        count(*) FILTER (WHERE undo_items.status = 'refused') AS refused
    FROM undo_items WHERE undo_id = undos.id
) AS counted
"""


@dataclass(frozen=True)
class _Item:
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


async def preview(
    stores: Stores, *, change_ids: Sequence[UUID] = (), run_id: UUID | None = None
) -> UndoPreview:
    """What `start` would take back; raises as it does."""
    items = await _collect(stores, change_ids, run_id)
    wanted = [item for item in items if item.refusal is None]
    return UndoPreview(
        changes=len(wanted),
        records=len({item.address for item in wanted}),
        refused=len(items) - len(wanted),
    )


async def start(
    stores: Stores,
    *,
    change_ids: Sequence[UUID] = (),
    run_id: UUID | None = None,
    by: str,
    reason: str,
) -> UndoView:
    """Queue the undo of 1 to 1,000 changes or of all changes of a run, and hold their records.

    Changes that were not applied, or are undone already, are refused at once. Raises NotFoundError where there is no
    such change or run, InvalidInputError naming every unknown change, ConflictError while the run is active.
    """
    items = await _collect(stores, change_ids, run_id)
    wanted = {item.address for item in items if item.refusal is None}
    try:
        async with stores.core.acquire() as connection, connection.transaction():
            undo_id: UUID = await connection.fetchval(
                "INSERT INTO undos (run_id, reason, requested_by) VALUES ($1, $2, $3) RETURNING id",
                run_id,
                reason,
                by,
            )
            await _insert(connection, undo_id, items)
            placed = await holds.place_in(
                connection, wanted, by=by, reason=f"undone: {reason}", undo_id=undo_id
            )
            await record(
                connection, Fact.UNDO_STARTED, by=by, target=str(undo_id), reason=reason, run_id=run_id,
                detail={"changes": len(items), "records": len(wanted), "holds_placed": len(placed)},
            )  # fmt: skip
    except asyncpg.UniqueViolationError:
        raise ConflictError("another undo of some of these changes has just begun") from None
    return await get_undo(stores, undo_id)


async def get_undo(stores: Stores, undo_id: UUID) -> UndoView:
    """One undo with its progress; raises NotFoundError."""
    row = await stores.core.fetchrow(_SELECT + "WHERE undos.id = $1", undo_id)
    if row is None:
        raise NotFoundError(f"no undo {undo_id}")
    return UndoView(**row)


async def list_undos(stores: Stores, *, limit: int = 50, cursor: str | None = None) -> Page[UndoView]:
    """Undos from the newest to the oldest."""
    rows = await stores.core.fetch(
        _SELECT + "WHERE $1::uuid IS NULL OR undos.id < $1 ORDER BY undos.id DESC LIMIT $2",
        decode_cursor_id(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["id"])) if len(rows) > limit else None
    return Page([UndoView(**row) for row in rows[:limit]], more)


async def list_items(
    stores: Stores,
    undo_id: UUID,
    *,
    status: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[UndoItemView]:
    """The changes of an undo and what came of each, the latest change first; raises NotFoundError."""
    if status is not None and status not in ITEM_STATUSES:
        raise InvalidInputError("unknown status", [Fault("status", f"is one of {', '.join(ITEM_STATUSES)}")])
    if not await stores.core.fetchval("SELECT EXISTS (SELECT FROM undos WHERE id = $1)", undo_id):
        raise NotFoundError(f"no undo {undo_id}")
    rows = await stores.core.fetch(
        """
        SELECT * FROM undo_items WHERE undo_id = $1 AND ($2::text IS NULL OR status = $2)
            AND ($3::numeric IS NULL OR sequence < $3) ORDER BY sequence DESC LIMIT $4
        """,
        undo_id,
        status,
        decode_cursor_number(cursor),
        check_limit(limit) + 1,
    )
    more = encode_cursor(str(rows[limit - 1]["sequence"])) if len(rows) > limit else None
    names = UndoItemView.__struct_fields__
    return Page([UndoItemView(**{name: row[name] for name in names}) for row in rows[:limit]], more)


async def left_behind(stores: Stores) -> list[UUID]:
    """Undos that are not done and that nobody is working on."""
    rows = await stores.core.fetch("SELECT id FROM undos WHERE status <> 'done' AND leased_until < now()")
    return [row["id"] for row in rows]


async def carry_out(stores: Stores, undo_id: UUID) -> None:
    """Work an undo off, or go on with one; does nothing where it is done or somebody else is at it.

    Raises StoreUnavailableError when a store goes away: to be called again then.
    """
    if not await _claim(stores.core, undo_id):
        return
    undoer = undoer_of(stores)
    try:
        while items := await _next_items(stores.core, undo_id):
            results = await _undo(undoer, AuditStore(stores.audit, stores.settings.namespace), items)
            await _record(stores.core, undo_id, results)
            await asyncio.sleep(max((_seconds(each) for each in results.values()), default=0.0))
            await _lease(stores.core, undo_id, _LEASE_SECONDS)
        await _end(stores.core, undo_id)
    finally:
        await _lease(stores.core, undo_id, 0.0)


def undoer_of(stores: Stores) -> Undoer:
    """What takes changes of any declared entity back."""
    return Undoer(
        sides=every_entity(stores),
        nominate=partial(suspects.nominate, stores.core),
        audit=AuditStore(stores.audit, stores.settings.namespace),
        write_seconds=stores.settings.store_timeout_seconds,
    )


async def _collect(stores: Stores, change_ids: Sequence[UUID], run_id: UUID | None) -> list[_Item]:
    if (run_id is None) == (not change_ids):
        raise InvalidInputError(
            "what is to be undone?", [Fault("body", "needs either `change_ids` or `run_id`")]
        )
    audit = AuditStore(stores.audit, stores.settings.namespace)
    changes = await (_changes_of_run(stores, audit, run_id) if run_id else _changes(audit, change_ids))
    undone = await stores.core.fetch(
        "SELECT change_id, undo_id, status FROM undo_items WHERE change_id = ANY($1) AND status <> 'refused'",
        [each.intent.id for each in changes],
    )
    known = {row["change_id"]: _undone_by(row) for row in undone}
    return [_item(each, known.get(each.intent.id)) for each in changes]


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


async def _changes_of_run(stores: Stores, audit: AuditStore, run_id: UUID) -> list[Change]:
    status = await stores.core.fetchval("SELECT status FROM runs WHERE id = $1", run_id)
    if status in runs.ACTIVE:
        raise ConflictError(
            f"run {run_id} is {status}: cancel it or wait for its end", f"/v1/reconciliation/runs/{run_id}"
        )
    changes: list[Change] = []
    while page := await audit.changes(
        run_id=run_id, before=changes[-1].sequence if changes else None, limit=_PAGE
    ):
        changes += page
    effective = [
        each for each in changes if each.outcome is None or each.outcome.outcome not in _WITHOUT_EFFECT
    ]
    if effective:
        return effective
    # The row of an old run is deleted before its changes are: it is unknown only where neither is left.
    raise (
        NotFoundError(f"no run {run_id}")
        if status is None
        else ConflictError(f"run {run_id} changed nothing")
    )


def _item(change: Change, undone: str | None) -> _Item:
    intent, refusal = change.intent, undone
    if intent.entity not in mappings():
        refusal = "its entity is no longer mapped"
    elif change.outcome is None:
        refusal = "how it ended is not known yet"
    elif change.outcome.outcome is not Outcome.APPLIED:
        refusal = f"it ended as {change.outcome.outcome}, not as applied"
    return _Item(change.sequence, intent.id, intent.entity, intent.key, intent.side, refusal)


def _undone_by(row: asyncpg.Record) -> str:
    return (
        f"{'undone already' if row['status'] == 'undone' else 'about to be undone'} by undo {row['undo_id']}"
    )


async def _insert(connection: asyncpg.Connection, undo_id: UUID, items: Sequence[_Item]) -> None:
    for at in range(0, len(items), _PAGE):
        some = items[at : at + _PAGE]
        await connection.execute(
            """
            INSERT INTO undo_items (undo_id, sequence, change_id, entity, key, side, reason, status)
            SELECT $1, given.*, CASE WHEN given.refusal IS NULL THEN 'pending' ELSE 'refused' END
            FROM unnest($2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
                AS given (sequence, change_id, entity, key, side, refusal)
            """,
            undo_id,
            [item.sequence for item in some],
            [item.change_id for item in some],
            [item.entity for item in some],
            [item.key for item in some],
            [item.side for item in some],
            [item.refusal for item in some],
        )


async def _claim(core: asyncpg.Pool, undo_id: UUID) -> bool:
    claimed = await core.fetchval(
        """
        UPDATE undos SET status = 'working', leased_until = now() + make_interval(secs => $2)
        WHERE id = $1 AND status <> 'done' AND leased_until < now() RETURNING true
        """,
        undo_id,
        _LEASE_SECONDS,
    )
    return bool(claimed)


async def _lease(core: asyncpg.Pool, undo_id: UUID, seconds: float) -> None:
    await core.execute(
        "UPDATE undos SET leased_until = now() + make_interval(secs => $2) WHERE id = $1", undo_id, seconds
    )


async def _next_items(core: asyncpg.Pool, undo_id: UUID) -> list[_Item]:
    """The latest changes that are left, of one entity, and of each record and side only the last one.

    A booking that a run created is removed before its customer, and of two changes of a record the later one goes
    first.
    """
    rows = await core.fetch(
        """
        SELECT sequence, change_id, entity, key, side FROM undo_items
        WHERE undo_id = $1 AND status = 'pending' ORDER BY sequence DESC LIMIT $2
        """,
        undo_id,
        BATCH,
    )
    return list(_batch(_Item(**row) for row in rows))


def _batch(items: Iterable[_Item]) -> Iterable[_Item]:
    entity: str | None = None
    seen: set[tuple[str, str]] = set()
    for item in items:
        place = (item.key, item.side)
        if place in seen or item.entity != (entity or item.entity):
            return
        entity = item.entity
        seen.add(place)
        yield item


async def _undo(undoer: Undoer, audit: AuditStore, items: Sequence[_Item]) -> dict[UUID, Result]:
    found = await audit.changes_by_id([item.change_id for item in items])
    lost: dict[UUID, Result] = {
        item.change_id: Refused("the audit store no longer has it")
        for item in items
        if item.change_id not in found
    }
    intents: list[IntentEntry] = [found[item.change_id].intent for item in items if item.change_id in found]
    return lost | await undoer.undo(intents)


def _seconds(result: Result) -> float:
    return result.seconds if isinstance(result, UnderWay) else 0.0


async def _record(core: asyncpg.Pool, undo_id: UUID, results: dict[UUID, Result]) -> None:
    ended = {change_id: each for change_id, each in results.items() if not isinstance(each, UnderWay)}
    await core.execute(
        """
        UPDATE undo_items SET status = given.status, reason = given.reason, undone_by = given.undone_by
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::uuid[]) AS given (change_id, status, reason, undone_by)
        WHERE undo_id = $1 AND undo_items.change_id = given.change_id AND undo_items.status = 'pending'
        """,
        undo_id,
        list(ended),
        ["undone" if isinstance(each, Undone) else "refused" for each in ended.values()],
        [each.reason if isinstance(each, Refused) else None for each in ended.values()],
        [each.by if isinstance(each, Undone) else None for each in ended.values()],
    )


async def _end(core: asyncpg.Pool, undo_id: UUID) -> None:
    async with core.acquire() as connection, connection.transaction():
        ended = await connection.fetchrow(
            "UPDATE undos SET status = 'done', finished_at = now() WHERE id = $1 AND status = 'working' RETURNING *",
            undo_id,
        )
        if ended is None:
            return
        counts = await connection.fetch(
            "SELECT status, count(*) AS number FROM undo_items WHERE undo_id = $1 GROUP BY status", undo_id
        )
        await record(
            connection, Fact.UNDO_ENDED, by="core", target=str(undo_id), reason=ended["reason"],
            run_id=ended["run_id"], detail={row["status"]: row["number"] for row in counts},
        )  # fmt: skip
