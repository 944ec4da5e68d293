"""Undo of single changes or of a whole run: a row for each change to take back, worked off the latest first.

Every record concerned is held before the first of them is written, so that no run does again what is undone. Of a large
run the worker collects most of the changes. A worker that dies loses its lease; whoever comes next goes on with what is
left. What cannot be taken back is listed with the reason.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from loguru import logger

from app.audit.entries import Fact, IntentEntry
from app.audit.outbox import record
from app.audit.store import AuditStore
from app.errors import ConflictError, Fault, InvalidInputError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_id, decode_cursor_number, encode_cursor
from app.reconciliation.deciding.collecting import Collected, Item, collect, collect_before, keep
from app.reconciliation.deciding.inverse import Refused
from app.reconciliation.deciding.undoing import Result, UnderWay, Undoer, Undone
from app.reconciliation.ledger import suspects
from app.reconciliation.ledger.views import UndoItemView, UndoPreview, UndoView
from app.reconciliation.sides.records import every_entity
from app.stores.connections import Stores

# Changes that are taken back together, and read from the audit store at a time.
BATCH = 100
_LEASE_SECONDS = 60.0
_RENEWED_SECONDS = 15.0
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
class _Lease:
    """An undo in hand; the token tells this lease from another one, of whoever had it before or has it since."""

    undo_id: UUID
    token: UUID


class _LeaseLostError(Exception):
    """Somebody else has the undo in hand by now."""


async def preview(
    stores: Stores, *, change_ids: Sequence[UUID] = (), run_id: UUID | None = None
) -> UndoPreview:
    """What `start` would take back; raises as it does."""
    collected = await collect(stores, change_ids, run_id)
    changes, refused, records = 0, 0, set[int]()
    while True:
        wanted = [item for item in collected.items if item.refusal is None]
        changes += len(wanted)
        refused += len(collected.items) - len(wanted)
        # 64 bits of each, for a run may have a great many.
        records |= {hash(item.address) for item in wanted}
        if run_id is None or collected.further is None:
            return UndoPreview(changes=changes, records=len(records), refused=refused)
        collected = await collect_before(stores, run_id, collected.further)


async def start(
    stores: Stores,
    *,
    change_ids: Sequence[UUID] = (),
    run_id: UUID | None = None,
    by: str,
    reason: str,
) -> UndoView:
    """Queue the undo of 1 to 1,000 changes or of all changes of a run, and hold their records.

    Of a run with more changes than a page the last page is taken now, and the status `collecting` says that the worker
    takes the others, before it writes anything: until then the counts grow. Changes that were not applied, or are undone
    already, are refused at once. Raises NotFoundError where there is no such change or run, InvalidInputError naming
    every unknown change, ConflictError while the run is active.
    """
    collected = await collect(stores, change_ids, run_id)
    try:
        async with stores.core.acquire() as connection, connection.transaction():
            undo_id: UUID = await connection.fetchval(
                "INSERT INTO undos (run_id, reason, requested_by, status) VALUES ($1, $2, $3, $4) RETURNING id",
                run_id,
                reason,
                by,
                "queued" if collected.further is None else "collecting",
            )
            placed = await keep(connection, undo_id, collected.items, by=by, reason=reason)
            await record(
                connection, Fact.UNDO_STARTED, by=by, target=str(undo_id), reason=reason, run_id=run_id,
                detail={
                    "changes": len(collected.items), "holds_placed": placed,
                    "more_to_collect": collected.further is not None,
                },
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
    lease = await _claim(stores.core, undo_id)
    if lease is None:
        return
    try:
        await _while_kept(stores.core, lease, _work_off(stores, lease))
    except _LeaseLostError:
        logger.bind(undo_id=str(undo_id)).warning("undo.lost")
    finally:
        await _give_back(stores.core, lease)


async def _work_off(stores: Stores, lease: _Lease) -> None:
    await _collect_rest(stores, lease)
    undoer, audit = undoer_of(stores), AuditStore.of(stores)
    while items := await _next_items(stores.core, lease.undo_id):
        results = await _undo(undoer, audit, items)
        await _record(stores.core, lease.undo_id, results)
        await asyncio.sleep(max((_seconds(each) for each in results.values()), default=0.0))
    await _end(stores.core, lease.undo_id)


def undoer_of(stores: Stores) -> Undoer:
    """What takes changes of any declared entity back."""
    return Undoer(
        sides=every_entity(stores),
        nominate=partial(suspects.nominate, stores.core),
        audit=AuditStore.of(stores),
        write_seconds=stores.settings.store_timeout_seconds,
    )


async def _claim(core: asyncpg.Pool, undo_id: UUID) -> _Lease | None:
    row = await core.fetchrow(
        """
        UPDATE undos SET status = CASE status WHEN 'queued' THEN 'working' ELSE status END,
            leased_by = $2, leased_until = now() + make_interval(secs => $3)
        WHERE id = $1 AND status <> 'done' AND leased_until < now()
        RETURNING id AS undo_id, leased_by AS token
        """,
        undo_id,
        uuid4(),
        _LEASE_SECONDS,
    )
    return row and _Lease(**row)


async def _while_kept(core: asyncpg.Pool, lease: _Lease, work: Coroutine[Any, Any, None]) -> None:
    """Do the work while the lease is renewed; stops in the middle of it and raises _LeaseLostError where it is not."""
    tasks = (asyncio.create_task(work), asyncio.create_task(_renew(core, lease)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result


async def _renew(core: asyncpg.Pool, lease: _Lease) -> None:
    while True:
        await asyncio.sleep(_RENEWED_SECONDS)
        renewed = await core.fetchval(
            """
            UPDATE undos SET leased_until = now() + make_interval(secs => $3)
            WHERE id = $1 AND leased_by = $2 RETURNING true
            """,
            lease.undo_id,
            lease.token,
            _LEASE_SECONDS,
        )
        if not renewed:
            raise _LeaseLostError


async def _give_back(core: asyncpg.Pool, lease: _Lease) -> None:
    await core.execute(
        "UPDATE undos SET leased_by = NULL, leased_until = '-infinity' WHERE id = $1 AND leased_by = $2",
        lease.undo_id,
        lease.token,
    )


async def _collect_rest(stores: Stores, lease: _Lease) -> None:
    """Collect what is left of a large run, the latest changes first, and only then let anything be taken back."""
    run_id = await stores.core.fetchval(
        "SELECT run_id FROM undos WHERE id = $1 AND status = 'collecting'", lease.undo_id
    )
    before = await stores.core.fetchval(
        "SELECT min(sequence) FROM undo_items WHERE undo_id = $1", lease.undo_id
    )
    while run_id is not None:
        collected = await collect_before(stores, run_id, before)
        try:
            await _keep_page(stores.core, lease, collected)
        except asyncpg.UniqueViolationError:
            continue  # another undo has just begun on some of these: it is known by now
        if collected.further is None:
            return
        before = collected.further


async def _keep_page(core: asyncpg.Pool, lease: _Lease, collected: Collected) -> None:
    async with core.acquire() as connection, connection.transaction():
        # Whoever has lost the lease changes nothing here, for somebody else collects.
        undo = await connection.fetchrow(
            """
            UPDATE undos SET status = CASE WHEN $3 THEN 'working' ELSE status END
            WHERE id = $1 AND leased_by = $2 AND status = 'collecting' RETURNING requested_by, reason
            """,
            lease.undo_id,
            lease.token,
            collected.further is None,
        )
        if undo is None:
            raise _LeaseLostError
        await keep(connection, lease.undo_id, collected.items, by=undo["requested_by"], reason=undo["reason"])


async def _next_items(core: asyncpg.Pool, undo_id: UUID) -> list[Item]:
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
    return list(_batch(Item(**row) for row in rows))


def _batch(items: Iterable[Item]) -> Iterable[Item]:
    entity: str | None = None
    seen: set[tuple[str, str]] = set()
    for item in items:
        place = (item.key, item.side)
        if place in seen or item.entity != (entity or item.entity):
            return
        entity = item.entity
        seen.add(place)
        yield item


async def _undo(undoer: Undoer, audit: AuditStore, items: Sequence[Item]) -> dict[UUID, Result]:
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
