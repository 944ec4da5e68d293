"""The actors of notifications. A message only wakes: what is to be sent lies in the core DB."""

import asyncio
import time
from collections.abc import Sequence

import dramatiq
from loguru import logger
from periodiq import cron

from actors.audit import relay_facts, sealing_meanwhile
from actors.broker import BROKER_FAULTS, worker_stores
from actors.queues import Queue
from actors.waking import wake_later
from app.errors import StoreUnavailableError
from app.notifications.delivering.claiming import expire
from app.notifications.delivering.post_office import PostOffice, open_post_offices
from app.notifications.ledger import retention
from app.stores.health import FAULTS
from config.correlation import DONE, IDLE, note_outcome
from config.settings import SettingsError

MINUTE = 60_000
# What is due later than this is left to the minute's wake-up.
_LATEST_SECONDS = 60.0
_AWAY_SECONDS = 2.0


class _Delivery:
    """The post offices of this worker, opened when there is mail for the first time."""

    def __init__(self) -> None:
        self._opening = asyncio.Lock()
        self._offices: Sequence[PostOffice] | None = None

    async def offices(self) -> Sequence[PostOffice]:
        async with self._opening:
            if self._offices is None:
                self._offices = await worker_stores.keep(open_post_offices(worker_stores.stores))
            return self._offices


_delivery = _Delivery()


@dramatiq.actor(
    queue_name=Queue.MAILS,
    max_retries=0,
    time_limit=10 * MINUTE,
    periodic=cron("* * * * *"),
    catch_up="skip",
)
async def deliver_mails() -> None:
    """Hand over the mails that are due, and come again when the next ones are."""
    stores = worker_stores.stores
    note_outcome(IDLE)
    await _end_late()
    try:
        offices = await _delivery.offices()
    except SettingsError as error:
        logger.bind(reason=str(error)).warning("mails.stopped")
        return  # the next minute comes, and a worker with other settings perhaps
    async with sealing_meanwhile(stores), asyncio.TaskGroup() as group:
        for each in offices:
            group.create_task(_deliver(each))
    await relay_facts(stores)


async def _end_late() -> None:
    """Whatever becomes of transports, what must not go any more has ended within a minute."""
    try:
        await expire(worker_stores.stores.core)
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("mails.stopped")


async def _deliver(office: PostOffice) -> None:
    seconds: float | None = _AWAY_SECONDS
    try:
        seconds = await office.run_due()
    except (StoreUnavailableError, *FAULTS) as error:
        logger.bind(reason=str(error)).warning("mails.stopped")
    if seconds is not None and seconds < _LATEST_SECONDS:
        # Now, and not when the others have ended too.
        await _come_again(max(seconds, 0.05))


async def _come_again(seconds: float) -> None:
    """Have delivery woken in so many seconds. After a minute without a broker that is left to the minute's wake-up."""
    until = time.monotonic() + _LATEST_SECONDS
    while True:
        try:
            await asyncio.to_thread(wake_later, deliver_mails, seconds)
        except BROKER_FAULTS as error:
            logger.bind(reason=str(error)).warning("mails.stopped")
            if time.monotonic() > until:
                return
            await asyncio.sleep(_AWAY_SECONDS)
        else:
            return


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=10 * MINUTE, periodic=cron("29 * * * *"), catch_up="skip"
)
async def erase_old_mails() -> None:
    """Erase what mails said, and forget them, when their time is over."""
    note_outcome(DONE if await retention.erase_old(worker_stores.stores) else IDLE)


def wake_delivery() -> None:
    """Have the mails that are due handed over. May raise what a broker that is away raises; the next minute comes anyway."""
    deliver_mails.send()
