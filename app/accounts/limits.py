"""How often signing in may be tried: per account, per address of the caller's machine, and overall.

An attempt counts as failed from its beginning, so that a hundred at the same time are a hundred; one that was right is taken back.
What is counted under is what was submitted, whether there is such an account or not. The counts lie in the broker's Redis,
and outlive every process of ours. When it is away nobody signs in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from uuid import uuid4

from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import CoreError, StoreUnavailableError

WINDOW_SECONDS = 300


class TooManyAttemptsError(CoreError):
    """Signing in was tried too often; `retry_after` seconds later it may be tried again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("signing in was tried too often; try again later")
        self.retry_after = retry_after


class Limit(Struct, frozen=True):
    """So many failures in five minutes. After `free` of them each one doubles the wait for the next try."""

    failures: int
    free: int


def free_of(failures: int) -> int:
    """Of so many failures of an account those after which no wait begins: three of ten."""
    return max(1, failures * 3 // 10)


ACCOUNT = Limit(failures=10, free=free_of(10))
ADDRESS = Limit(failures=10, free=10)
EVERYBODY = Limit(failures=1000, free=1000)

# For each key a sorted set of attempts by their time in ms. Answers the ms to wait, 0 where the attempt was taken. KEYS: the sets.
# ARGV: the attempt, the window in ms, then for each key its limit and how many of it are free of a wait.
_TAKE = """
local time = redis.call('TIME')
local now, window, wait = time[1] * 1000 + math.floor(time[2] / 1000), tonumber(ARGV[2]), 0
for at, key in ipairs(KEYS) do
    local most, free = tonumber(ARGV[1 + 2 * at]), tonumber(ARGV[2 + 2 * at])
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
    local count = redis.call('ZCARD', key)
    if count >= most then
        local oldest = redis.call('ZRANGE', key, count - most, count - most, 'WITHSCORES')[2]
        wait = math.max(wait, oldest + window - now)
    elseif count > free then
        local latest = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
        wait = math.max(wait, latest + 1000 * 2 ^ (count - free - 1) - now)
    end
end
if wait > 0 then return math.ceil(wait) end
for _, key in ipairs(KEYS) do
    redis.call('ZADD', key, now, ARGV[1])
    redis.call('PEXPIRE', key, window)
end
return 0
"""


@dataclass(frozen=True)
class Attempt:
    """A try that counts as failed until it is taken back."""

    id: str
    keys: Sequence[str]


class SignInLimits:
    """The counts. Every method raises StoreUnavailableError when they cannot be reached."""

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        *,
        account: Limit = ACCOUNT,
        address: Limit = ADDRESS,
        everybody: Limit = EVERYBODY,
    ) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:sign-in:"
        self._limits = {"account": account, "address": address, "everybody": everybody}
        self._take = redis.register_script(_TAKE)

    async def take(self, account: str, address: str | None) -> Attempt:
        """Begin an attempt. `account` is the key of the e-mail address, `address` the IP address of whoever tries.

        Raises TooManyAttemptsError, which counts for nothing.
        """
        named = {"account": _hashed(account), "everybody": "all"} | ({"address": address} if address else {})
        keys = [f"{self._prefix}{kind}:{name}" for kind, name in named.items()]
        limits = [
            number for kind in named for number in (self._limits[kind].failures, self._limits[kind].free)
        ]
        attempt = Attempt(uuid4().hex, keys)
        try:
            wait = int(await self._take(keys=keys, args=[attempt.id, WINDOW_SECONDS * 1000, *limits]))
        except RedisError as error:
            raise _away() from error
        if wait:
            raise TooManyAttemptsError(ceil(wait / 1000))
        return attempt

    async def take_back(self, attempt: Attempt) -> None:
        """The attempt was no failure."""
        try:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in attempt.keys:
                    pipeline.zrem(key, attempt.id)
                await pipeline.execute()
        except RedisError as error:
            raise _away() from error

    async def lift(self, account: str) -> bool:
        """Forget the failures of one account; answers whether there were any."""
        try:
            return bool(await self._redis.delete(f"{self._prefix}account:{_hashed(account)}"))
        except RedisError as error:
            raise _away() from error


def _hashed(account: str) -> str:
    """The key names no address."""
    return sha256(account.encode(errors="surrogatepass")).hexdigest()


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("the counts of attempts cannot be reached, so nobody can sign in now")
