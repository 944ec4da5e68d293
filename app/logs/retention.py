"""What the log store does not keep any longer: what arrived too long ago, and what there is no memory for.

The oldest go first, in bounded steps, so that the store goes on answering; they are counted, and the count is kept.
"""

import math
from itertools import islice

from loguru import logger
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import StoreUnavailableError
from app.logs import layout
from app.stores.connections import Stores

_STEP = 5000
_INDEXES_AT_ONCE = 200
# Trimmed down to this share of the budget, so that not every look finds some more.
_SHARE = 0.95
_HOURS_A_DAY = 24


async def trim(stores: Stores) -> int:
    """Trim what is older than `log_days` and what lies beyond `log_megabytes`; answers how many entries that were.

    Raises StoreUnavailableError when the log store is away; what was begun is finished by the next call.
    """
    chosen = stores.settings
    store = _Trimming(stores.logs, layout.prefix_of(chosen.namespace))
    try:
        trimmed = await store.trim_to(await store.last_before(chosen.log_days))
        trimmed += await store.trim_to(await store.last_beyond(chosen.log_megabytes * 1_000_000))
        await store.tidy()
    except RedisError as error:
        raise StoreUnavailableError("the log store does not answer") from error
    if trimmed:
        logger.bind(entries=trimmed).info("logs.trimmed")
    return trimmed


class _Trimming:
    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix
        self._trim = redis.register_script(layout.TRIM)
        self._trim_indexes = redis.register_script(layout.TRIM_INDEXES)
        self._trim_times = redis.register_script(layout.TRIM_TIMES)
        self._memory = redis.register_script(layout.MEMORY)

    async def last_before(self, days: int) -> int:
        """The last number that arrived more than so many days ago, to the hour; 0 for none."""
        (seconds, _microseconds) = await self._redis.time()
        bound = int(seconds) // 3600 - days * _HOURS_A_DAY
        hours = await self._redis.hgetall(f"{self._prefix}:hours")
        return max((int(last) for hour, last in hours.items() if int(hour) < bound), default=0)

    async def last_beyond(self, budget: int) -> int:
        """The last number to trim so that the memory is below the budget; 0 for none."""
        memory = int(await self._memory(keys=[self._prefix]))
        kept = await self._redis.xlen(f"{self._prefix}:entries")
        if memory <= budget or not kept:
            return 0
        return await self._first() - 1 + math.ceil(kept * (1 - _SHARE * budget / memory))

    async def trim_to(self, last: int) -> int:
        trimmed = 0
        while (step := min(last, await self._first() - 1 + _STEP)) >= await self._first() > 0:
            trimmed += int(await self._trim(keys=[self._prefix], args=[step]))
        return trimmed

    async def tidy(self) -> None:
        """Take what is no longer kept out of the indexes and the tables of times."""
        first = await self._first() or int(await self._redis.get(f"{self._prefix}:number") or 0) + 1
        keys = iter(await self._redis.smembers(f"{self._prefix}:indexes"))
        while some := list(islice(keys, _INDEXES_AT_ONCE)):
            await self._trim_indexes(keys=[f"{self._prefix}:indexes"], args=[first, *some])
        await self._trim_times(keys=[self._prefix], args=[first])

    async def _first(self) -> int:
        """The first number that is kept; 0 where nothing is."""
        oldest = await self._redis.xrange(f"{self._prefix}:entries", count=1)
        return int(str(oldest[0][0]).removesuffix("-0")) if oldest else 0
