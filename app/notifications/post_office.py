"""Delivery in a process: transports that stay open, and one round at a time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from app.accounts.encryption import Safe
from app.clock import Clock, now
from app.notifications.delivery import PostRoom
from app.notifications.letters import Letters
from app.notifications.links import unsubscribing_of
from app.notifications.pacing import Pace
from app.notifications.transports.opening import open_transports
from app.stores.connections import Stores
from config.settings import PREFIX, Settings, SettingsError

_STOP_SECONDS = 2.5  # less than a worker has to end


class PostOffice:
    """Runs rounds of `work`, which is `PostRoom.run_due`, one after the other. Whoever asks while one runs is served by the next."""

    def __init__(self, work: Callable[[], Awaitable[float | None]]) -> None:
        self._work = work
        self._round: asyncio.Future[float | None] | None = None
        self._asked = False
        self._stopped = False

    async def run_due(self) -> float | None:
        """See `PostRoom.run_due`; None also where somebody else is at it, who answers for it then."""
        self._asked = True
        if self._round is not None:
            return None
        seconds = None
        try:
            while self._asked and not self._stopped:
                self._asked = False
                self._round = asyncio.ensure_future(self._work())
                seconds = await self._round
        except asyncio.CancelledError:
            if not self._stopped:
                raise
        finally:
            self._round = None
        return seconds

    async def stop(self) -> None:
        """Begin with no other round, and wind up the one that runs.

        A provider that does not answer is not waited for: what it has then is found as if this process had died.
        """
        self._stopped = True
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait([self._round], timeout=_STOP_SECONDS)


@asynccontextmanager
async def open_post_office(stores: Stores) -> AsyncIterator[PostOffice]:
    """The post office that the settings describe. Raises SettingsError, naming what is missing, or cannot be read."""
    letters = letters_of(stores)
    pace = Pace(stores.broker, stores.settings.namespace)
    async with open_transports(stores.settings) as transports:

        async def work() -> float | None:
            room = PostRoom(
                stores=stores,
                transports=transports,
                letters=letters,
                pace=pace,
                per_second=stores.settings.notification_per_second,
                # While one mail is on the wire others are claimed, rendered, and written down: no connection waits for that.
                at_once=6 * stores.settings.notification_connections,
                clock=await database_clock(stores.core),
            )
            return await room.run_due()

        office = PostOffice(work)
        try:
            yield office
        finally:
            await office.stop()


def letters_of(stores: Stores) -> Letters:
    """Who writes mails with these settings; raises SettingsError."""
    chosen = stores.settings
    if chosen.notification_from is None:
        raise SettingsError(f"{PREFIX}NOTIFICATION_FROM is not set; it says whom mail is from")
    return Letters(stores, safe_of(chosen), unsubscribing_of(chosen), sender=chosen.notification_from)


def safe_of(settings: Settings) -> Safe:
    """Where what mails about accounts are filled with is locked; raises SettingsError where keys are missing."""
    return Safe(settings.keys("encryption_keys"), settings.current_key("encryption_keys"))


async def database_clock(core: asyncpg.Pool) -> Clock:
    """The core DB's clock, by which all workers tell what is due and whose claim has run out; right for a round."""
    before = now()
    told = await core.fetchval("SELECT clock_timestamp()")
    ahead = told - (before + (now() - before) / 2)
    return lambda: now() + ahead
