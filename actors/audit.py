"""The actor that seals the audit store."""

import asyncio

import dramatiq
from loguru import logger
from periodiq import cron

from actors.broker import broker, worker_stores
from actors.queues import Queue
from app.audit.sealing import turn
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.correlation import DONE, IDLE, note_outcome

MINUTE = 60_000
# So often at most is a turn asked for before its time.
_NUDGE_SECONDS = 5


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=10 * MINUTE, periodic=cron("* * * * *"), catch_up="skip"
)
async def seal_entries() -> None:
    """Seal what is new in the audit store."""
    try:
        note_outcome(DONE if await turn.take_turn(worker_stores.stores) else IDLE)
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("sealing.delayed")


async def seal_when_due(stores: Stores) -> None:
    """Ask for a turn of the sealer as soon as there is a whole batch; the next minute comes anyway."""
    try:
        if await turn.is_due(stores):
            await asyncio.to_thread(_wake_sealer)
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("sealing.delayed")


def _wake_sealer() -> None:
    if broker.client.set(f"{broker.namespace}:wake:seal", 1, nx=True, ex=_NUDGE_SECONDS):
        seal_entries.send()
