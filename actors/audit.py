"""The actors that seal the audit store, verify it, and move its oldest entries to archives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import dramatiq
from loguru import logger
from periodiq import cron

from actors.broker import broker, worker_stores
from actors.queues import Queue
from app.audit import inspection
from app.audit.archiving import turn as archiving
from app.audit.outbox import relay
from app.audit.sealing import turn
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.correlation import DONE, IDLE, note_outcome

MINUTE = 60_000
# Before whatever else waits for a thread of the worker; others have 0.
FIRST = -1
# So often at most is a turn asked for before its time.
_NUDGE_SECONDS = 5


@dramatiq.actor(
    queue_name=Queue.SEALS,
    priority=FIRST,
    max_retries=0,
    time_limit=10 * MINUTE,
    periodic=cron("* * * * *"),
    catch_up="skip",
)
async def seal_entries() -> None:
    """Seal what is new in the audit store."""
    try:
        note_outcome(DONE if await turn.take_turn(worker_stores.stores) else IDLE)
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("sealing.delayed")


@dramatiq.actor(
    queue_name=Queue.RUNS,
    max_retries=0,
    time_limit=50 * MINUTE,
    periodic=cron("41 * * * *"),
    catch_up="fire_once",
)
async def archive_entries() -> None:
    """Archive what is due in the audit store."""
    try:
        note_outcome(DONE if await archiving.take_turn(worker_stores.stores) else IDLE)
    except (StoreUnavailableError, *FAULTS) as error:
        logger.bind(reason=str(error)).warning("archiving.delayed")


# No coroutine: the verifier would keep the one event loop of a worker from all else for minutes.
@dramatiq.actor(
    queue_name=Queue.RUNS,
    max_retries=0,
    time_limit=6 * 60 * MINUTE,
    periodic=cron("17 2 * * *"),
    catch_up="fire_once",
)
def verify_entries() -> None:
    """Hold the audit store and the archives to their seals."""
    try:
        verified = asyncio.run(inspection.take_turn(worker_stores.stores.settings))
        note_outcome(DONE if verified else IDLE)
    except (StoreUnavailableError, *FAULTS) as error:
        logger.bind(reason=str(error)).warning("verification.delayed")


@asynccontextmanager
async def sealing_meanwhile(stores: Stores) -> AsyncIterator[None]:
    """Ask for turns of the sealer while much is appended, and once more at the end."""
    asking = asyncio.create_task(_ask(stores))
    try:
        yield
    finally:
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        await seal_when_due(stores)


async def _ask(stores: Stores) -> None:
    while True:
        await asyncio.sleep(_NUDGE_SECONDS)
        await seal_when_due(stores)


async def relay_facts(stores: Stores) -> None:
    """Move facts about rows of the core DB to the audit store; those that cannot be moved now wait."""
    try:
        await relay(stores.core, AuditStore.of(stores))
    except (StoreUnavailableError, *FAULTS) as error:
        logger.bind(reason=str(error)).warning("facts.delayed")


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
