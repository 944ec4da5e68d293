"""The actors of mail that nobody asks for at the moment: by schedules, and to operators about trouble."""

from datetime import datetime

import dramatiq
from dramatiq.middleware import CurrentMessage
from loguru import logger
from periodiq import cron

from actors.audit import relay_facts
from actors.broker import worker_stores
from actors.notifications import wake_delivery
from actors.queues import Queue
from app.clock import now
from app.errors import NotFoundError
from app.notifications import alerts
from app.notifications.recurring import firing, resuming
from app.stores.health import FAULTS
from config.correlation import DONE, IDLE, note_outcome

MINUTE = 60_000


@dramatiq.actor(
    queue_name=Queue.MAILS, max_retries=8, min_backoff=1000, max_backoff=5 * MINUTE, time_limit=30 * MINUTE
)
async def fire_mails(**_: object) -> None:
    """See a tick of a schedule of mail through: the message tells which; what is to be done the schedule's row says by now."""
    message = CurrentMessage.get_current_message()
    assert message is not None, "only the scheduler wakes schedules"
    name, tick = message.options["schedule"], datetime.fromisoformat(message.options["tick"])
    stores = worker_stores.stores
    try:
        fired = await firing.fire(stores, name, tick, moment=now())
    except NotFoundError as error:  # it was removed meanwhile
        logger.bind(schedule=name, tick=tick, reason=str(error)).warning("tick.abandoned")
        return
    note_outcome(DONE if fired.mails else IDLE)
    if fired.mails:
        wake_delivery()
        await relay_facts(stores)


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=MINUTE, periodic=cron("*/2 * * * *"), catch_up="skip"
)
async def resume_ticks() -> None:
    """Send ticks of schedules of mail again whose message is lost, or came to nothing."""
    note_outcome(IDLE)
    try:
        resent = await resuming.resume(worker_stores.stores, _send_again, moment=now())
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("ticks.kept")
        return
    if resent:
        note_outcome(DONE)


def _send_again(lost: resuming.LostTick) -> None:
    fire_mails.send_with_options(schedule=lost.schedule, tick=lost.tick.isoformat())


@dramatiq.actor(
    queue_name=Queue.RUNS, max_retries=0, time_limit=MINUTE, periodic=cron("* * * * *"), catch_up="skip"
)
async def watch() -> None:
    """Tell operators of what needs them."""
    note_outcome(IDLE)
    stores = worker_stores.stores
    try:
        told = await alerts.watch(stores, queues=list(Queue))
    except FAULTS as error:
        logger.bind(reason=str(error)).warning("watch.blinded")
        return
    if told:
        note_outcome(DONE)
        wake_delivery()
        await relay_facts(stores)
