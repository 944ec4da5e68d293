"""Circuits: a service that fails time and again is left alone for a while, and then tried by one mail at a time.

The state is a row per transport in the core DB, so that it holds for all workers and outlives them. Times are those of that
database. What one mail is refused for says nothing about the others and does not count.
"""

import math
from typing import TypeGuard
from uuid import UUID, uuid4

import asyncpg
from loguru import logger
from msgspec import Struct

from app.audit.entries import Fact
from app.audit.outbox import record
from app.notifications.delivering.transports.transport import Handed, Retry, Unknown

FAILURES = 5
"""In a row; then the circuit opens."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 30, 15 * 60
LONGEST_ASKED_SECONDS = 3600
"""A service that asks to be left alone is believed for so long: it may have meant one mail."""
TRIAL_SECONDS = 300
"""After so long a trial that was not heard of again is given up; a hand-over takes less."""
LOOK_AGAIN_SECONDS = 5.0
"""How soon to ask again while somebody else is trying."""

_BY = "core"


class Admission(Struct, frozen=True):
    """Whether a mail may be handed over: not within `wait` seconds, and where `trial` is set, as the one that tries.

    `failures` are those that the service has had last.
    """

    wait: float = 0.0
    trial: UUID | None = None
    failures: int = 0

    @property
    def well(self) -> bool:
        """Whether nothing speaks against the service."""
        return not (self.wait or self.trial or self.failures)


async def admit(core: asyncpg.Pool, transport: str) -> Admission:
    """Ask whether a mail may be handed over now. Whoever is let in, `settle`s."""
    row = await core.fetchrow(
        """
        SELECT state, failures, extract(epoch FROM trial_at - clock_timestamp())::float8 AS seconds
        FROM transport_circuits WHERE name = $1
        """,
        transport,
    )
    if row is None or row["state"] == "closed":
        return Admission(failures=row["failures"] if row else 0)
    if row["seconds"] <= 0:
        return await _try(core, transport)
    in_trial = row["state"] == "trial"
    return Admission(wait=min(row["seconds"], LOOK_AGAIN_SECONDS) if in_trial else row["seconds"])


async def _try(core: asyncpg.Pool, transport: str) -> Admission:
    trial = uuid4()
    taken = await core.fetchval(
        """
        UPDATE transport_circuits
        SET state = 'trial', trial_id = $2, trial_at = clock_timestamp() + make_interval(secs => $3)
        WHERE name = $1 AND state <> 'closed' AND trial_at <= clock_timestamp() RETURNING true
        """,
        transport,
        trial,
        TRIAL_SECONDS,
    )
    return Admission(trial=trial) if taken else Admission(wait=LOOK_AGAIN_SECONDS)


async def settle(
    core: asyncpg.Pool, transport: str, admission: Admission, handed: Handed | None, *, failing: bool = True
) -> None:
    """Tell how the hand-over ended that `admission` let in; None: there was none after all.

    `failing`: the service may have failed lately. Where it has not, a mail that goes well has nothing to write down.
    """
    if handed is None:
        await _untried(core, transport, admission)
    elif is_failure(handed):
        await _failed(core, transport, admission, handed)
    elif admission.trial:
        await _close(core, transport, admission.trial)
    elif failing or admission.failures:
        await core.execute(
            """
            UPDATE transport_circuits SET failures = 0, because = NULL
            WHERE name = $1 AND state = 'closed' AND failures > 0
            """,
            transport,
        )


def is_failure(handed: Handed | None) -> TypeGuard[Retry | Unknown]:
    """Whether that speaks against the service, whatever it says of the mail."""
    return isinstance(handed, Unknown) or (isinstance(handed, Retry) and handed.of_service)


def pause_after(openings: int) -> int:
    """Seconds that a circuit stays open which opens for so many times in a row."""
    doubled = min(openings - 1, FIRST_PAUSE_SECONDS)  # of a long failure no huge number is made
    return min(FIRST_PAUSE_SECONDS << doubled, LONGEST_PAUSE_SECONDS)


def _asked(handed: Retry | Unknown) -> int:
    """The seconds for which the service asks to be left alone."""
    after = handed.after if isinstance(handed, Retry) else None
    return math.ceil(min(after or 0.0, LONGEST_ASKED_SECONDS))


async def _failed(core: asyncpg.Pool, transport: str, admission: Admission, handed: Retry | Unknown) -> None:
    because, asked = f"{handed.code} {handed.detail}", _asked(handed)
    async with core.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO transport_circuits (name) VALUES ($1) ON CONFLICT (name) DO NOTHING", transport
        )
        row = await connection.fetchrow(
            "SELECT * FROM transport_circuits WHERE name = $1 FOR UPDATE", transport
        )
        # Of what was under way when it opened, nothing new is learned.
        if row["state"] != "closed" and (admission.trial is None or row["trial_id"] != admission.trial):
            return
        failures = row["failures"] + 1
        await connection.execute(
            "UPDATE transport_circuits SET failures = $2, because = $3 WHERE name = $1",
            transport,
            failures,
            because,
        )
        # Nobody has to ask again for what the service has said of itself.
        if opens := failures >= FAILURES or asked >= FIRST_PAUSE_SECONDS or admission.trial is not None:
            openings = row["openings"] + 1
            detail = {"failures": failures, "seconds": max(pause_after(openings), asked)}
            await _open(connection, transport, openings, detail=detail, because=because)
    if opens:
        logger.bind(transport=transport, **detail).warning("circuit.opened")


async def _open(
    connection: asyncpg.Connection,
    transport: str,
    openings: int,
    *,
    detail: dict[str, int],
    because: str,
) -> None:
    await connection.execute(
        """
        UPDATE transport_circuits SET state = 'open', openings = $2, trial_id = NULL, changed_at = clock_timestamp(),
            trial_at = clock_timestamp() + make_interval(secs => $3)
        WHERE name = $1
        """,
        transport,
        openings,
        detail["seconds"],
    )
    await record(connection, Fact.CIRCUIT_OPENED, by=_BY, target=transport, reason=because, detail=detail)


async def _close(core: asyncpg.Pool, transport: str, trial: UUID) -> None:
    async with core.acquire() as connection, connection.transaction():
        closed = await connection.fetchval(
            """
            UPDATE transport_circuits SET state = 'closed', failures = 0, openings = 0, because = NULL, trial_at = NULL,
                trial_id = NULL, changed_at = clock_timestamp()
            WHERE name = $1 AND trial_id = $2 RETURNING true
            """,
            transport,
            trial,
        )
        if closed:
            await record(connection, Fact.CIRCUIT_CLOSED, by=_BY, target=transport)
    if closed:
        logger.bind(transport=transport).info("circuit.closed")


async def _untried(core: asyncpg.Pool, transport: str, admission: Admission) -> None:
    """A trial that did not come to it leaves its place to the next."""
    if admission.trial:
        await core.execute(
            """
            UPDATE transport_circuits SET state = 'open', trial_id = NULL, trial_at = clock_timestamp()
            WHERE name = $1 AND trial_id = $2
            """,
            transport,
            admission.trial,
        )
