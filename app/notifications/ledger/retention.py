"""What mails said is erased after a week; that there were mails, and when schedules were due, is forgotten after more than a year."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from loguru import logger

from app.clock import now
from app.idempotency import forget_keys
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

SHOWN = timedelta(days=7)
"""How long the text of a mail, and what it was filled with, are kept once nothing more is done about it."""
KEPT = timedelta(days=400)
"""How long notifications are kept, with their attempts, transitions and callbacks: a launch and the bill for it in one year."""

_BATCH = 1000

_ERASE = """
    UPDATE notifications SET data = NULL, locked_data = NULL, subject = NULL, body_text = NULL, body_html = NULL, erased_at = $2
    WHERE id = ANY(ARRAY(
        SELECT id FROM notifications WHERE erased_at IS NULL AND updated_at < $1 AND next_at IS NULL
        ORDER BY updated_at LIMIT $3 FOR UPDATE SKIP LOCKED))
"""
# Ids grow with time. One that was retried stays as long as what became of it.
_OLD = """
    SELECT id FROM notifications AS row WHERE id < $1 AND next_at IS NULL AND updated_at < $2
        AND NOT EXISTS (SELECT FROM notifications WHERE retry_of = row.id)
    ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
"""
_OF_THEM = ("notification_attempts", "notification_events", "notification_callbacks")
_EMPTY_BATCHES = """
    DELETE FROM notification_batches WHERE id = ANY(ARRAY(
        SELECT id FROM notification_batches AS batch
        WHERE id < $1 AND NOT EXISTS (SELECT FROM notifications WHERE batch_id = batch.id) ORDER BY id LIMIT $2))
"""
_OLD_TICKS = """
    DELETE FROM ticks USING schedules, LATERAL (
        SELECT tick FROM ticks WHERE schedule = schedules.name AND tick < $1 AND status <> 'pending' ORDER BY tick LIMIT $2
    ) AS old
    WHERE ticks.schedule = schedules.name AND ticks.tick = old.tick
"""


async def erase_old(stores: Stores, moment: datetime | None = None) -> int:
    """Erase and forget what is past its time; answers how many rows. What cannot be done now is logged and holds up nothing else."""
    at, done = moment or now(), 0
    for step in (_erase_texts, _forget_notifications, _forget_batches, _forget_ticks, forget_keys):
        try:
            while count := await step(stores.core, at):
                done += count
        except POSTGRES_FAULTS as error:
            kind = step.__name__.removeprefix("_forget_")
            logger.bind(kind=kind, fault=type(error).__name__).warning("results.kept")
    return done


async def _erase_texts(core: asyncpg.Pool, moment: datetime) -> int:
    return _count(await core.execute(_ERASE, moment - SHOWN, moment, _BATCH))


async def _forget_notifications(core: asyncpg.Pool, moment: datetime) -> int:
    before = moment - KEPT
    async with core.acquire() as connection, connection.transaction():
        rows = await connection.fetch(_OLD, first_id(before), before, _BATCH)
        await _delete(connection, [row["id"] for row in rows])
    return len(rows)


async def _delete(connection: asyncpg.Connection, ids: Sequence[UUID]) -> None:
    for table in _OF_THEM:
        await connection.execute(f"DELETE FROM {table} WHERE notification_id = ANY($1)", ids)
    await connection.execute("DELETE FROM notifications WHERE id = ANY($1)", ids)


async def _forget_batches(core: asyncpg.Pool, moment: datetime) -> int:
    return _count(await core.execute(_EMPTY_BATCHES, first_id(moment - KEPT), _BATCH))


async def _forget_ticks(core: asyncpg.Pool, moment: datetime) -> int:
    """Of every schedule, whatever it is for."""
    return _count(await core.execute(_OLD_TICKS, moment - KEPT, _BATCH))


def first_id(moment: datetime) -> UUID:
    """The least UUID of version 7 that may have been made at this moment (RFC 9562, section 5.7)."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | 0x2 << 62)


def _count(answer: str) -> int:
    return int(answer.rpartition(" ")[2])
