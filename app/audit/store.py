"""The audit store: append-only, in Redis, with one index per common query.

Entries lie in one stream whose ids are a gapless sequence; sorted sets of sequence numbers lead to the changes of a
record, of a run, and to all of them. An entry is appended once however often it is sent: (kind, id) is its identity.
The server runs with `appendfsync always`, so an append that was answered is durable.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.audit.entries import Entry, FactEntry, IntentEntry, OutcomeEntry
from app.errors import StoreUnavailableError

# An outcome needs an open intent, an intent or a fact must be new; what is refused changes nothing.
_APPEND = """
local stream, counter, identities, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local at, appended = 1, 0
while at <= #ARGV do
    local kind, id, body, indexes = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local known = redis.call('HEXISTS', identities, kind .. ':' .. id) == 1
    if kind == 'outcome' and redis.call('HEXISTS', open, id) == 0 then known = true end
    if not known then
        local sequence = redis.call('INCR', counter)
        redis.call('XADD', stream, sequence .. '-0', 'entry', body)
        redis.call('HSET', identities, kind .. ':' .. id, sequence)
        if kind == 'intent' then redis.call('HSET', open, id, sequence) end
        if kind == 'outcome' then redis.call('HDEL', open, id) end
        for index = at + 4, at + 3 + indexes do
            redis.call('ZADD', ARGV[index], sequence, sequence)
        end
        appended = appended + 1
    end
    at = at + 4 + indexes
end
return appended
"""

# The open intents (their sequence numbers) of the records whose indexes follow in KEYS, from the oldest open one on.
_OPEN_OF = """
local open, oldest = {}, nil
for _, sequence in ipairs(redis.call('HVALS', KEYS[1])) do
    open[sequence] = true
    oldest = math.min(oldest or tonumber(sequence), tonumber(sequence))
