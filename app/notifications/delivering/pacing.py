"""How fast mail goes to an external service, over all workers: one after the other at a rate, as it allows.

The rate is that of GCRA (ITU-T I.371): per transport one time in the broker's Redis, by its own clock, at which the next
mail may go. Losing it costs a moment of too much speed.
"""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import StoreUnavailableError

BURST_SECONDS = 1.0
"""Mails that may go at once after a pause: those of so many seconds, and one at least."""

# Answers the microseconds until each turn. KEYS: the time, in microseconds, at which the next mail is due at the rate.
# ARGV: microseconds from one mail to the next, how many the first may be early, the longest wait to take a turn for, how many turns.
_TAKE = """
local time = redis.call('TIME')
local now, step, early, patience = time[1] * 1000000 + time[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local due, waits = first, {}
for turn = 1, tonumber(ARGV[4]) do
    local wait = math.max(0, due - early - now)
    if wait <= patience then
        due = due + step
    end
    waits[turn] = math.ceil(wait)
end
if due > first then
    redis.call('SET', KEYS[1], due, 'PX', math.ceil((due - now) / 1000) + 1000)
end
return waits
"""


class Pace:
    """The pace of each transport, in one namespace."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._prefix = f"{namespace}:pace:"
        self._take = redis.register_script(_TAKE)

    async def take(
        self, transport: str, number: int, per_second: float, *, patience: float
    ) -> Sequence[float]:
        """Take so many turns, and answer the seconds until each comes. More than `patience`: it was not taken, come again then.

        Raises StoreUnavailableError where the turns cannot be reached: then nothing may be handed over.
        """
        step = 1_000_000 / per_second
        early = max(0.0, BURST_SECONDS * 1_000_000 - step)
        arguments: list[str | int] = [f"{step:.3f}", f"{early:.3f}", f"{patience * 1_000_000:.0f}", number]
        try:
            waits = await self._take(keys=[self._prefix + transport], args=arguments)
        except RedisError as error:
            raise StoreUnavailableError("the pace of mail cannot be read, so that mail waits") from error
        return [wait / 1_000_000 for wait in waits]
