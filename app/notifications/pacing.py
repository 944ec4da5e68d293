"""How fast mail goes to an external service, over all workers: one after the other at a rate, as it allows.

The rate is that of GCRA (ITU-T I.371): per transport one time in the broker's Redis, by its own clock, at which the next
mail may go. Losing it costs a moment of too much speed.
"""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import StoreUnavailableError

BURST_SECONDS = 1.0
"""Mails that may go at once after a pause: those of so many seconds, and one at least."""

# Answers the microseconds until the turn. KEYS: the time, in microseconds, at which the next mail is due at the rate.
# ARGV: microseconds from one mail to the next, how many the first may be early, and the longest wait to take a turn for.
_TAKE = """
local time = redis.call('TIME')
local now, step, early, patience = time[1] * 1000000 + time[2], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = math.max(0, due - early - now)
if wait <= patience then
    redis.call('SET', KEYS[1], due + step, 'PX', math.ceil((due + step - now) / 1000) + 1000)
end
return math.ceil(wait)
"""


class Pace:
    """The pace of each transport, in one namespace."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._prefix = f"{namespace}:pace:"
        self._take = redis.register_script(_TAKE)

    async def take(self, transport: str, per_second: float, *, patience: float) -> float:
        """Take a turn, and answer the seconds until it comes. More than `patience`: none was taken, come again then.

        Raises StoreUnavailableError where the turns cannot be reached: then nothing may be handed over.
        """
        step = 1_000_000 / per_second
        early = max(0.0, BURST_SECONDS * 1_000_000 - step)
        arguments = [f"{step:.3f}", f"{early:.3f}", f"{patience * 1_000_000:.0f}"]
        try:
            wait = await self._take(keys=[self._prefix + transport], args=arguments)
        except RedisError as error:
            raise StoreUnavailableError("the pace of mail cannot be read, so that mail waits") from error
        return int(wait) / 1_000_000
