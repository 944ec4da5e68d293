"""Operators are mailed about what needs them, and the log says it too: at most once per cause and hour.

Nothing reports its own trouble here. Once a minute the states are looked at in which trouble shows: so nobody who dies of it
has to tell of it first. A row per cause says of what operators were told last, and when, so a look that is repeated tells
nothing new.
"""

from collections.abc import Awaitable, Sequence
from datetime import datetime
from typing import TypeVar

import asyncpg
from loguru import logger

from app.accounts.addresses import address
from app.accounts.encryption import safe_of
from app.accounts.permissions import Role
from app.errors import CoreError, StoreUnavailableError
from app.notifications.addresses.recipients import Resolved
from app.notifications.asking.ordering import transport_of
from app.notifications.asking.triggering import FIRST, Mailing, Occasion, Order, trigger
from app.notifications.delivering.post_office import database_clock
from app.notifications.delivering.transports.opening import configured
from app.notifications.ledger.queries import read_circuits
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.rendering import FALLBACK
from app.notifications.troubles import Alarm, looks
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.settings import SettingsError

SCHEDULE = "alerts"
TEMPLATE = "operator-alert"
_BY = "core"
T = TypeVar("T")

# Within the hour nothing is told of a cause, whatever happens. After it, what is new; what lasts, once a day. A time that
# lies ahead was told by a clock that has been set back since.
_NEWS = """
INSERT INTO alerts AS told (cause, began_at, told_at) VALUES ($1, $2, $3)
ON CONFLICT (cause) DO UPDATE SET began_at = $2, told_at = $3
WHERE told.told_at >= $3 + interval '1 hour' OR told.told_at <= $3 - interval '1 hour'
    AND (told.began_at < $2 OR $4 AND told.told_at <= $3 - interval '1 day')
RETURNING true
"""


async def watch(stores: Stores, *, queues: Sequence[str], moment: datetime | None = None) -> int:
    """Look at everything, and tell of what is new; answers how many mails were asked for.

    `moment` is now by the core DB's clock, unless given. What cannot be looked at or told now is logged, and keeps nothing
    else from being told. Raises what the core DB's driver raises, and ExceptionGroup of what nobody expected, once all is told.
    """
    moment = moment or (await database_clock(stores.core))()
    guard, told = _Guard(), 0
    for look in looks(queues):
        for alarm in await guard.result(look(stores, moment)) or []:
            told += await guard.result(_tell(stores, alarm, moment)) or 0
    if guard.unexpected:
        raise ExceptionGroup("not everything could be watched", guard.unexpected)
    return told


class _Guard:
    """Keeps one thing that goes wrong from the others."""

    def __init__(self) -> None:
        self.unexpected: list[Exception] = []

    async def result(self, work: Awaitable[T]) -> T | None:
        """None where there is none."""
        try:
            return await work
        except (StoreUnavailableError, *FAULTS) as error:
            logger.bind(reason=str(error)).warning("watch.blinded")
        except Exception as error:  # noqa: BLE001  (what else is wrong has to be told all the same)
            self.unexpected.append(error)
        return None


async def _tell(stores: Stores, alarm: Alarm, moment: datetime) -> int:
    """Mail it and log it, if it is news; answers how many mails. Of two workers that look, one waits here, and finds it told."""
    async with stores.core.acquire() as connection, connection.transaction():
        if not await connection.fetchval(_NEWS, alarm.cause, alarm.at, moment, alarm.lasts):
            return 0
        mails = await _mail(stores, connection, alarm, moment)
    bound = logger.bind(cause=alarm.cause, severity=alarm.severity, reason=alarm.summary, mails=mails)
    bound.error("alert.raised")
    return mails


async def _mail(stores: Stores, connection: asyncpg.Connection, alarm: Alarm, moment: datetime) -> int:
    """Ask for a mail to each operator. Where none can be asked for, that is logged, and the log has to tell."""
    try:
        order = await _order(stores, connection, alarm, moment)
        safe = safe_of(stores.settings)
    except (CoreError, SettingsError) as error:
        logger.bind(reason=str(error)).warning("mails.stopped")
        return 0
    if order.mailings:
        await trigger(connection, order, by=_BY, moment=moment, safe=safe)
    return len(order.mailings)


async def _order(stores: Stores, connection: asyncpg.Connection, alarm: Alarm, moment: datetime) -> Order:
    operators = await connection.fetch(
        "SELECT id, email FROM users WHERE roles @> $1 AND status = 'active' AND email IS NOT NULL ORDER BY id",
        [Role.OPERATOR],
    )
    return Order(
        template=await load_version(connection, TEMPLATE),
        mailings=[
            Mailing(
                Resolved("user", row["id"], address(row["email"])),
                alarm.data(),
                FALLBACK,
                Occasion(SCHEDULE, moment, f"{alarm.cause}:{row['id']}"),
            )
            for row in operators
        ],
        transport=await _transport(stores, connection),
        not_after=moment + alarm.worth,
        priority=FIRST,
    )


async def _transport(stores: Stores, connection: asyncpg.Connection) -> str:
    """The transport for new mail; while its circuit is open another one that has somewhere to hand mail over to."""
    chosen = transport_of(stores.settings)
    ways = sorted(configured(stores.settings), key=lambda name: name != chosen)
    views = await read_circuits(connection, ways)
    return next((each.name for each in views if each.state == "closed"), chosen)
