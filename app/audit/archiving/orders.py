"""What operators ask of archives: to make some now, and to see what there is."""

import asyncio
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg

from app.audit import outbox
from app.audit.archiving.due import find_due
from app.audit.archiving.index import opened
from app.audit.archiving.kept import read_kept
from app.audit.archiving.views import ArchiveView, Order, Plan
from app.audit.entries import Fact
from app.audit.sealing.stream import ChainBrokenError
from app.audit.store import AuditStore
from app.clock import now
from app.errors import ConflictError, NotFoundError
from app.pages import Page, check_limit, decode_cursor_number, encode_cursor
from app.stores.connections import Stores


async def plan(stores: Stores, before: datetime) -> Plan:
    """What an order would have archived now. Raises ConflictError where the seals do not hold."""
    audit = AuditStore(stores.audit, stores.settings.namespace)
    try:
        due = await find_due(stores.core, audit, before, now())
    except ChainBrokenError as error:
        raise ConflictError(f"{error}; `astrocore audit verify` tells more") from error
    some = due.entries > 0
    return Plan(
        before=before,
        seals=due.seals[1] - due.seals[0] + 1 if some else 0,
        entries=max(0, due.entries),
        first=due.first if some else None,
        last=due.last if some else None,
        held_by=due.held_by,
    )


async def order(stores: Stores, before: datetime, *, by: str, reason: str | None) -> Order:
    """Have everything archived that was sealed before an instant; a worker does it."""
    async with stores.core.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "INSERT INTO audit_archive_orders (id, before) VALUES ($1, $2) RETURNING *", uuid4(), before
        )
        target = before.astimezone(UTC).isoformat(timespec="seconds")
        about: outbox.About = {"by": by, "target": target, "reason": reason}
        await outbox.record(connection, Fact.ARCHIVE_ORDERED, **about)
    return _order(row)


async def get_order(stores: Stores, id_: UUID) -> Order:
    """An order; raises NotFoundError."""
    row = await stores.core.fetchrow("SELECT * FROM audit_archive_orders WHERE id = $1", id_)
    if row is None:
        raise NotFoundError(f"no order {id_}")
    return _order(row)


async def open_orders(core: asyncpg.Pool) -> list[Order]:
    """Orders that are not finished."""
    rows = await core.fetch(
        "SELECT * FROM audit_archive_orders WHERE finished_at IS NULL ORDER BY created_at"
    )
    return [_order(row) for row in rows]


async def finish_orders(
    core: asyncpg.Pool,
    orders: list[Order],
    *,
    archives: int = 0,
    entries: int = 0,
    refused: str | None = None,
) -> None:
    """Say how these orders have ended."""
    await core.execute(
        "UPDATE audit_archive_orders SET finished_at = now(), archives = $2, entries = $3, refused = $4 "
        "WHERE id = ANY($1) AND finished_at IS NULL",
        [each.id for each in orders],
        archives,
        entries,
        refused,
    )


async def list_archives(stores: Stores, *, limit: int, cursor: str | None = None) -> Page[ArchiveView]:
    """Archives, the latest first. Raises ConflictError where a tombstone cannot be read."""
    rows = await stores.core.fetch(
        "SELECT * FROM audit_archives WHERE $1::bigint IS NULL OR number < $1 ORDER BY number DESC LIMIT $2",
        decode_cursor_number(cursor),
        check_limit(limit) + 1,
    )
    items = await asyncio.to_thread(lambda: [_view(stores, row) for row in rows[:limit]])
    return Page(items, encode_cursor(str(items[-1].number)) if len(rows) > limit else None)


def _view(stores: Stores, row: asyncpg.Record) -> ArchiveView:
    """Looks for the file, so it waits for the disk."""
    try:
        tombstone = read_kept(row)
    except ChainBrokenError as error:
        raise ConflictError(f"{error}; `astrocore audit verify` tells more") from error
    path = stores.settings.archive_dir / tombstone.file
    earliest, latest = _extent(path, tombstone.digest)
    return ArchiveView(
        number=row["number"],
        first=tombstone.first,
        last=tombstone.last,
        earliest=earliest,
        latest=latest,
        made_at=tombstone.time,
        file=tombstone.file,
        bytes=row["bytes"],
        sha256=tombstone.digest.hex(),
        trimmed=row["trimmed_at"] is not None,
        there=path.is_file() and path.stat().st_size == row["bytes"],
    )


def _extent(path: Path, digest: bytes) -> tuple[datetime | None, datetime | None]:
    """The seconds between which its entries happened."""
    try:
        with opened(path, digest) as index:
            first, last = index.extent()
    except sqlite3.Error:
        return None, None
    return _moment(first), _moment(last)


def _moment(second: int | None) -> datetime | None:
    return None if second is None else datetime.fromtimestamp(second, UTC)


def _order(row: asyncpg.Record) -> Order:
    return Order(**{name: row[name] for name in Order.__struct_fields__})
