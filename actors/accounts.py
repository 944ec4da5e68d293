"""The actor that keeps house in accounts."""

import dramatiq
from periodiq import cron

from actors.broker import worker_stores
from actors.queues import Queue
from app.accounts import housekeeping
from config.correlation import DONE, IDLE, note_outcome

MINUTE = 60_000


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=10 * MINUTE, periodic=cron("29 * * * *"), catch_up="skip"
)
async def trim_accounts() -> None:
    """Forget the sessions, links, assertions and wrong tries that are over, and see to the keys of tokens."""
    gone = await housekeeping.keep_house(worker_stores.stores)
    note_outcome(DONE if any(gone.values()) else IDLE)
