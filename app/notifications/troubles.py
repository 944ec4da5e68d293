"""Where trouble shows that needs an operator: each look is one at the state of something, and tells by itself what is wrong."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from app.audit.sealing.turn import unsealed_since
from app.audit.verdicts import ARCHIVER, SEALER, VERIFIER, Verdict, read_verdicts
from app.stores.connections import Stores

RECENT = timedelta(days=1)
"""What happened earlier than that is no news."""
HOUR = timedelta(hours=1)
UNSEALED = timedelta(minutes=15)
"""A sealer that works comes every minute."""
UNVERIFIED = timedelta(days=3)
"""The verifier comes every night."""


class Alarm(Struct, frozen=True, kw_only=True):
    """Something that needs an operator. `cause` is the same for the same trouble; `at`: since when.

    `lasts`: it is so still, and not only was. `worth`: how long it is worth to be told of.
    """

    cause: str
    severity: str
    title: str
    summary: str
    advice: str
    at: datetime
    lasts: bool = True
    worth: timedelta = RECENT

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


def looks(queues: Sequence[str]) -> list[Look]:
    """Every look there is; of dead letters at those of these queues. Each raises what the stores' drivers raise."""
    return [breakers, held_runs, failed_runs, circuits, audit, _letters_of(queues)]


async def breakers(stores: Stores, _moment: datetime) -> list[Alarm]:
    """Entities whose repairs the circuit breaker has stopped."""
    rows = await stores.core.fetch(
        "SELECT entity, reason, tripped_at FROM breakers WHERE tripped_at IS NOT NULL"
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


async def held_runs(stores: Stores, _moment: datetime) -> list[Alarm]:
    """Runs that the circuit breaker holds: they found more than a run may repair by itself."""
    rows = await stores.core.fetch(
        "SELECT id, entity, mode, reason, COALESCE(compared_at, created_at) AS at FROM runs WHERE status = 'held'"
    )
    return [
        Alarm(
            cause=f"run-held:{row['entity']}-{row['mode']}",
            severity="critical",
            title=f"A {row['mode']} run of {row['entity']} waits to be approved",
            summary=f"The circuit breaker holds run {row['id']}: {row['reason']}.",
            advice=f"Look at what it would do (`astrocore runs show {row['id']}`), then approve it, or cancel it.",
            at=row["at"],
        )
        for row in rows
    ]


async def failed_runs(stores: Stores, moment: datetime) -> list[Alarm]:
    """The last failure of each kind of run, and how many there were in a day."""
    rows = await stores.core.fetch(
        """
        SELECT DISTINCT ON (entity, mode) id, entity, mode, reason, finished_at,
            count(*) OVER (PARTITION BY entity, mode) AS failures
        FROM runs WHERE status = 'failed' AND finished_at > $1 ORDER BY entity, mode, finished_at DESC
        """,
        moment - RECENT,
    )
    return [
        Alarm(
            cause=f"run:{row['entity']}-{row['mode']}",
            severity="error",
            title=f"A {row['mode']} run of {row['entity']} has failed",
            summary=f"Run {row['id']} has failed: {row['reason'] or 'the log says why'}. Failed in a day: {row['failures']:,}.",
            advice=f"`astrocore runs show {row['id']}` tells how far it came. The next one starts on its schedule.",
            at=row["finished_at"],
            lasts=False,
        )
        for row in rows
    ]


async def circuits(stores: Stores, _moment: datetime) -> list[Alarm]:
    """Services that mail does not get out by. One that fails its trials is found to fail anew each time."""
    rows = await stores.core.fetch(
        "SELECT name, because, changed_at FROM transport_circuits WHERE state <> 'closed'"
    )
    return [
        Alarm(
            cause=f"circuit:{row['name']}",
            severity="critical",
            title=f"Mail is not getting out: the circuit of {row['name']} is open",
            summary=f"The service has failed time and again: {row['because']}. Mail waits, and one mail at a time is tried.",
            advice="Look whether the service answers, and whether it refuses us: `astrocore doctor`. The circuit closes by itself "
            "once a mail gets through.",
            at=row["changed_at"],
            worth=HOUR,
        )
        for row in rows
    ]


_FAULTS = {
    SEALER: ("audit:sealing", "The audit's chain of seals is broken"),
    ARCHIVER: ("audit:archiving", "The audit's chain of archives is broken"),
    VERIFIER: ("audit:verification", "The audit is not what was sealed"),
}


async def audit(stores: Stores, moment: datetime) -> list[Alarm]:
    """What was said of the audit's record, and that nothing was said for long."""
    verdicts = await read_verdicts(stores.core)
    alarms = [_faulty(each) for each in verdicts.values() if each.place]
    verified, sealed = verdicts.get(VERIFIER), verdicts.get(SEALER)
    # Where it was never verified at all: since there are seals to verify it by.
    known = verified.said_at if verified else sealed and sealed.since
    if known and known < moment - UNVERIFIED:
        alarms.append(_unverified(known))
    if not (sealed and sealed.place):
        since = await unsealed_since(stores)
        alarms += [_unsealed(since)] if since and since < moment - UNSEALED else []
    return alarms


def _faulty(verdict: Verdict) -> Alarm:
    cause, title = _FAULTS[verdict.source]
    return Alarm(
        cause=cause,
        severity="critical",
        title=title,
        summary=f"At {verdict.place}: {verdict.reason}.",
        advice="`astrocore audit verify` tells what was changed or is missing. Whoever can write to that store may have done it.",
        at=verdict.since,
    )


def _unverified(since: datetime) -> Alarm:
    return Alarm(
        cause="audit:unverified",
        severity="error",
        title="The audit was not verified for days",
        summary="The verifier comes every night, and has not come to an end since then.",
        advice="`astrocore logs --text task:verify_entries` tells why; `astrocore audit verify` does it by hand.",
        at=since,
    )


def _unsealed(since: datetime) -> Alarm:
    return Alarm(
        cause="audit:sealing",
        severity="critical",
        title="The audit is not sealed any more",
        summary=f"What happened in the last {UNSEALED.seconds // 60} minutes and longer ago has no seal yet, and may be changed unseen.",
        advice="Look whether a worker runs, whether it has ASTROCORE_AUDIT_SIGNING_KEY, and what `astrocore logs --level warning` tells.",
        at=since,
    )


def _letters_of(queues: Sequence[str]) -> Look:
    async def letters(stores: Stores, moment: datetime) -> list[Alarm]:
        found = [await _newest(stores, each) for each in queues]
        return [
            _dead(queue, *each)
            for queue, each in zip(queues, found, strict=True)
            if each and each[0] > moment - RECENT
        ]

    return letters


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
        lasts=False,
    )
