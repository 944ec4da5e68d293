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
from config.log_entries import LogEntry

# Places of an index that one page looks at, and how far a follower may be behind.
BUDGET = 20_000
_AT_ONCE = 500
_SECONDS_BETWEEN_LOOKS = 0.25
SILENT_SECONDS = 15.0


@dataclass
class _Scan:
    """What was found so far: `reached` is the number looked at last, `ended` that nothing lies beyond it."""

    reached: int | None
    scanned: int = 0
    ended: bool = False
    items: list[StoredEntry] = field(default_factory=list)


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
    ) -> LogPage:
        """A page of the entries that meet a filter. Raises InvalidInputError for a bad cursor or limit.

        Pages lose and repeat nothing while entries arrive: what arrives has a greater number than all that was there.
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
            next_cursor=None if ended_at is None else Position(ended_at, newest_first).cursor(),
            complete=scan.ended or len(scan.items) >= limit,
            scanned=scan.scanned,
        )

    async def follow(
        self, wanted: LogFilter, *, after: int | None = None
    ) -> AsyncGenerator[list[StoredEntry] | Missed | Reached, None]:
        """Entries as they arrive, from the one after number `after` on, or from now on; it never ends by itself.

        A Reached comes every 15 seconds in which nothing else does. Whoever is more than 20,000 entries behind,
        or behind what was trimmed, is moved on and told so by a Missed.
        """
        newest, told = await self.last_number(), time.monotonic()
        position = newest if after is None else min(after, newest)
        while True:
            newest = await self.last_number()
            if position < newest:
                if missed := await self._missed(position, newest):
                    position = missed.last
                    yield missed
                scan = await self._read_on(wanted, position, newest)
                position = scan.reached or position
                items = scan.items
            else:
                items = []
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            if items or time.monotonic() - told > SILENT_SECONDS:
                yield items or Reached(position)
                told = time.monotonic()

    async def export(self, wanted: LogFilter) -> AsyncIterator[list[StoredEntry]]:
        """Every entry that meets a filter and has arrived by now, from the oldest on, some hundred at a time."""
        with _asking():
            span = await plan(self._redis, self._prefix, wanted, newest_first=False)
        scan = _Scan(reached=None)
        while not scan.ended:
            scan.items = []
            with _asking():
                await self._go_on(scan, span, wanted, _AT_ONCE)
            if scan.items:
                yield scan.items

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
            first_number=_stored(oldest[0]).number if oldest else None,
            last_number=int(last or 0),
            oldest=_stored(oldest[0]).entry.time if oldest else None,
            newest=_stored(newest[0]).entry.time if newest else None,
            trimmed=int(counters.get("trimmed", 0)),
            trimmed_until=datetime.fromisoformat(until) if until else None,
            lost=int(counters.get("lost", 0)),
            memory_bytes=memory,
        )

    async def _missed(self, position: int, newest: int) -> Missed | None:
        """What lies between a follower and what it can still be shown."""
        with _asking():
            oldest = await self._redis.xrange(f"{self._prefix}:entries", count=1)
        kept_from = _stored(oldest[0]).number if oldest else newest + 1
        from_here = max(kept_from, newest - BUDGET + 1)
        return Missed(position + 1, from_here - 1) if position + 1 < from_here else None

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
        looked_at, last_id, *found = await self._read(
            keys=[span.index, f"{self._prefix}:entries"], args=arguments
        )
        scan.scanned += looked_at
        for item in map(_stored_line, found[::2], found[1::2]):
            if fits(item.entry, wanted):
                if len(scan.items) == limit:
                    return
                scan.items.append(item)
            scan.reached = item.number
        scan.ended = looked_at < count
        if last_id:
            scan.reached = _number(last_id)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        raise StoreUnavailableError("the log store does not answer") from error


def _stored(found: Any) -> StoredEntry:
    entry_id, fields = found
    return _stored_line(entry_id, fields["entry"])


def _stored_line(entry_id: str, line: str) -> StoredEntry:
    return StoredEntry(_number(entry_id), msgspec.json.decode(line, type=LogEntry))


def _number(entry_id: str) -> int:
    return int(entry_id.removesuffix("-0"))
