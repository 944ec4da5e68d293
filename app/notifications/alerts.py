"""Operators are mailed about what needs them, and the log says it too: at most once per cause and hour.

Nothing reports its own trouble here. Once a minute the states are looked at in which trouble shows: so nobody who dies of it
has to tell of it first. An alert stands for the hour in which its trouble began, so a look that is repeated tells nothing new.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec
from loguru import logger
from msgspec import Struct

from app.accounts.addresses import address
from app.accounts.permissions import Role
from app.audit.entries import Fact, FactEntry
from app.audit.queries import EntryFilter, list_entries
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.notifications.ordering import transport_of
from app.notifications.post_office import safe_of
from app.notifications.recipients import Resolved
from app.notifications.rendering import FALLBACK
from app.notifications.templates import load_version
from app.notifications.triggering import Mailing, Occasion, Order, trigger
from app.stores.connections import Stores
from app.stores.health import FAULTS
from config.settings import SettingsError

SCHEDULE = "alerts"
TEMPLATE = "operator-alert"
_BY = "core"
_FIRST = 1
_RECENT = timedelta(days=1)
"""What began earlier than that, and is over, is no news."""
_LOOK = timedelta(minutes=1)
_HOUR = timedelta(hours=1)


class Alarm(Struct, frozen=True, kw_only=True):
    """Something that needs an operator. `cause` is the same for the same trouble; `at`: since when. `worth`: how long to tell of it."""

    cause: str
    severity: str
    title: str
    summary: str
    advice: str
    at: datetime
    worth: timedelta = _RECENT

    @property
    def hour(self) -> datetime:
        return self.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    def data(self) -> dict[str, str]:
        return {
            "severity": self.severity,
            "cause": self.cause[:100],
            "title": self.title[:150],
            "summary": self.summary[:2000],
            "advice": self.advice,
            "at": msgspec.to_builtins(self.at),
        }


Look = Callable[[Stores, datetime], Awaitable[list[Alarm]]]


async def watch(stores: Stores, *, queues: Sequence[str], moment: datetime) -> int:
    """Look at everything, and tell of what is new; answers how many mails were asked for.

    What cannot be looked at now is logged, and keeps nothing else from being told. Raises what the core DB's driver raises.
    """
    told = 0
    async for alarm in _alarms(stores, queues, moment):
        told += await _tell(stores, alarm, moment)
    return told


async def _alarms(stores: Stores, queues: Sequence[str], moment: datetime) -> AsyncIterator[Alarm]:
    for look in (_breakers, _runs, _circuits, _breaks, _letters_of(queues)):
        try:
            found = await look(stores, moment)
        except (StoreUnavailableError, *FAULTS) as error:
            logger.bind(reason=str(error)).warning("watch.blinded")
            continue
        for each in found:
            yield each


async def _breakers(stores: Stores, moment: datetime) -> list[Alarm]:
    rows = await stores.core.fetch(
        "SELECT entity, reason, tripped_at FROM breakers WHERE tripped_at > $1", moment - _RECENT
    )
    return [
        Alarm(
            cause=f"breaker:{row['entity']}",
            severity="critical",
            title=f"Repairs of {row['entity']} have stopped",
            summary=f"The circuit breaker has stopped repairs of {row['entity']}: {row['reason']}.",
            advice=f"Look at what was changed (`astrocore changes`), then let repairs go on: `astrocore jobs allow {row['entity']}`.",
            at=row["tripped_at"],
        )
        for row in rows
    ]


async def _runs(stores: Stores, moment: datetime) -> list[Alarm]:
    rows = await stores.core.fetch(
        "SELECT id, entity, mode, reason, finished_at FROM runs WHERE status = 'failed' AND finished_at > $1 "
        "ORDER BY finished_at",
        moment - _RECENT,
    )
    return [
        Alarm(
            cause=f"run:{row['entity']}-{row['mode']}",
            severity="error",
            title=f"A {row['mode']} run of {row['entity']} has failed",
            summary=f"Run {row['id']} has failed: {row['reason'] or 'the log says why'}.",
            advice=f"`astrocore runs show {row['id']}` tells how far it came. The next one starts on its schedule.",
            at=row["finished_at"],
        )
        for row in rows
    ]


async def _circuits(stores: Stores, moment: datetime) -> list[Alarm]:
    rows = await stores.core.fetch(
        "SELECT name, because, changed_at FROM transport_circuits WHERE state <> 'closed' AND changed_at > $1",
        moment - _RECENT,
    )
    return [
        Alarm(
            cause=f"circuit:{row['name']}",
            severity="critical",
            title=f"Mail is not getting out: the circuit of {row['name']} is open",
            summary=f"The service has failed time and again: {row['because']}. Mail waits, and one mail at a time is tried.",
            advice="Look whether the service answers, and whether it refuses us. The circuit closes by itself once a mail gets through.",
            at=row["changed_at"],
            worth=_HOUR,  # by itself it comes an hour later, if it lasts
        )
        for row in rows
    ]


_STOPS = {
    "sealer": (Fact.SEALING_STOPPED, "audit:sealing", "The audit's chain of seals is broken"),
    "archiver": (Fact.ARCHIVING_STOPPED, "audit:archiving", "The audit's chain of archives is broken"),
}


async def _breaks(stores: Stores, moment: datetime) -> list[Alarm]:
    """Breaks that sealing or archiving has met: each is recorded once a day."""
    audit, alarms = AuditStore.of(stores), []
    for actor, (fact, cause, title) in _STOPS.items():
        wanted = EntryFilter(name=fact, actor=actor, since=moment - _RECENT)
        entries = [each.entry for each in (await list_entries(audit, wanted, limit=10)).items]
        alarms += [_broken(each, cause, title) for each in entries if isinstance(each, FactEntry)]
    return alarms


def _broken(entry: FactEntry, cause: str, title: str) -> Alarm:
    return Alarm(
        cause=cause,
        severity="critical",
        title=title,
        summary=f"At {entry.target}: {entry.reason}.",
        advice="`astrocore audit verify` tells what was changed or is missing. Whoever can write to that store may have done it.",
        at=entry.at,
    )


def _letters_of(queues: Sequence[str]) -> Look:
    async def look(stores: Stores, moment: datetime) -> list[Alarm]:
        found = [await _newest(stores, each) for each in queues]
        return [
            _dead(queue, *each)
            for queue, each in zip(queues, found, strict=True)
            if each and each[0] > moment - _RECENT
        ]

    return look


async def _newest(stores: Stores, queue: str) -> tuple[datetime, int] | None:
    """When the last message of a queue died, and how many dead ones there are. Dramatiq scores them by milliseconds."""
    key = f"{stores.settings.namespace}:{queue}.XQ"
    last = await stores.broker.zrange(key, 0, 0, desc=True, withscores=True)
    if not last:
        return None
    return datetime.fromtimestamp(float(last[0][1]) / 1000, UTC), await stores.broker.zcard(key)


def _dead(queue: str, at: datetime, count: int) -> Alarm:
    return Alarm(
        cause=f"dead-letters:{queue}",
        severity="error",
        title=f"Messages of the queue {queue} have died",
        summary=f"{count:,} messages of the queue {queue} came to nothing, however often they were tried.",
        advice="`astrocore logs --event message.died` tells why. What they were about lies in the core DB, and is found again.",
        at=at,
    )


async def _tell(stores: Stores, alarm: Alarm, moment: datetime) -> int:
    """Mail it and log it. Where nobody can be mailed, it is logged by the look that comes first after it began."""
    try:
        operators, made = await _mail(stores, alarm, moment)
    except (StoreUnavailableError, SettingsError) as error:
        logger.bind(reason=str(error)).warning("mails.stopped")
        operators = made = 0
    if made or (not operators and moment - alarm.at <= _LOOK):
        bound = logger.bind(cause=alarm.cause, severity=alarm.severity, reason=alarm.summary, mails=made)
        bound.error("alert.raised")
    return made


async def _mail(stores: Stores, alarm: Alarm, moment: datetime) -> tuple[int, int]:
    """How many operators there are, and how many of them were mailed now."""
    async with stores.core.acquire() as connection, connection.transaction():
        operators = await _operators(connection)
        new = await _untold(connection, alarm, operators)
        if new:
            order = await _order(stores, connection, alarm, new, moment)
            await trigger(connection, order, by=_BY, moment=moment, safe=safe_of(stores.settings))
    return len(operators), len(new)


async def _operators(connection: asyncpg.Connection) -> dict[UUID, str]:
    rows = await connection.fetch(
        "SELECT id, email FROM users WHERE roles @> $1 AND status = 'active' AND email IS NOT NULL ORDER BY id",
        [Role.OPERATOR],
    )
    return {row["id"]: row["email"] for row in rows}


async def _untold(connection: asyncpg.Connection, alarm: Alarm, operators: dict[UUID, str]) -> list[Mailing]:
    """Mails to those operators who were not told of this cause in its hour. Of two workers that look, one waits here."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"alert {alarm.cause}")
    rows = await connection.fetch(
        "SELECT occasion FROM notifications WHERE schedule = $1 AND tick = $2", SCHEDULE, alarm.hour
    )
    told = {row["occasion"] for row in rows}
    occasions = {user: f"{alarm.cause}:{user}" for user in operators}
    return [
        Mailing(
            Resolved("user", user, address(operators[user])),
            alarm.data(),
            FALLBACK,
            Occasion(SCHEDULE, alarm.hour, occasion),
        )
        for user, occasion in occasions.items()
        if occasion not in told
    ]


async def _order(
    stores: Stores, connection: asyncpg.Connection, alarm: Alarm, mailings: list[Mailing], moment: datetime
) -> Order:
    return Order(
        template=await load_version(connection, TEMPLATE),
        mailings=mailings,
        transport=transport_of(stores.settings),
        not_after=moment + alarm.worth,
        priority=_FIRST,
    )
