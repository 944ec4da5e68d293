"""The actor that keeps the log store within its bounds."""

import dramatiq
from loguru import logger
from periodiq import cron

from actors.broker import worker_stores
from actors.queues import Queue
from app.errors import StoreUnavailableError
from app.logs import retention

MINUTE = 60_000


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=4 * MINUTE, periodic=cron("*/5 * * * *"), catch_up="skip"
)
async def trim_logs() -> None:
    """Give up the log entries that are too old or too many."""
    try:
        await retention.trim(worker_stores.stores)
    except StoreUnavailableError as error:
        logger.bind(reason=str(error)).warning("logs.kept")
