"""The audit store full of entries: appends beside bare XADD, any page within 50 ms beside bare XRANGE, memory per entry.

Entries are appended as the repair path does it, 500 at a time, four batches at once, every answer durable. Of ten entries
one is a fact, the others are changes: intents with their outcomes. A page of 50 is timed at random places, from the query
to its JSON and, over HTTP, from the request to its answer; ten million entries with `--records 10000000`. Then all of them
are moved to archives, and the pages are timed again.
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from redis.asyncio import Redis

from app.audit.entries import Entry, Fact, Kind, encode
from app.audit.queries import EntryFilter, list_entries
from app.audit.store import AuditStore
from app.audit.views import view
from app.pages import encode_cursor
from app.stores.connections import open_redis, open_stores
from benchmarks.audit_archives import move_all
from benchmarks.audit_entries import ACTORS, ENTITIES, Made
from benchmarks.audit_web import served, web_pages
from benchmarks.figure import Figure, compare
from config.settings import Settings

_BATCH, _AT_ONCE = 500, 4
_LIMIT = 50
_PAGE_GOAL_MS = 50.0
_KINDS = [each for each in Kind if each is not Kind.UNREADABLE]  # it has no index, and there is none
_APPEND_GOAL = 0.2
_MOST_MOVED = 2_000_000

Page = Callable[[], Awaitable[object]]


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Appends, memory, and p50 and p95 of every query; `records` is the number of entries."""
    yield from asyncio.run(
        _measure(settings, records or (20_000 if quick else 1_000_000), 20 if quick else 200)
    )


async def _measure(settings: Settings, number: int, samples: int) -> list[Figure]:
    random.seed(1)
    gc.freeze()  # as the web process does
    async with open_redis(settings.url("audit_url")) as redis:
        audit = AuditStore(redis, settings.namespace)
        made = Made(number)
        figures = [await _appends(redis, audit, made, settings.namespace), await _fill(redis, audit, made)]
        bare = _bare(redis, f"{settings.namespace}:audit:entries", made.count)
        figures += await _timed("index alone", _bare_index(redis, settings.namespace), bare, samples)
        for name, page in _pages(audit, made).items():
            figures += await _timed(name, page, bare, samples)
        async with served(settings) as client:
            for name, page in web_pages(client, made, _LIMIT).items():
                figures += await _timed(name, page, bare, samples)
    # More would take half an hour to move.
    return figures + (await _archived(settings, made, samples) if number <= _MOST_MOVED else [])


async def _archived(settings: Settings, made: Made, samples: int) -> list[Figure]:
    """Pages of what lies in archives; the limit is a bare read of as many entries before they were moved."""
    async with open_stores(settings) as stores:
        audit, key = AuditStore.of(stores), f"{settings.namespace}:audit:entries"
        bare = [await _milliseconds(_bare(stores.audit, key, made.count)) for _ in range(samples)]
        figures = [await move_all(stores)]
        for name, page in _pages(audit, made).items():
            ours = [await _milliseconds(page) for _ in range(samples)]
            figures += _figures(f"{name}, archived", ours, bare)
        return figures


