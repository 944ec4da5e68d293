"""How often signing in may be tried: per account, per address of the caller's machine and the network around it, and overall.

Asking for links and proving once more who one is are counted apart: whoever does that too often keeps nobody from signing in.
An attempt counts as failed from its beginning, so that a hundred at the same time are a hundred; one that was right is taken back.
What is counted under stands for what was submitted, whether there is such an account or not, and names nobody. The counts lie in the broker's Redis,
and outlive every process of ours. When it is away nobody signs in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal
from uuid import uuid4

from loguru import logger
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.accounts.machines import line, network
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
# Whoever asks for a mail need not be who gets it.
MAIL_SOON = Limit(failures=1, free=1, seconds=60)
MAIL = Limit(failures=5, free=5, seconds=3600)
_LINES_OF_A_NETWORK = 10
"""A network is given to a site, or to somebody who can use all of its lines: so many times what one may."""
_SHOWN = 16

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


What = Literal["sign-in", "reset", "proof", "mail"]
Of = Literal["account", "account-soon", "address", "network", "everybody"]

_LIFTED: tuple[What, ...] = ("sign-in", "reset", "proof")
_OF_ACCOUNT: tuple[Of, ...] = ("account", "account-soon")


@dataclass(frozen=True)
class Attempt:
    """A try that counts as failed until it is taken back; the first of its keys is the account's."""

    id: str
    keys: Sequence[str]

    @property
    def waiting(self) -> str:
        """The key of the tries that count under just the same, and are right so far."""
        return "+".join(self.keys)


class SignInLimits:
    """The counts. Every method raises StoreUnavailableError when they cannot be reached."""

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        pseudonym: Callable[[str], bytes],
        *,
        account: Limit = ACCOUNT,
        address: Limit = ADDRESS,
        everybody: Limit = EVERYBODY,
        mail: Limit = MAIL,
        mail_soon: Limit = MAIL_SOON,
    ) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:sign-in:"
        self._pseudonym = pseudonym
        wide = Limit(address.failures * _LINES_OF_A_NETWORK, address.free * _LINES_OF_A_NETWORK)
        anywhere: dict[Of, Limit] = {"address": address, "network": wide, "everybody": everybody}
        mails: dict[Of, Limit] = {"account-soon": mail_soon, "account": mail}
        self._limits: Mapping[What, Mapping[Of, Limit]] = {
            "sign-in": {"account": account, **anywhere},
            "reset": {**mails, **anywhere},
            "proof": {"account": account},
            "mail": mails,
        }
        self._take = redis.register_script(_TAKE)

    async def take(self, account: str, address: str | None) -> Attempt:
        """Begin an attempt to sign in. `account` is the key of the e-mail address, `address` the IP address of whoever tries.

        Raises TooManyAttemptsError, which counts for nothing.
        """
        return await self._begin("sign-in", account, address)

    async def take_reset(self, account: str, address: str | None) -> Attempt:
        """Ask for a link to set a new password: for one account one a minute, five an hour; see `take`."""
        return await self._begin("reset", account, address)

    async def take_proof(self, account: str) -> Attempt:
        """Begin an attempt of somebody who has signed in to prove once more who they are; see `take`."""
        return await self._begin("proof", account)

    async def take_mail(self, account: str) -> Attempt:
        """Have a mail sent about one's own account: one a minute, five an hour; see `take`."""
        return await self._begin("mail", account)

    async def _begin(self, what: What, account: str, address: str | None = None) -> Attempt:
        """Begin an attempt that counts under all that it can be counted under."""
        limits = {
            self._key(what, of, name): limit for of, limit, name in self._counted(what, account, address)
        }
        numbers = [
            number for each in limits.values() for number in (each.failures, each.free, each.seconds * 1000)
        ]
        attempt = Attempt(uuid4().hex, list(limits))
        try:
            wait = int(await self._take(keys=attempt.keys, args=[attempt.id, *numbers]))
        except RedisError as error:
            raise _away() from error
        if wait:
            seconds = ceil(wait / 1000)
            told = logger.bind(what=what, account=self.shown(account), machine=self.shown(address))
            told.bind(seconds=seconds).warning("signin.throttled")
            raise TooManyAttemptsError(seconds)
        return attempt

    def _counted(self, what: What, account: str, address: str | None) -> Iterator[tuple[Of, Limit, str]]:
        """What an attempt is counted under, with the limit of each."""
        names: dict[Of, str | None] = {"account": account, "account-soon": account, "everybody": ""}
        names |= {"address": address and line(address), "network": address and network(address)}
        for of, limit in self._limits[what].items():
            if (name := names[of]) is not None:
                yield of, limit, name

    def _key(self, what: What, of: Of, name: str) -> str:
        """Names nobody."""
        return f"{self._prefix}{what}:{of}:{self._pseudonym(name).hex()}"

    def shown(self, name: str | None) -> str | None:
        """What the log shows in place of an address, of mail or of a machine: the same for the same one."""
        return None if name is None else self._pseudonym(name).hex()[:_SHOWN]

    async def hold(self, attempt: Attempt) -> None:
        """The attempt is right so far: it counts for the account no more, and elsewhere until one like it is settled."""
        try:
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.zrem(attempt.keys[0], attempt.id)
                pipeline.sadd(attempt.waiting, attempt.id)
                pipeline.expire(attempt.waiting, WINDOW_SECONDS)
                await pipeline.execute()
        except RedisError as error:
            raise _away() from error

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
        """What the attempt was for is done: it was no failure, nor were those that were held.

        Whoever tried is told so, also where they go on counting.
        """
        try:
            ids = [attempt.id, *await self._redis.smembers(attempt.waiting)]
            async with self._redis.pipeline(transaction=False) as pipeline:
                for key in attempt.keys:
                    pipeline.zrem(key, *ids)
                pipeline.delete(attempt.waiting)
                await pipeline.execute()
        except RedisError as error:
            logger.bind(error=str(error)).warning("attempt.kept")

    async def lift(self, account: str) -> bool:
        """Forget what one account tried; answers whether there was anything."""
        keys = [self._key(what, of, account) for what in _LIFTED for of in _OF_ACCOUNT]
        try:
            return bool(await self._redis.delete(*keys))
        except RedisError as error:
            raise _away() from error


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("the counts of attempts cannot be reached, so nobody can sign in now")
