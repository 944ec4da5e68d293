"""The scheduler's loop: claim the lead, record what is due, send it; again at the next minute or renewal.

All times are the core DB's clock, so that schedulers on several machines agree. Sleeping is monotonic. The loop has
one connection of its own and hangs it up where an answer takes too long: a query that is merely cancelled still waits
for a server that is frozen or out of reach.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
from loguru import logger

from app.scheduling import leases, schedules, ticks
from app.scheduling.outlet import Outlet, OutletAwayError
from app.stores.health import POSTGRES_FAULTS

STOP_SECONDS = 0.5  # a stopping process waits no longer for the core DB; the lease then runs out by itself

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@dataclass(frozen=True)
class Pace:
    """The loop's times, in seconds. A silent leader is replaced after at most `lease` + `renew`.

    `speed` makes the schedules' clock run faster than the core DB's, from `epoch` on: a cron minute then takes
    60 / speed seconds. Leases always run by the real clock.
    """

    lease: float = 6.0
    renew: float = 2.0
    send: float = 1.0  # spent on sending before the lease is renewed again
    step: float = 5.0  # longest claim or pass before the connection is hung up
    speed: float = 1.0
    epoch: datetime = datetime(2025, 1, 1, tzinfo=UTC)

    def at(self, instant: datetime) -> datetime:
        """The schedules' clock at an instant of the real one."""
        return self.epoch + (instant - self.epoch) * self.speed

    def pause(self, now: datetime) -> float:
        """Seconds to sleep after a pass at that instant: to the next minute or the next renewal."""
        clock = self.at(now)
        next_minute = clock.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return min(self.renew, (next_minute - clock).total_seconds() / self.speed)


async def run(
    connect: Connect,
    outlet: Outlet,
    declarations: Sequence[schedules.Declaration],
    *,
    stop: asyncio.Event,
    holder: str | None = None,
    pace: Pace | None = None,
) -> None:
    """Schedule until `stop` is set; then give up the lead, so that another takes over at its next claim.

    Stores that are away are waited for. A fault of our own ends the loop and is raised.
    """
    scheduler = _Scheduler(connect, outlet, declarations, holder or leases.new_holder(), pace or Pace())
    lead = asyncio.create_task(scheduler.run())
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({lead, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        lead.cancel()
        await asyncio.shield(scheduler.end(lead))


@dataclass
class _Scheduler:
    connect: Connect
    outlet: Outlet
    declarations: Sequence[schedules.Declaration]
    holder: str
    pace: Pace
    connection: asyncpg.Connection | None = None
    ending: bool = False
    leads: bool = False
    broker_away: bool = False
    database_away: bool = False

    async def end(self, lead: asyncio.Task[None]) -> None:
        """Wait for the cancelled loop and give up the lead; raises what ended the loop by itself."""
        self.ending = True
        watchdog = asyncio.get_running_loop().call_later(STOP_SECONDS, self.hang_up)
        try:
            with suppress(asyncio.CancelledError):
                await lead
        finally:
            await self._release()
            watchdog.cancel()
            self.hang_up()

    async def _release(self) -> None:
        try:
            if self.connection is not None:
                await leases.release(self.connection, leases.SCHEDULER, self.holder)
        except POSTGRES_FAULTS:
            logger.bind(holder=self.holder).warning("lease.abandoned")

    def hang_up(self) -> None:
        """Drop the connection; whoever waits for an answer gets an error at once."""
        if self.connection is not None:
            self.connection.terminate()
        self.connection = None

    async def run(self) -> None:
        pause = 0.0
        # A connection that breaks while a cancelled transaction rolls back hides the cancellation: look at `ending`.
        while not self.ending:
            await asyncio.sleep(pause)
            pause = await self._step()

    async def _step(self) -> float:
        """Claim and, where the lead is held, pass; returns the seconds to sleep."""
        began = time.monotonic()
        watchdog = asyncio.get_running_loop().call_later(self.pace.step, self.hang_up)
        try:
            pause = await self._claim()
        except POSTGRES_FAULTS as fault:
            self.hang_up()
            self._note_database(away=True, error=type(fault).__name__)
            return min(1.0, self.pace.renew)
        finally:
            watchdog.cancel()
        self._note_database(away=False)
        return max(0.0, pause - (time.monotonic() - began))

    async def _claim(self) -> float:
        if self.connection is None or self.connection.is_closed():
            self.connection = await self.connect()
        connection = self.connection
        claimed = await leases.claim(connection, leases.SCHEDULER, self.holder, seconds=self.pace.lease)
        return await self._lead(connection, claimed.now) if claimed.held else self._follow()

    def _follow(self) -> float:
        if self.leads:
            logger.bind(holder=self.holder).warning("lease.lost")
        self.leads = False
        return self.pace.renew

    async def _lead(self, connection: asyncpg.Connection, now: datetime) -> float:
        clock = self.pace.at(now)
        if not self.leads:
            logger.bind(holder=self.holder).info("lease.taken")
            await schedules.load_declarations(connection, self.declarations, now=clock)
            self.leads = True
        recorded = await ticks.record_due(connection, clock)
        settled = await self._send(connection, clock)
        return 0.0 if recorded + settled else self.pace.pause(now)

    async def _send(self, connection: asyncpg.Connection, clock: datetime) -> int:
        deadline = time.monotonic() + self.pace.send
        try:
            settled = await ticks.settle_pending(
                connection, self.outlet, clock, more=lambda: time.monotonic() < deadline, at=self.pace.at
            )
        except OutletAwayError:
            self._note_broker(away=True)
            return 0
        if settled:
            self._note_broker(away=False)
        return settled

    def _note_broker(self, *, away: bool) -> None:
        if away != self.broker_away:
            bound = logger.bind(holder=self.holder)
            if away:
                bound.warning("broker.lost")
            else:
                bound.info("broker.found")
        self.broker_away = away

    def _note_database(self, *, away: bool, error: str = "") -> None:
        if away != self.database_away:
            bound = logger.bind(holder=self.holder)
            if away:
                bound.bind(error=error).warning("database.lost")
            else:
                bound.info("database.found")
        self.database_away = away
