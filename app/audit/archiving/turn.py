"""One turn of the archiver: what has come of age, what operators ask for, and what there is no memory for."""

from contextlib import suppress
from datetime import UTC, datetime, time, timedelta

from loguru import logger
from redis.exceptions import RedisError

from app.audit import verdicts
from app.audit.archiving.archiver import Archiver
from app.audit.archiving.due import find_due, used_megabytes
from app.audit.archiving.orders import finish_orders, open_orders
from app.audit.archiving.trimming import Trimmer
from app.audit.archiving.views import Order
from app.audit.breaks import record_break
from app.audit.entries import Fact
from app.audit.sealing.keys import Keyring
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.audit.store import AuditStore
from app.clock import now
from app.errors import StoreUnavailableError
from app.scheduling.leases import claim, new_holder, release
from app.stores.connections import Stores, open_redis
from app.stores.health import FAULTS
from config.settings import PREFIX

FILLING = 0.8
"""The share of the memory budget from which on it is warned of."""

_FREED = 0.7  # down to which archives are made once the budget is passed
_OFFICE = "archiver"
# Saves double work, no more: of two archivers at once the core DB lets one make each archive.
_LEASE_SECONDS = 300.0


async def take_turn(stores: Stores) -> int:
    """Archive what is due unless another worker is at it; answers how many archives were made.

    Where something is not what was sealed, nothing is archived: it is logged each time and recorded as a fact once a day.
    Raises StoreUnavailableError and what the stores' drivers raise. However it ends, orders are told.
    """
    await _warn_of_memory(stores)
    orders = await open_orders(stores.core)
    try:
        return await _take_turn(stores, orders)
    except ChainBrokenError as error:
        logger.bind(place=error.place, reason=str(error)).error("archiving.stopped")
        if not await record_break(stores, error, Fact.ARCHIVING_STOPPED, by=verdicts.ARCHIVER):
            logger.bind(place=error.place).error("archiving.unrecorded")
        await finish_orders(stores.core, orders, refused=str(error))
        return 0
    except (StoreUnavailableError, *FAULTS) as error:
        with suppress(*FAULTS):
            await finish_orders(stores.core, orders, refused=str(error))
        raise


async def _take_turn(stores: Stores, orders: list[Order]) -> int:
    if (lacking := _lacking(stores)) is not None:
        logger.bind(reason=lacking).warning("archiving.skipped")
        await finish_orders(stores.core, orders, refused=lacking)
        return 0
    holder = new_holder()
    if not (await claim(stores.core, _OFFICE, holder, seconds=_LEASE_SECONDS)).held:
        return 0
    try:
        async with open_redis(stores.settings.url("audit_retention_url")) as redis:
            archiver = _archiver(stores, Trimmer.of(redis, stores.settings.namespace))
            made = await _Turn(stores, archiver, holder).take(orders)
        await verdicts.say(stores.core, verdicts.ARCHIVER)
    finally:
        await release(stores.core, _OFFICE, holder)
    return made


async def _warn_of_memory(stores: Stores) -> None:
    """Before all else, whatever becomes of the turn; where the store is away, the turn tells."""
    budget = stores.settings.audit_megabytes
    with suppress(RedisError):
        if (used := await used_megabytes(stores.audit)) >= FILLING * budget:
            logger.bind(megabytes=round(used), budget_megabytes=budget).warning("audit.filled")


def _lacking(stores: Stores) -> str | None:
    names = [
        PREFIX + name.upper()
        for name in ("audit_retention_url", "audit_signing_key")
        if getattr(stores.settings, name) is None
    ]
    return f"{' and '.join(names)} must be set where the workers run" if names else None


def _archiver(stores: Stores, trimmer: Trimmer) -> Archiver:
    keys = Keyring.of(stores.settings)
    assert keys is not None
    stream = Stream.of(stores.audit, stores.settings.namespace)
    return Archiver(stores.core, stream, trimmer, stores.settings.archive_dir, keys)


class _Turn:
    """The work of one turn."""

    def __init__(self, stores: Stores, archiver: Archiver, holder: str) -> None:
        self._stores = stores
        self._archiver = archiver
        self._holder = holder
        # What may be needed by its id is needed in Redis.
        self._audit = AuditStore(stores.audit, stores.settings.namespace)
        self._made = 0
        self._entries = 0

    async def take(self, orders: list[Order]) -> int:
        await self._archiver.finish()
        cutoff = max(
            [
                _day_of(now() - timedelta(days=self._stores.settings.audit_days)),
                *(each.before for each in orders),
            ]
        )
        while await self._archive(cutoff):
            pass
        await finish_orders(self._stores.core, orders, archives=self._made, entries=self._entries)
        await self._make_room()
        return self._made

    async def _archive(self, before: datetime) -> bool:
        """Make one archive, if something is due."""
        await claim(self._stores.core, _OFFICE, self._holder, seconds=_LEASE_SECONDS)
        due = await find_due(self._stores.core, self._audit, before, now())
        entries = await self._archiver.archive(due, by="archiver") if due.entries > 0 else 0
        self._entries += entries
        self._made += bool(entries)
        return entries > 0

    async def _make_room(self) -> None:
        budget = self._stores.settings.audit_megabytes
        used = await used_megabytes(self._stores.audit)
        if used > budget:
            while used > _FREED * budget and await self._archive(now()):
                used = await used_megabytes(self._stores.audit)


def _day_of(instant: datetime) -> datetime:
    """The beginning of its day: what comes of age in a day is one archive, not one an hour."""
    return datetime.combine(instant.astimezone(UTC), time(), UTC)
