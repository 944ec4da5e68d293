"""The audit store: append-only, in Redis, with one index per common query.

Entries lie in one stream whose ids are a gapless sequence; lists of sequence numbers lead to what has to do with a record,
an entity, a run, an actor, a name or a kind (`app.audit.scripts` has the layout). An entry is appended once however
often it is sent: its id is its identity, an outcome's that of the intent which it ends. The server runs with
`appendfsync always`, so an append that was answered is durable.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from app.audit import scripts
from app.audit.entries import Entry, IntentEntry, OutcomeEntry, encode, kind_of
from app.audit.indexes import changes_index, indexes_of, of_record
from app.errors import ConflictError, StoreUnavailableError
from app.stores.connections import Stores

Answer = TypeVar("Answer")

# Beyond any sequence number.
END = 2**53
# Entries that are read in one go, where more are asked for.
_CHUNK = 2000


@dataclass(frozen=True)
class Change:
    """An intent with its place in the store and, once there is one, its outcome."""

    sequence: int
    intent: IntentEntry
    outcome: OutcomeEntry | None


class Stored(Struct, frozen=True):
    """An entry with its place in the store."""

    sequence: int
    entry: Entry


@dataclass(frozen=True)
class Count:
    """What there is: the number of the last entry by the store's own counter, and the entries in the stream.

    Up to `archived` retention has removed entries, once they were archived.
    """

    counted: int
    archived: int
    first: int
    last: int
    length: int

    @property
    def missing(self) -> int:
        """Entries that were counted and are not there, or are there and were not counted."""
        gone = abs(self.counted - self.archived - self.length)
        return gone or int(self.length > 0 and (self.first, self.last) != (self.archived + 1, self.counted))


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
        self._prefix = f"{namespace}:audit:"
        self._append = redis.register_script(scripts.APPEND)
        self._page = redis.register_script(scripts.PAGE)
        self._find = redis.register_script(scripts.FIND)
        self._open = redis.register_script(scripts.OPEN)
        self._bounds = redis.register_script(scripts.BOUNDS)

    @classmethod
    def of(cls, stores: Stores) -> Self:
        """The audit store of a process, by its connections."""
        return cls(stores.audit, stores.settings.namespace)

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append entries in order, all or none; answers how many were new."""
        if not entries:
            return 0
        packed = msgspec.msgpack.encode([_packed(entry) for entry in entries])
        keys = [self._key(name) for name in ("entries", "sequence", "open", "reached", "left")]
        with _answers():
            ids = (entry.id.bytes for entry in entries)
            return int(await self._append(keys=keys, args=[self._prefix, packed, *ids]))

    async def open_intents(self) -> list[IntentEntry]:
        """Every intent without an outcome."""
        return await self._open_intents([])

    async def open_intents_of(self, entity: str, keys: Collection[str]) -> list[IntentEntry]:
        """The intents without an outcome to change one of these records."""
        return await self._open_intents([of_record(entity, key) for key in keys]) if keys else []

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
        index, greatest = changes_index(entity, key, run_id), (END if before is None else before) - 1
        # What has to do with a record or a run is outcomes too, about as many as intents.
        share = 2 if key or run_id else 1
        found: list[tuple[int, IntentEntry]] = []
        while len(found) < limit:
            wanted = share * (limit - len(found))
            page, last = await self.page(index, 1, greatest, newest_first=True, limit=wanted)
            found += [(each.sequence, each.entry) for each in page if isinstance(each.entry, IntentEntry)]
            if last is None:
                break
            greatest = last - 1
        return await self._with_outcomes(found[:limit])

    async def changes_by_id(self, ids: Sequence[UUID]) -> dict[UUID, Change]:
        """The changes with these ids; unknown ones are left out."""
        found = (await self.find(ids)).items()
        return {
            each: Change(begun.sequence, begun.entry, _outcome(ended))
            for each, (begun, ended) in found
            if isinstance(begun.entry, IntentEntry)
        }

    async def find(self, ids: Sequence[UUID]) -> dict[UUID, tuple[Stored, Stored | None]]:
        """The facts and the intents with these ids, intents with their outcome; unknown ids are left out."""
        if not ids:
            return {}
        arguments: list[str | bytes] = [self._prefix, *(each.bytes for each in ids)]
        with _answers():
            answer = await self._find(keys=[self._key("entries")], args=arguments)
        pairs = _decoded(answer, _PAIRS)
        return {each: (begun, ended) for each, (begun, ended) in zip(ids, pairs, strict=True) if begun}

    async def page(
        self, index: str | None, least: int, greatest: int, *, newest_first: bool, limit: int
    ) -> tuple[list[Stored], int | None]:
        """Entries of an index, or of all, whose sequence numbers lie from `least` to `greatest`.

        With them comes the number that was looked at last, to go on from; None where there is nothing more.
        """
        limit = min(limit, _CHUNK)
        keys = [self._key("entries"), *([self._key(index)] if index else [])]
        with _answers():
            arguments = [least, greatest, int(newest_first), limit]
            scanned, last, answer = await self._page(keys=keys, args=arguments)
        return _decoded(answer, _ENTRIES), int(last) if scanned == limit else None

    async def shortest(self, indexes: Sequence[str]) -> str | None:
        """Of these indexes the one with the fewest entries."""
        if len(indexes) < 2:  # noqa: PLR2004  (there is nothing to choose)
            return indexes[0] if indexes else None
        with _answers():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for index in indexes:
                    pipeline.llen(self._key(index))
                lengths = await pipeline.execute()
        return min(zip(lengths, indexes, strict=True))[1]

    async def bounds(self, first_second: int, last_second: int) -> tuple[int, int]:
        """The least and the greatest sequence number that an entry of these seconds can have."""
        keys = [self._key("reached"), self._key("left")]
        with _answers():
            least, greatest = await self._bounds(keys=keys, args=[first_second, last_second])
        return int(least), int(greatest)

    async def count(self) -> Count:
        """How many entries there are and should be."""
        with _answers():
            # One step, so that nothing is appended in between.
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.mget(self._key("sequence"), self._key("archived"))
                pipeline.xrange(self._key("entries"), count=1)
                pipeline.xrevrange(self._key("entries"), count=1)
                pipeline.xlen(self._key("entries"))
                numbers, first, last, length = await pipeline.execute()
        places = [int(each[0][0].partition("-")[0]) if each else 0 for each in (first, last)]
        counted, archived = (int(each or 0) for each in numbers)
        return Count(counted, archived, places[0], places[1], length)

    async def _with_outcomes(self, found: Sequence[tuple[int, IntentEntry]]) -> list[Change]:
        known = await self.find([intent.id for _, intent in found])
        ended = {each: outcome for each, (_, outcome) in known.items()}
        return [Change(sequence, intent, _outcome(ended.get(intent.id))) for sequence, intent in found]

    async def _open_intents(self, records: Sequence[str]) -> list[IntentEntry]:
        with _answers():
            answer = await self._open(keys=[self._key("entries"), self._key("open")], args=records)
        entries = (each.entry for each in _decoded(answer, _ENTRIES))
        return [each for each in entries if isinstance(each, IntentEntry)]

    def _key(self, name: str) -> str:
        return self._prefix + name


@contextmanager
def _answers() -> Iterator[None]:
    try:
        yield
    except (ResponseError, AuthenticationError) as error:
        raise StoreUnavailableError("the audit store refuses; `astrocore doctor` tells why") from error
    except RedisError as error:
        raise StoreUnavailableError("the audit store does not answer") from error


def _packed(entry: Entry) -> tuple[str, int, str, list[str], list[str]]:
    own, shared = indexes_of(entry)
    second = max(0, int(entry.at.timestamp()))
    return kind_of(entry), second, encode(entry).decode(), own, shared


_ENTRIES = msgspec.json.Decoder(list[Stored])
_PAIRS = msgspec.json.Decoder(list[tuple[Stored | None, Stored | None]])


def _decoded(answer: str, decoder: msgspec.json.Decoder[Answer]) -> Answer:
    try:
        return decoder.decode(answer)
    except msgspec.MsgspecError as error:
        raise ConflictError("an audit entry cannot be read; `astrocore audit verify` names it") from error


def _outcome(ended: Stored | None) -> OutcomeEntry | None:
    return ended.entry if ended and isinstance(ended.entry, OutcomeEntry) else None
