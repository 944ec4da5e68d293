"""How often signing in may be tried: per account, per address of the caller's machine, and overall.

Asking for links and proving once more who one is are counted apart: whoever does that too often keeps nobody from signing in.
An attempt counts as failed from its beginning, so that a hundred at the same time are a hundred; one that was right is taken back.
What is counted under is what was submitted, whether there is such an account or not. The counts lie in the broker's Redis,
and outlive every process of ours. When it is away nobody signs in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from uuid import uuid4

from loguru import logger
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.accounts.machines import counted
from app.errors import CoreError, StoreUnavailableError

WINDOW_SECONDS = 300


class TooManyAttemptsError(CoreError):
    """It was tried too often; `retry_after` seconds later it may be tried again."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("it was tried too often; try again later")
        self.retry_after = retry_after


class Limit(Struct, frozen=True):
    """So many failures in `seconds`. After `free` of them each one doubles the wait for the next try."""

    failures: int
    free: int
    seconds: int = WINDOW_SECONDS


def free_of(failures: int) -> int:
    """Of so many failures of an account those after which no wait begins: three of ten."""
    return max(1, failures * 3 // 10)


ACCOUNT = Limit(failures=10, free=free_of(10))
ADDRESS = Limit(failures=10, free=10)
EVERYBODY = Limit(failures=1000, free=1000)
# A mail that somebody asks for about their own account goes to an address that need not be theirs.
_MAIL_SOON = Limit(failures=1, free=1, seconds=60)
_MAIL = Limit(failures=5, free=5, seconds=3600)

# For each key a sorted set of attempts by their time in ms. Answers the ms to wait, 0 where the attempt was taken. KEYS: the sets.
# ARGV: the attempt, then for each key its limit, how many of it are free of a wait, and the window in ms.
_TAKE = """
local time = redis.call('TIME')
local now, wait = time[1] * 1000 + math.floor(time[2] / 1000), 0
for at, key in ipairs(KEYS) do
    local most, free, window = tonumber(ARGV[3 * at - 1]), tonumber(ARGV[3 * at]), tonumber(ARGV[3 * at + 1])
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
for at, key in ipairs(KEYS) do
    redis.call('ZADD', key, now, ARGV[1])
    redis.call('PEXPIRE', key, tonumber(ARGV[3 * at + 1]))
end
return 0
"""


_OF_ACCOUNT = ("account", "reset", "proof")


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
        self._limits = {
            "account": account,
            "address": address,
            "everybody": everybody,
            "reset": account,
            "reset-address": address,
            "proof": account,
            "mail-soon": _MAIL_SOON,
            "mail": _MAIL,
        }
        self._take = redis.register_script(_TAKE)

    async def take(self, account: str, address: str | None) -> Attempt:
        """Begin an attempt to sign in. `account` is the key of the e-mail address, `address` the IP address of whoever tries.

        Raises TooManyAttemptsError, which counts for nothing.
        """
        named = {"account": _hashed(account), "everybody": "all"}
        return await self._begin(named | ({"address": counted(address)} if address else {}))

    async def take_reset(self, account: str, address: str | None) -> Attempt:
        """Ask for a link to set a new password; see `take`."""
        return await self._begin(
            {"reset": _hashed(account)} | ({"reset-address": counted(address)} if address else {})
        )

    async def take_proof(self, account: str) -> Attempt:
        """Begin an attempt of somebody who has signed in to prove once more who they are; see `take`."""
        return await self._begin({"proof": _hashed(account)})

    async def take_mail(self, account: str) -> Attempt:
        """Have a mail sent about one's own account: one a minute, five an hour; see `take`."""
        return await self._begin(dict.fromkeys(("mail-soon", "mail"), _hashed(account)))

    async def _begin(self, named: Mapping[str, str]) -> Attempt:
        """Begin an attempt that counts under all of these names, by their kinds."""
        keys = [f"{self._prefix}{kind}:{name}" for kind, name in named.items()]
        limits = [self._limits[kind] for kind in named]
        numbers = [number for each in limits for number in (each.failures, each.free, each.seconds * 1000)]
        attempt = Attempt(uuid4().hex, keys)
        try:
            wait = int(await self._take(keys=keys, args=[attempt.id, *numbers]))
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

    async def settle(self, attempt: Attempt) -> None:
        """The attempt was no failure, and what it was for is done: whoever tried is told so, also where it goes on counting."""
        try:
            await self.take_back(attempt)
        except StoreUnavailableError as error:
            logger.bind(error=str(error)).warning("attempt.kept")

    async def lift(self, account: str) -> bool:
        """Forget what one account tried; answers whether there was anything."""
        keys = [f"{self._prefix}{kind}:{_hashed(account)}" for kind in _OF_ACCOUNT]
        try:
            return bool(await self._redis.delete(*keys))
        except RedisError as error:
            raise _away() from error


def _hashed(account: str) -> str:
    """The key names no address."""
    return sha256(account.encode(errors="surrogatepass")).hexdigest()


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("the counts of attempts cannot be reached, so nobody can sign in now")
