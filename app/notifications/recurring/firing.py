"""A tick of a schedule of mail: its query says who is to get what, and that is asked for, up to a thousand mails at once.

Each thousand is a transaction. Whoever dies in between is followed by the same tick again, or at last by the next one, which
goes back to the last tick that was seen through. What was asked for before is not asked for again: see `plans.plan`.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import asyncpg
from loguru import logger
from msgspec import Struct

from app.accounts.encryption import safe_of
from app.errors import NotFoundError
from app.notifications.asking import deciding
from app.notifications.asking.ordering import transport_of
from app.notifications.asking.triggering import Order, trigger
from app.notifications.recurring.plans.drafts import check
from app.notifications.recurring.plans.plan import Portion, Tick
from app.notifications.recurring.plans.registry import Plan, read_plan
from app.notifications.templates.catalogue import Version, load_version
from app.scheduling.schedules import Schedule, get_schedule
from app.stores.connections import Stores

FIRST_LOOK = timedelta(days=1)
"""How far a schedule goes back that was never seen through."""
LONGEST_LOOK = timedelta(days=31)

_LAST = "SELECT max(tick) FROM ticks WHERE schedule = $1 AND tick < $2 AND finished_at IS NOT NULL"


class Fired(Struct, frozen=True):
    """How many mails this run of a tick has asked for, and how many recipients it passed over."""

    mails: int = 0
    skipped: int = 0


class Firing(Struct, frozen=True):
    """A schedule of mail at a tick: whom its plan asks, and the version of the template; None where it has no mails of its own."""

    schedule: Schedule
    plan: Plan
    template: Version | None
    tick: Tick

    @property
    def note(self) -> str | None:
        """Why nothing is sent now, where that is so."""
        off = self.template is not None and not self.template.enabled
        return f"the template {self.plan.template} is disabled" if off else None

    def is_late(self, portion: Portion) -> bool:
        return portion.not_after is not None and portion.not_after <= self.tick.moment


async def fire(stores: Stores, name: str, tick: datetime, *, moment: datetime) -> Fired:
    """See a tick through. To do it twice, or at the same time, changes nothing.

    Raises InvalidInputError where the schedule was edited by hand into nonsense, NotFoundError where it or its template is gone,
    and what the drivers raise.
    """
    if await _is_over(stores, name, tick):
        logger.bind(schedule=name, tick=tick).info("tick.repeated")
        return Fired()
    firing = await prepare(stores, name, tick, moment)
    fired = Fired() if firing.note else await _fire(stores, firing)
    await stores.core.execute(
        "UPDATE ticks SET finished_at = clock_timestamp(), skipped = $3, note = $4 WHERE schedule = $1 AND tick = $2",
        name,
        tick,
        fired.skipped,
        firing.note,
    )
    bound = logger.bind(
        schedule=name, tick=tick, mails=fired.mails, skipped=fired.skipped, reason=firing.note
    )
    bound.info("tick.finished")
    return fired


async def prepare(stores: Stores, name: str, tick: datetime, moment: datetime) -> Firing:
    """What is to be done on a tick; raises as `fire` does, and ConflictError for a schedule that is none of mail."""
    schedule = await get_schedule(stores.core, name)
    plan = read_plan(schedule)
    template = await load_version(stores.core, plan.template) if plan.template else None
    last = await stores.core.fetchval(_LAST, name, tick) or tick - FIRST_LOOK
    looked = Tick(tick, max(last, tick - LONGEST_LOOK), moment, ZoneInfo(schedule.zone))
    return Firing(schedule, plan, template, looked)


def by(schedule: str) -> str:
    """The schedule as whoever asks for mail."""
    return f"schedule:{schedule}"


async def _is_over(stores: Stores, name: str, tick: datetime) -> bool:
    """Raises NotFoundError for a tick that is gone with its schedule."""
    row = await stores.core.fetchrow(
        "SELECT finished_at FROM ticks WHERE schedule = $1 AND tick = $2", name, tick
    )
    if row is None:
        raise NotFoundError(f"schedule {name!r} has no tick {tick.isoformat()}")
    return row["finished_at"] is not None


async def _fire(stores: Stores, firing: Firing) -> Fired:
    mails = skipped = 0
    async for portion in firing.plan.portions(stores, firing.tick):
        if portion.retries:
            mails += await _retry(stores, firing, portion)
        elif firing.template is not None and not firing.is_late(portion):
            asked = await _ask(stores, firing, firing.template, portion)
            mails, skipped = mails + asked.mails, skipped + asked.skipped
    return Fired(mails, skipped)


async def _ask(stores: Stores, firing: Firing, template: Version, portion: Portion) -> Fired:
    name = firing.schedule.name
    checked = await check(stores.core, name, template, firing.plan.locale, portion.drafts)
    for each in checked.skipped:
        logger.bind(schedule=name, kind=each.kind, key=each.id, field=each.fault.where).warning(
            "mail.skipped"
        )
    if not checked.mailings:
        return Fired(skipped=len(checked.skipped))
    order = Order(
        template=template,
        mailings=checked.mailings,
        transport=transport_of(stores.settings),
        not_after=portion.not_after,
        priority=firing.plan.priority,
    )
    moment, safe = firing.tick.moment, safe_of(stores.settings)
    async with stores.core.acquire() as connection, connection.transaction():
        batch = await trigger(connection, order, by=by(name), moment=moment, safe=safe)
        await _count(connection, firing, len(batch.notifications))
    return Fired(len(batch.notifications), len(checked.skipped))


async def _retry(stores: Stores, firing: Firing, portion: Portion) -> int:
    tried = await deciding.retry(
        stores,
        portion.retries,
        by=by(firing.schedule.name),
        reason="its service answers again",
        moment=firing.tick.moment,
    )
    await _count(stores.core, firing, len(tried.retried))
    return len(tried.retried)


async def _count(core: asyncpg.Pool | asyncpg.Connection, firing: Firing, mails: int) -> None:
    query = "UPDATE ticks SET mails = mails + $3 WHERE schedule = $1 AND tick = $2"
    await core.execute(query, firing.schedule.name, firing.tick.at, mails)
