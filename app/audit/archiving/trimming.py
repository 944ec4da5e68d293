"""What is taken from Redis once it is archived, by the one user that may. Every step may be repeated."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from redis.asyncio import Redis
from redis.client import NEVER_DECODE
from redis.exceptions import ResponseError

from app.audit.scripting import Argument, Script
from app.audit.sealing.stream import ChainBrokenError

# Keys that one call looks at: the server does nothing else meanwhile.
_AT_ONCE = 500

# The entries go and the number up to which they are gone is set in one step, and only where as many entries are there as
# were counted: what was slipped in among them must not go unseen. KEYS: the stream, the counter, `archived`. ARGV: the
# first and the last number. Answers how many went, -1 where they are not what was counted.
_ENTRIES = """
local first, last = tonumber(ARGV[1]), tonumber(ARGV[2])
local archived = tonumber(redis.call('GET', KEYS[3]) or 0)
if archived >= last then return 0 end
local counted = tonumber(redis.call('GET', KEYS[2]) or 0)
if archived ~= first - 1 or counted < last or redis.call('XLEN', KEYS[1]) ~= counted - archived then return -1 end
local gone = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%d-0', last + 1))
redis.call('SET', KEYS[3], string.format('%d', last))
return gone
"""

# The items of lists whose numbers, which they end with, are not beyond the last one. KEYS: the lists. ARGV: the last number.
_LISTS = """
local last = tonumber(ARGV[1])
for _, list in ipairs(KEYS) do
    local low, high = 0, redis.call('LLEN', list)
    while low < high do
        local middle = math.floor((low + high) / 2)
        if tonumber(string.match(redis.call('LINDEX', list, middle), '%d+$')) <= last then
            low = middle + 1
        else
            high = middle
        end
    end
    if low > 0 then redis.call('LTRIM', list, low, -1) end
end
"""

# Ids that lead to nothing that is still there. KEYS: the prefix. ARGV: the last number, ids.
_IDS = """
local last = tonumber(ARGV[1])
for at = 2, #ARGV do
    local id = ARGV[at]
    local ids = string.format('%sids:%02x%02x', KEYS[1], string.byte(id, -2), string.byte(id, -1))
    local place = redis.call('HGET', ids, id)
    if place and tonumber(string.match(place, '%d+$')) <= last then redis.call('HDEL', ids, id) end
end
"""


@dataclass(frozen=True)
class Reach:
    """What Redis has of archives: the greatest number that a tombstone has had there, and up to where entries are gone."""

    tombstones: int
    archived: int


@dataclass(frozen=True)
class Trimmer:
    """Works with the connection of the retention user. Its methods raise StoreUnavailableError."""

    redis: Redis
    prefix: str
    _scripts: dict[str, Script] = field(default_factory=dict)

    @classmethod
    def of(cls, redis: Redis, namespace: str) -> Self:
        return cls(redis, f"{namespace}:audit:")

    async def held(self) -> Reach:
        """How far Redis is; raises ChainBrokenError where no tombstones lie in their place."""
        execute: Any = self.redis.execute_command
        try:
            # Not decoded: what stands there may be no text.
            told = await execute("XINFO STREAM", f"{self.prefix}archives", **{NEVER_DECODE: True})
        except ResponseError as error:
            if "WRONGTYPE" in str(error):
                raise ChainBrokenError(
                    "the tombstones in Redis", "something else is in their place"
                ) from error
            if "no such key" not in str(error):
                raise
            told = {"last-generated-id": b"0-0"}
        archived = int(await self.redis.get(f"{self.prefix}archived") or 0)
        return Reach(int(told["last-generated-id"].partition(b"-")[0]), archived)

    async def add_tombstone(self, number: int, text: str) -> None:
        """Keep the copy of a tombstone; raises ChainBrokenError where Redis has another one, or a later one."""
        key, place = f"{self.prefix}archives", f"{number}-0"
        try:
            await self.redis.xadd(key, {"tombstone": text}, id=place)
        except ResponseError as error:
            if "equal or smaller" not in str(error):
                raise
            held = await self.redis.xrange(key, place, place) or []
            if [fields for _place, fields in held] != [{"tombstone": text}]:
                raise ChainBrokenError(
                    f"archive {number}", "Redis has had another tombstone with its number"
                ) from error

    async def trim_entries(self, first: int, last: int) -> None:
        """Take entries out of the stream; raises ChainBrokenError where other ones are there than were counted."""
        keys = [self.prefix + name for name in ("entries", "sequence", "archived")]
        if await self._call(_ENTRIES, keys, [first, last]) < 0:
            raise ChainBrokenError(
                f"entry {first}", f"entries up to {last} are to go, but not as many are there as were counted"
            )

    async def trim_lists(self, names: Iterable[str], last: int) -> None:
        """Take them out of these indexes, and of what leads from time to them."""
        every = iter(["reached", "left", *names])
        while chunk := list(islice(every, _AT_ONCE)):
            await self._call(_LISTS, [self.prefix + name for name in chunk], [last])

    async def forget_ids(self, ids: Iterable[bytes], last: int) -> None:
        """Take their ids out; an id whose outcome is still there stays."""
        every = iter(ids)
        while chunk := list(islice(every, _AT_ONCE)):
            await self._call(_IDS, [self.prefix], [last, *chunk])

    async def _call(self, source: str, keys: list[str], arguments: list[Argument]) -> int:
        script = self._scripts.setdefault(source, Script(self.redis, source))
        return int(await script(keys, arguments) or 0)