end
local found = {}
for at = 2, oldest and #KEYS or 1 do
    for _, sequence in ipairs(redis.call('ZRANGE', KEYS[at], string.format('%.0f', oldest), '+inf', 'BYSCORE')) do
        if open[sequence] then found[#found + 1] = sequence end
    end
end
return found
"""


@dataclass(frozen=True)
class Change:
    """An intent with its place in the store and, once there is one, its outcome."""

    sequence: int
    intent: IntentEntry
    outcome: OutcomeEntry | None


class AuditPort(Protocol):
    """What the repair path needs of an audit store. Each method raises StoreUnavailableError when it is away."""

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append entries in order, all or none, each once however often it is sent; answers how many were new."""

    async def open_intents_of(self, entity: str, keys: Collection[str]) -> list[IntentEntry]:
        """The intents without an outcome to change one of these records."""

    async def changes(
        self, *, entity: str | None = None, key: str | None = None, limit: int = 50
    ) -> list[Change]:
        """Changes from the newest to the oldest, of a record, of an entity or of all."""


class AuditStore:
    """Appends to and reads from the audit store. Every method raises StoreUnavailableError when it is away."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{namespace}:audit"
        self._append = redis.register_script(_APPEND)
        self._open_of = redis.register_script(_OPEN_OF)

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append entries in order, all or none; answers how many were new."""
        if not entries:
            return 0
        arguments: list[str | bytes | int] = []
        for entry in entries:
            indexes = self._indexes(entry)
            arguments += [str(entry.__struct_config__.tag), str(entry.id), msgspec.json.encode(entry)]
            arguments += [len(indexes), *indexes]
        keys = [self._key(name) for name in ("entries", "sequence", "identities", "open")]
        try:
            return int(await self._append(keys=keys, args=arguments))
        except RedisError as error:
            raise StoreUnavailableError("the audit store does not answer") from error

    async def open_intents(self) -> list[IntentEntry]:
        """Every intent without an outcome."""
        try:
            sequences = [int(each) for each in await self._redis.hvals(self._key("open"))]
            entries = await self._entries(sequences)
        except RedisError as error:
            raise StoreUnavailableError("the audit store does not answer") from error
        return [entry for entry in entries if isinstance(entry, IntentEntry)]

    async def open_intents_of(self, entity: str, keys: Collection[str]) -> list[IntentEntry]:
        """The intents without an outcome to change one of these records."""
        indexes = [self._change_index(entity, key, None) for key in keys]
        try:
            sequences = [int(each) for each in await self._open_of(keys=[self._key("open"), *indexes])]
            entries = await self._entries(sequences)
        except RedisError as error:
            raise StoreUnavailableError("the audit store does not answer") from error
        return [entry for entry in entries if isinstance(entry, IntentEntry)]

    async def changes(
        self,
        *,
        entity: str | None = None,
        key: str | None = None,
        run_id: UUID | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Change]:
        """Changes from the newest to the oldest, of a record, of a run, of an entity or of all.

        `before` is the sequence number to go on from.
        """
        index = self._change_index(entity, key, run_id)
        bound = "+inf" if before is None else f"({before}"
        try:
            members = await self._redis.zrange(
                index, bound, "-inf", desc=True, byscore=True, offset=0, num=limit
            )
            sequences = [int(str(member)) for member in members]
            intents = [each for each in await self._entries(sequences) if isinstance(each, IntentEntry)]
            outcomes = await self._outcomes(intents)
        except RedisError as error:
            raise StoreUnavailableError("the audit store does not answer") from error
        return [
            Change(sequence, intent, outcomes.get(intent.id))
            for sequence, intent in zip(sequences, intents, strict=True)
        ]

    async def changes_by_id(self, ids: Sequence[UUID]) -> dict[UUID, Change]:
        """The changes with these ids; unknown ones are left out."""
        if not ids:
            return {}
        try:
            places = await self._redis.hmget(self._key("identities"), [f"intent:{each}" for each in ids])
            sequences = [int(place) for place in places if place is not None]
            intents = [each for each in await self._entries(sequences) if isinstance(each, IntentEntry)]
            outcomes = await self._outcomes(intents)
        except RedisError as error:
            raise StoreUnavailableError("the audit store does not answer") from error
        return {
            intent.id: Change(sequence, intent, outcomes.get(intent.id))
            for sequence, intent in zip(sequences, intents, strict=True)
        }

    async def _outcomes(self, intents: list[IntentEntry]) -> dict[UUID, OutcomeEntry]:
        if not intents:
            return {}
        places = await self._redis.hmget(
            self._key("identities"), [f"outcome:{intent.id}" for intent in intents]
        )
        found = await self._entries([int(place) for place in places if place is not None])
        return {entry.id: entry for entry in found if isinstance(entry, OutcomeEntry)}

    async def _entries(self, sequences: list[int]) -> list[Entry]:
        if not sequences:
            return []
        async with self._redis.pipeline(transaction=False) as pipeline:
            for sequence in sequences:
                pipeline.xrange(self._key("entries"), f"{sequence}-0", f"{sequence}-0")
            answers = await pipeline.execute()
        return [
            msgspec.json.decode(fields["entry"], type=IntentEntry | OutcomeEntry | FactEntry)
            for answer in answers
            for _id, fields in answer
        ]

    def _indexes(self, entry: Entry) -> list[str]:
        match entry:
            case IntentEntry():
                names = [
                    self._change_index(None, None, None),
                    self._change_index(entry.entity, None, None),
                    self._change_index(entry.entity, entry.key, None),
                ]
                if entry.run_id:
                    names.append(self._change_index(None, None, entry.run_id))
                return names
            case FactEntry():
                return [self._key(f"facts:actor:{entry.actor}")]
            case OutcomeEntry():
                return []

    def _change_index(self, entity: str | None, key: str | None, run_id: UUID | None) -> str:
        if run_id:
            return self._key(f"changes:run:{run_id}")
        if entity and key:
            return self._key(f"changes:record:{entity}:{key}")
        return self._key(f"changes:entity:{entity}" if entity else "changes")

    def _key(self, name: str) -> str:
        return f"{self._prefix}:{name}"