async def _appends(redis: Redis, audit: AuditStore, made: Made, namespace: str) -> Figure:
    """Entries a second, in turn with bare XADDs of the same bytes in as many pipelines of the same size."""
    pairs = []
    for _ in range(3):
        batches = [made.batch(_BATCH) for _ in range(max(_AT_ONCE, min(40, made.number // 10 // _BATCH)))]
        size = sum(map(len, batches))
        ours = await _at_once(batches, audit.append)
        bare = await _at_once(batches, lambda batch: _add(redis, f"{namespace}-bare:audit:entries", batch))
        pairs.append((size / ours, size / bare))
    return compare(
        "audit: appends",
        "entries/s",
        pairs,
        limit_name="bare XADD, same fsync",
        goal=f"ratio >= {_APPEND_GOAL}",
        reached=lambda ratio: ratio >= _APPEND_GOAL,
    )


async def _add(redis: Redis, key: str, batch: Sequence[Entry]) -> None:
    async with redis.pipeline(transaction=False) as pipeline:
        for entry in batch:
            pipeline.xadd(key, {"entry": encode(entry)})
        await pipeline.execute()


async def _at_once(batches: Sequence[list[Entry]], write: Callable[[list[Entry]], Awaitable[Any]]) -> float:
    left = iter(batches)

    async def work() -> None:
        for batch in left:
            await write(batch)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
    return time.perf_counter() - started


async def _fill(redis: Redis, audit: AuditStore, made: Made) -> Figure:
    count, used, length = made.count, await _memory(redis), 0
    while made.count < made.number:
        batches = [made.batch(_BATCH) for _ in range(_AT_ONCE)]
        length += sum(len(encode(entry)) for batch in batches for entry in batch)
        await asyncio.gather(*(audit.append(batch) for batch in batches))
    new = max(1, made.count - count)
    memory, json = (await _memory(redis) - used) / new, length / new
    return Figure(
        f"audit: memory per entry, {made.count:,} of them",
        memory,
        "bytes",
        json,
        "their JSON",
        memory / max(1, json),
    )


async def _memory(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory"])


def _pages(audit: AuditStore, made: Made) -> dict[str, Page]:
    """A page of each common query; what it asks for is drawn anew every time."""

    def of(draw: Callable[[], EntryFilter], limit: int = _LIMIT, *, deep: bool = True) -> Page:
        async def page() -> object:
            cursor = encode_cursor(str(random.randint(1, made.count))) if deep else None
            found = await list_entries(audit, draw(), limit=limit, cursor=cursor)
            return [view(each) for each in found.items]

        return page

    def changes(draw: Callable[[], dict[str, Any]]) -> Page:
        return lambda: audit.changes(**draw(), before=random.randint(1, made.count), limit=_LIMIT)

    def an_hour() -> EntryFilter:
        instant = made.moment()
        return EntryFilter(since=instant, until=instant + timedelta(hours=1))

    def record() -> dict[str, str]:
        return {"entity": random.choice(ENTITIES), "key": random.choice(made.records)}

    return {
        "everything": of(EntryFilter),
        "everything, 1,000 of it": of(EntryFilter, 1000),
        "an hour": of(an_hour, deep=False),
        "a run": of(lambda: EntryFilter(run_id=random.choice(made.runs)), deep=False),
        "a record": of(lambda: EntryFilter(**record()), deep=False),
        "an entity": of(lambda: EntryFilter(entity=random.choice(ENTITIES))),
        "an actor": of(lambda: EntryFilter(actor=random.choice(ACTORS))),
        "a name": of(lambda: EntryFilter(name=random.choice(list(Fact)))),
        "a kind": of(lambda: EntryFilter(kind=random.choice(_KINDS))),
        "a name and an actor": of(
            lambda: EntryFilter(name=random.choice(list(Fact)), actor=random.choice(ACTORS))
        ),
        "facts of an entity, of which there are none": of(
            lambda: EntryFilter(kind=Kind.FACT, entity=random.choice(ENTITIES))
        ),
        "changes": changes(dict),
        "changes of an entity": changes(lambda: {"entity": random.choice(ENTITIES)}),
        "changes of a run": changes(lambda: {"run_id": random.choice(made.runs)}),
        "changes of a record": changes(record),
        "changes of a record, each in another seal": changes(
            lambda: {"entity": ENTITIES[0], "key": made.busy}
        ),
        "a record, each change in another seal": of(lambda: EntryFilter(entity=ENTITIES[0], key=made.busy)),
    }


def _bare(redis: Redis, key: str, count: int) -> Page:
    return lambda: redis.xrevrange(key, max=str(random.randint(1, count)), count=_LIMIT)


def _bare_index(redis: Redis, namespace: str) -> Page:
    """The numbers of a page in one of the longest indexes, without the entries."""
    key = f"{namespace}:audit:by:kind:{Kind.INTENT}"

    async def page() -> object:
        start = random.randrange(await redis.llen(key))
        return await redis.lrange(key, start, start + _LIMIT - 1)

    return page


async def _timed(name: str, page: Page, bare: Page, samples: int) -> list[Figure]:
    """p50 and p95 in milliseconds, in turn with a bare read of as many entries at a random place."""
    ours, limits = [], []
    for _ in range(samples):
        ours.append(await _milliseconds(page))
        limits.append(await _milliseconds(bare))
    return _figures(name, ours, limits)


def _figures(name: str, ours: list[float], limits: list[float]) -> list[Figure]:
    return [_figure(name, part, sorted(ours), sorted(limits)) for part in (50, 95)]


def _figure(name: str, part: int, ours: list[float], limits: list[float]) -> Figure:
    place = min(len(ours) - 1, len(ours) * part // 100)
    goal = {"goal": f"<= {_PAGE_GOAL_MS:.0f} ms", "ok": ours[place] <= _PAGE_GOAL_MS} if part == 95 else {}
    return Figure(
        f"audit: page of {name}, p{part}",
        ours[place],
        "ms",
        limits[place],
        "bare XREVRANGE",
        ours[place] / limits[place],
        **goal,
    )


async def _milliseconds(page: Page) -> float:
    started = time.perf_counter()
    msgspec.json.encode(await page())
    return (time.perf_counter() - started) * 1000
