"""The audit store: append-only, in Redis, with one index per common query.

Entries lie in one stream whose ids are a gapless sequence; lists of sequence numbers lead to what has to do with a record,
an entity, a run, an actor, a name or a kind (`app.audit.scripts` has the layout). An entry is appended once however
often it is sent: its id is its identity, an outcome's that of the intent which it ends. The server runs with
`appendfsync always`, so an append that was answered is durable.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, Self
from uuid import UUID

import msgspec
from redis.asyncio import Redis

from app.audit import scripts
from app.audit.archiving.library import Library
from app.audit.archiving.shelf import Body, Pair
from app.audit.entries import Entry, IntentEntry, OutcomeEntry, encode, kind_of
from app.audit.indexes import changes_index, indexes_of, of_record
from app.audit.persons import PersonKeys, hide, reveal
from app.audit.scripting import Script, answers
from app.audit.stored import Stored, read_page, read_pairs, read_stored
from app.stores.connections import Stores

# Beyond any sequence number.
END = 2**53
# Entries that are read in one go, where more are asked for.
_CHUNK = 2000
# Entries that are read at least where the first ones were not enough.
_FURTHER = 250


@dataclass(frozen=True)
class Change:
    """An intent with its place in the store and, once there is one, its outcome."""

    sequence: int
    intent: IntentEntry
    outcome: OutcomeEntry | None


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

    async def changes_by_id(self, ids: Sequence[UUID]) -> dict[UUID, Change]:
        """The changes with these ids; unknown ones are left out."""


class AuditStore:
    """Appends to and reads from the audit store. Every method raises StoreUnavailableError when it is away.

    Personal values are hidden on their way in and revealed on their way out, by the keys of `persons`. Without these none
    is taken, and what is read stays hidden. What has left the store for `archives` is read there; without them it is not found.
    """

    def __init__(
        self,
        redis: Redis,
        namespace: str,
        persons: PersonKeys | None = None,
        archives: Library | None = None,
    ) -> None:
        self._redis = redis
        self._persons = persons
        self._archives = archives
        self._prefix = f"{namespace}:audit:"
        self._append = Script(redis, scripts.APPEND)
        self._page = Script(redis, scripts.PAGE)
        self._find = Script(redis, scripts.FIND)
        self._open = Script(redis, scripts.OPEN)
        self._bounds = Script(redis, scripts.BOUNDS)

    @classmethod
    def of(cls, stores: Stores) -> Self:
        """The audit store of a process, by its connections."""
        return cls(stores.audit, stores.settings.namespace, PersonKeys(stores.core), Library.of(stores))

    async def append(self, entries: Sequence[Entry]) -> int:
        """Append entries in order, all or none; answers how many were new."""
        if not entries:
            return 0
        packed = msgspec.msgpack.encode([_packed(entry) for entry in await hide(self._persons, entries)])
        keys = [self._key(name) for name in ("entries", "sequence", "open", "reached", "left")]
        ids = (entry.id.bytes for entry in entries)
        latest = await self._latest_answer() if any(isinstance(each, IntentEntry) for each in entries) else 0
        return int(await self._append(keys, [self._prefix, latest, packed, *ids]))

    async def open_intents(self) -> list[IntentEntry]:
        """Every intent without an outcome."""
        return await self._open_intents([])

    async def first_open(self) -> int | None:
        """The number of the first intent without an outcome, whether this version can read it or not."""
        found = read_page(await self._open([self._key("entries"), self._key("open")], []))
        return min((each.sequence for each in found), default=None)

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
        """As `changes_page`, of which this is the first part."""
        found, _ = await self.changes_page(entity=entity, key=key, run_id=run_id, before=before, limit=limit)
        return found

    async def changes_page(
        self,
        *,
        entity: str | None = None,
        key: str | None = None,
        run_id: UUID | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[list[Change], int | None]:
        """Changes from the newest to the oldest, of a record, of a run, of an entity or of all.

        `before` is the sequence number to go on from. With them comes the next one to go on from; None where there is
        nothing more. A bounded number of entries is looked at: where few of them are changes, there are fewer
        than `limit`.
        """
        index = changes_index(entity, key, run_id)
        last: int | None = END if before is None else before
        # What has to do with a record or a run is outcomes too, about as many as intents.
        share, least, budget = 2 if key or run_id else 1, 1, max(_CHUNK, 4 * limit)
        found: list[tuple[int, IntentEntry]] = []
        while last and len(found) < limit and budget > 0:
            wanted = max(least, min(_CHUNK, share * (limit - len(found))))
            page, last = await self.page(index, 1, last - 1, newest_first=True, limit=wanted)
            found += [(each.sequence, each.entry) for each in page if isinstance(each.entry, IntentEntry)]
            least, budget = _FURTHER, budget - wanted
        if len(found) > limit:
            last = found[limit - 1][0]
        return await self._with_outcomes(found[:limit]), last

    async def changes_by_id(self, ids: Sequence[UUID]) -> dict[UUID, Change]:
        """The changes with these ids; unknown ones are left out."""
        found = (await self.find(ids)).items()
        return {
            each: Change(begun.sequence, begun.entry, _outcome(ended))
            for each, (begun, ended) in found
            if isinstance(begun.entry, IntentEntry)
        }

    async def find(
        self, ids: Sequence[UUID], near: int | None = None
    ) -> dict[UUID, tuple[Stored, Stored | None]]:
        """The facts and the intents with these ids, intents with their outcome; unknown ids are left out.

        They are found sooner where most of them lie near this sequence number.
        """
        if not ids:
            return {}
        arguments: list[str | bytes] = [self._prefix, *(each.bytes for each in ids)]
        hot = read_pairs(await self._find([self._key("entries")], arguments))
        pairs = await self._with_archived(ids, hot, near)
        there = [each for pair in pairs for each in pair if each is not None]
        shown = {each.sequence: each for each in await self._in_clear(there)}
        return {
            each: (shown[begun.sequence], shown[ended.sequence] if ended else None)
            for each, (begun, ended) in zip(ids, pairs, strict=True)
            if begun
        }

    async def page(
        self, index: str | None, least: int, greatest: int, *, newest_first: bool, limit: int
    ) -> tuple[list[Stored], int | None]:
        """Entries of an index, or of all, whose sequence numbers lie from `least` to `greatest`.

        With them comes the number that was looked at last, to go on from; None where there is nothing more.
        """
        limit = min(limit, _CHUNK)
        keys = [self._key("entries"), self._key("archived"), *([self._key(index)] if index else [])]
        scanned, last, found, archived = await self._page(keys, [least, greatest, int(newest_first), limit])
        old, page = list[Stored](), read_page(found)
        if self._archives and least <= archived and not (newest_first and scanned == limit):
            old = _read(
                await self._archives.page(
                    index, least, min(greatest, archived), newest_first=newest_first, limit=limit
                )
            )
        both = [*page, *old] if newest_first else [*old, *page]
        place: int | None = None
        if scanned + len(old) >= limit:
            from_archive = len(both) > limit or (old and (newest_first or not scanned))
            place = both[:limit][-1].sequence if from_archive else int(last)
        return await self._in_clear(both[:limit]), place

    async def shortest(self, indexes: Sequence[str]) -> str | None:
        """Of these indexes the one with the fewest entries."""
        if len(indexes) < 2:  # noqa: PLR2004  (there is nothing to choose)
            return indexes[0] if indexes else None
        with answers():
            async with self._redis.pipeline(transaction=False) as pipeline:
                for index in indexes:
                    pipeline.llen(self._key(index))
                pipeline.get(self._key("archived"))
                *lengths, archived = await pipeline.execute()
        old = await self._archives.count(indexes, int(archived)) if self._archives and archived else {}
        return min(
            (length + old.get(index, 0), index) for length, index in zip(lengths, indexes, strict=True)
        )[1]

    async def bounds(self, first_second: int, last_second: int) -> tuple[int, int]:
        """The least and the greatest sequence number that an entry of these seconds can have."""
        keys = [self._key(name) for name in ("reached", "left", "archived")]
        least, greatest, archived = map(int, await self._bounds(keys, [first_second, last_second]))
        if self._archives and archived:
            first, last = await self._archives.bounds(first_second, last_second, archived)
            least, greatest = first or least, greatest or last or 0
        return (least, greatest) if least else (1, 0)

    async def archived_between(self, first: int, last: int) -> list[bytes]:
        """The entries from one number to another as they were stored; none where they are not archived."""
        there = self._archives is not None and last <= (await self.count()).archived
        return await self._archives.between(first, last) if self._archives and there else []

    async def count(self) -> Count:
        """How many entries there are and should be."""
        with answers():
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

    async def _with_archived(
        self, ids: Sequence[UUID], pairs: list[tuple[Stored | None, Stored | None]], near: int | None
    ) -> list[tuple[Stored | None, Stored | None]]:
        """What begins an id, and has left the store, with its end, which may not have."""
        lacking = [each for each, (begun, _) in zip(ids, pairs, strict=True) if begun is None]
        if not lacking or self._archives is None:
            return pairs
        with answers():
            archived = int(await self._redis.get(self._key("archived")) or 0)
        old = await self._archives.find(lacking, archived, near) if archived else {}
        return [
            (begun, ended) if begun else _pair(old.get(each, (None, None)), ended)
            for each, (begun, ended) in zip(ids, pairs, strict=True)
        ]

    async def _latest_answer(self) -> int:
        """By the server's clock, when this client will have given up on what it asks next: in microseconds."""
        patience = self._redis.connection_pool.connection_kwargs.get("socket_timeout")
        if patience is None:
            return 0
        with answers():
            seconds, micros = await self._redis.time()
        return int((seconds + patience) * 1_000_000) + micros

    async def _with_outcomes(self, found: Sequence[tuple[int, IntentEntry]]) -> list[Change]:
        known = await self.find([intent.id for _, intent in found], found[0][0] if found else None)
        ended = {each: outcome for each, (_, outcome) in known.items()}
        return [Change(sequence, intent, _outcome(ended.get(intent.id))) for sequence, intent in found]

    async def _open_intents(self, records: Sequence[str]) -> list[IntentEntry]:
        found = await self._in_clear(
            read_page(await self._open([self._key("entries"), self._key("open")], records))
        )
        return [each.entry for each in found if isinstance(each.entry, IntentEntry)]

    async def _in_clear(self, stored: Sequence[Stored]) -> list[Stored]:
        entries = await reveal(self._persons, [each.entry for each in stored])
        return [Stored(each.sequence, entry) for each, entry in zip(stored, entries, strict=True)]

    def _key(self, name: str) -> str:
        return self._prefix + name


def _packed(entry: Entry) -> tuple[str, int, str, list[str], list[str]]:
    own, shared = indexes_of(entry)
    second = max(0, int(entry.at.timestamp()))
    return kind_of(entry), second, encode(entry).decode(), own, shared


def _read(bodies: Sequence[Body]) -> list[Stored]:
    return [read_stored(b"%d" % sequence, body) for sequence, body in bodies]


def _pair(archived: Pair, ended: Stored | None) -> tuple[Stored | None, Stored | None]:
    begun, then = (_read([body])[0] if body else None for body in archived)
    return begun, ended or then


def _outcome(ended: Stored | None) -> OutcomeEntry | None:
    return ended.entry if ended and isinstance(ended.entry, OutcomeEntry) else None
