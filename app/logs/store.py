"""The log store: in Redis, in the order of arrival, with one index per common filter; `app.logs.layout` says how."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.clock import now
from app.errors import StoreUnavailableError
from app.logs import layout
from app.logs.planning import Span, plan
from app.logs.queries import (
    LogFilter,
    LogPage,
    LogStats,
    Missed,
    Position,
    Reached,
    StoredEntry,
    fits,
    read_cursor,
)
from app.pages import LIMIT_DEFAULT, check_limit
from config.log_entries import LEVELS, LogEntry

# Places of an index that one page looks at, and how far a follower may be behind.
BUDGET = 20_000
_AT_ONCE = 500
_DECODER = msgspec.json.Decoder(LogEntry)
_SECONDS_BETWEEN_LOOKS = 0.25
SILENT_SECONDS = 15.0


@dataclass
class _Scan:
    """What was found so far: `reached` is the number looked at last, `ended` that nothing lies beyond it.

    `trimmed` is what the last look, from the oldest on, came too late for.
    """

    reached: int | None
    scanned: int = 0
    ended: bool = False
    items: list[StoredEntry] = field(default_factory=list)
    unreadable: list[Missed] = field(default_factory=list)
    trimmed: Missed | None = None

    def take(self, found: Sequence[str], wanted: LogFilter, limit: int) -> bool:
        """Take ids and lines in turn; answers False, and stops, before one that goes beyond the limit."""
        for number, line in zip(map(_number, found[::2]), found[1::2], strict=True):
            entry = _readable(line)
            if entry is None:
                self.unreadable.append(Missed(number, number, "unreadable"))
            elif fits(entry, wanted):
                if len(self.items) == limit:
                    return False
                self.items.append(StoredEntry(number, entry))
            self.reached = number
        return True

    def told(self) -> Iterator[list[StoredEntry] | Missed]:
        """What was found and what was not, each in its place; none of it is found another time."""
        if self.trimmed:
            yield self.trimmed
        for missed in self.unreadable:
            if before := [each for each in self.items if each.number < missed.first]:
                yield before
            yield missed
            del self.items[: len(before)]
        if self.items:
            yield self.items
        self.items, self.unreadable, self.trimmed = [], [], None


class LogStore:
    """Appends to and reads from the log store. Every method raises StoreUnavailableError when it is away."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = layout.prefix_of(namespace)
        self._append = redis.register_script(layout.APPEND)
        self._read = redis.register_script(layout.READ)
        self._memory = redis.register_script(layout.MEMORY)

    async def append(self, entries: Sequence[LogEntry]) -> int:
        """Append entries of our processes, all or none, each once however often it is sent; answers how many were new.

        Those of one process come in the order of their sequence.
        """
        if not entries:
            return 0
        block = b"\n".join(map(msgspec.json.encode, entries))
        with _asking():
            return int(await self._append(keys=[self._prefix], args=[block]))

    async def append_from(self, client: str, entries: Sequence[LogEntry]) -> int:
        """Append entries that an API client sent, all or none; answers how many.

        Whatever they say of `client`, `process` and `sequence`, it is set here: the store's own number orders them.
        """
        sent = {"client": client, "process": f"client:{client}", "sequence": 0}
        return await self.append(
            [msgspec.structs.replace(each, time=each.time.astimezone(UTC), **sent) for each in entries]
        )

    async def query(
        self,
        wanted: LogFilter,
        *,
        newest_first: bool = True,
        cursor: str | None = None,
        limit: int = LIMIT_DEFAULT,
        asked_at: datetime | None = None,
    ) -> LogPage:
        """A page of the entries that meet a filter. Raises InvalidInputError for a bad cursor or limit.

        Pages lose and repeat nothing while entries arrive: what arrives has a greater number than all that was there.
        `asked_at` (now) goes into the cursor, for whoever has to know when the first page was asked for.
        """
        check_limit(limit)
        scan = _Scan(reached=read_cursor(cursor, newest_first=newest_first))
        with _asking():
            span = await plan(self._redis, self._prefix, wanted, newest_first=newest_first)
            while not scan.ended and len(scan.items) < limit and scan.scanned < BUDGET:
                await self._go_on(scan, span, wanted, limit)
        ended_at = None if scan.ended else scan.reached
        return LogPage(
            items=scan.items,
            next_cursor=None
            if ended_at is None
            else Position(ended_at, newest_first, asked_at or now()).cursor(),
            complete=scan.ended or len(scan.items) >= limit,
            scanned=scan.scanned,
            unreadable=len(scan.unreadable),
        )

    async def follow(
        self, wanted: LogFilter, *, after: int | None = None
    ) -> AsyncGenerator[list[StoredEntry] | Missed | Reached, None]:
        """Entries as they arrive, from the one after number `after` on, or from now on; it never ends by itself.

        A Reached comes every 15 seconds in which nothing else does. Whoever is more than 20,000 entries behind,
        or behind what was trimmed, is moved on and told so by a Missed; so is whoever meets an entry that cannot be read.
        """
        newest, told = await self.last_number(), time.monotonic()
        position = newest if after is None else min(after, newest)
        while True:
            newest, news = await self.last_number(), list[list[StoredEntry] | Missed]()
            if position < newest - BUDGET:
                news = [Missed(position + 1, newest - BUDGET, "behind")]
                position = newest - BUDGET
            elif position < newest:
                scan = await self._read_on(wanted, position, newest)
                position, news = scan.reached or position, list(scan.told())
            else:
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if news or time.monotonic() - told > SILENT_SECONDS:
                told = time.monotonic()
                for each in news:
                    yield each
                if not news:
                    yield Reached(position)

    async def export(self, wanted: LogFilter) -> AsyncIterator[list[StoredEntry] | Missed]:
        """Every entry that meets a filter and has arrived by now, from the oldest on, some hundred at a time.

        A Missed tells what was trimmed before it could be read, of every kind, and what cannot be read.
        """
        with _asking():
            span = await plan(self._redis, self._prefix, wanted, newest_first=False)
            oldest = await self._redis.xrange(f"{self._prefix}:entries", count=1)
        # What was trimmed before is none of its business.
        scan = _Scan(reached=_number(str(oldest[0][0])) - 1 if oldest else span.last)
        while not scan.ended:
            with _asking():
                await self._go_on(scan, span, wanted, _AT_ONCE)
            for each in scan.told():
                yield each

    async def last_number(self) -> int:
        """The number of the entry that arrived last; 0 where there has been none."""
        with _asking():
            return int(await self._redis.get(f"{self._prefix}:number") or 0)

    async def stats(self) -> LogStats:
        """What the store holds and what it does not hold any more."""
        entries = f"{self._prefix}:entries"
        with _asking():
            async with self._redis.pipeline(transaction=True) as pipeline:
                pipeline.xlen(entries)
                pipeline.xrange(entries, count=1)
                pipeline.xrevrange(entries, count=1)
                pipeline.get(f"{self._prefix}:number")
                pipeline.hgetall(f"{self._prefix}:counters")
                kept, oldest, newest, last, counters = await pipeline.execute()
            memory = int(await self._memory(keys=[self._prefix]))
        until = counters.get("trimmed_until")
        return LogStats(
            entries=kept,
            first_number=_number(oldest[0][0]) if oldest else None,
            last_number=int(last or 0),
            oldest=_time_of(oldest),
            newest=_time_of(newest),
            trimmed=int(counters.get("trimmed", 0)),
            trimmed_until=datetime.fromisoformat(until) if until else None,
            lost=int(counters.get("lost", 0)),
            memory_bytes=memory,
        )

    async def _read_on(self, wanted: LogFilter, position: int, newest: int) -> _Scan:
        span = Span(f"{self._prefix}:entries", "", 1, newest, newest_first=False)
        scan = _Scan(reached=position)
        with _asking():
            await self._go_on(scan, span, wanted, _AT_ONCE)
        return scan

    async def _go_on(self, scan: _Scan, span: Span, wanted: LogFilter, limit: int) -> None:
        """Look at some more places, for up to `limit` items in all."""
        start, end = span.after(scan.reached)
        if not span.holds(start, end):
            scan.ended = True
            return
        # One more than a page holds tells whether there is another.
        count = limit + 1 if scan.scanned == 0 else _AT_ONCE
        command = "XREVRANGE" if span.newest_first else "XRANGE"
        arguments: list[str | int] = [command, f"{start}-0", f"{end}-0", count, span.tag]
        looked_at, last_id, oldest_id, *found = await self._read(
            keys=[span.index, f"{self._prefix}:entries"], args=arguments
        )
        scan.scanned += looked_at
        if not scan.take(found, wanted, limit):
            return
        scan.ended = looked_at < count
        if last_id:
            scan.reached = _number(last_id)
        kept_from = _number(oldest_id) if oldest_id else end + 1
        if not span.newest_first and start < kept_from:
            scan.trimmed = Missed(start, min(kept_from - 1, end), "trimmed")
            scan.reached = max(scan.reached or 0, scan.trimmed.last)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreUnavailableError("the log store does not answer") from error


def _readable(line: str) -> LogEntry | None:
    """The entry of a line; None where it is none, for the store takes what looks like one."""
    try:
        entry = _DECODER.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return None
    return entry if entry.level in LEVELS else None


def _time_of(found: Any) -> datetime | None:
    """When the one entry that was found happened."""
    entry = _readable(found[0][1].get("entry", "")) if found else None
    return entry.time if entry else None


def _number(entry_id: str) -> int:
    return int(entry_id.partition("-")[0])
