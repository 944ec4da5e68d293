"""Delivery in a process: transports that stay open, and for each one round at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import asyncpg

from app.accounts.encryption import safe_of
from app.clock import Clock, now
from app.notifications.addresses.links import unsubscribing_of
from app.notifications.delivering.letters import Letters
from app.notifications.delivering.pacing import Pace
from app.notifications.delivering.post_room import PostRoom
from app.notifications.delivering.transports.opening import open_transports
from app.notifications.delivering.transports.transport import Transport
from app.stores.connections import Stores
from config.settings import PREFIX, SettingsError

# Whoever wakes a post office waits for so long, and comes again; much shorter than a worker's patience with a message.
_PATIENCE_SECONDS = 240.0
# A process that ends sends others after the mail, which may be this one's successor.
_ELSEWHERE_SECONDS = 1.0
# To write down how the last mails ended.
_SETTLE_SECONDS = 5.0
_TIME_SECONDS = 60.0


class PostOffice:
    """Runs rounds of `work`, which is `PostRoom.run_due`, one after the other. Whoever asks while one runs is served by the next.

    A round lasts while there is mail, which may be hours; nobody waits for so long, and it depends on nobody who does.
    """

    def __init__(
        self,
        work: Callable[[], Awaitable[float | None]],
        *,
        stop_seconds: float,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        self._work = work
        self._stop_seconds = stop_seconds
        self._patience = patience
        self._round: asyncio.Future[float | None] | None = None
        self._asked = False
        self._awaited = False
        self._stopped = False

    async def run_due(self) -> float | None:
        """See `PostRoom.run_due`; None also where somebody else waits for it, who answers for it then.

        Zero after some minutes, while a round still runs: somebody has to come and wait for it.
        """
        self._asked = True
        if self._awaited:
            return None
        self._awaited = True
        try:
            return await self._answer(time.monotonic() + self._patience)
        finally:
            self._awaited = False

    async def _answer(self, until: float) -> float | None:
        seconds: float | None = None
        while self._round is not None or self._asked:
            if self._round is None:
                if self._stopped:
                    break
                self._asked = False
                self._round = asyncio.ensure_future(self._work())
            await asyncio.wait([self._round], timeout=max(0.0, until - time.monotonic()))
            if not self._round.done():
                return 0.0
            ended, self._round = self._round, None
            seconds = None if ended.cancelled() else ended.result()
        return _ELSEWHERE_SECONDS if self._stopped else seconds

    async def stop(self) -> None:
        """Begin with no other round, and wind up the one that runs.

        What is on the wire is waited for, as long as the provider may take for it. What it has then is found as if this process
        had died.
        """
        self._stopped = True
        if (last := self._round) is not None:
            last.cancel()
            await asyncio.wait([last], timeout=self._stop_seconds)


@asynccontextmanager
async def open_post_offices(stores: Stores) -> AsyncIterator[Sequence[PostOffice]]:
    """The post offices that the settings describe, one for each transport: none waits for another.

    Raises SettingsError, naming what is missing, or cannot be read.
    """
    letters = letters_of(stores)
    # See `Transport.hand_over`: what is on the wire has at most two of the three.
    stop_seconds = 2 * stores.settings.notification_timeout_seconds + _SETTLE_SECONDS
    async with open_transports(stores.settings) as transports:
        rooms = [_room(stores, each, letters) for each in transports.values()]
        offices = [PostOffice(each.run_due, stop_seconds=stop_seconds) for each in rooms]
        try:
            yield offices
        finally:
            await asyncio.gather(*(each.stop() for each in offices))


def _room(stores: Stores, transport: Transport, letters: Letters) -> PostRoom:
    clock = CoreClock(stores.core)
    return PostRoom(
        stores=stores,
        transport=transport,
        letters=letters,
        pace=Pace(stores.broker, stores.settings.namespace),
        per_second=stores.settings.notification_per_second,
        # While one mail is on the wire others are claimed, rendered, and written down: no connection waits for that.
        at_once=6 * stores.settings.notification_connections,
        connections=stores.settings.notification_connections,
        clock=clock,
        keep_time=clock.keep_right,
    )


def letters_of(stores: Stores) -> Letters:
    """Who writes mails with these settings; raises SettingsError."""
    chosen = stores.settings
    if chosen.notification_from is None:
        raise SettingsError(f"{PREFIX}NOTIFICATION_FROM is not set; it says whom mail is from")
    return Letters(stores, safe_of(chosen), unsubscribing_of(chosen), sender=chosen.notification_from)


class CoreClock:
    """The core DB's clock, by which all workers tell what is due and whose claim has run out; right once `keep_right` was awaited."""

    def __init__(self, core: asyncpg.Pool) -> None:
        self._core = core
        self._ahead = timedelta(0)
        self._right_until = 0.0

    def __call__(self) -> datetime:
        return now() + self._ahead

    async def keep_right(self) -> None:
        """Ask the core DB for the time, once a minute."""
        if time.monotonic() < self._right_until:
            return
        before = now()
        told = await self._core.fetchval("SELECT clock_timestamp()")
        self._ahead = told - (before + (now() - before) / 2)
        self._right_until = time.monotonic() + _TIME_SECONDS


async def database_clock(core: asyncpg.Pool) -> Clock:
    """The core DB's clock; right for a minute."""
    clock = CoreClock(core)
    await clock.keep_right()
    return clock
