"""How a filter is answered: between which numbers, along which one index, in which order."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from redis.asyncio import Redis

from app.logs.layout import bucket_index, level_index, value_index
from app.logs.queries import LogFilter


@dataclass(frozen=True)
class Span:
    """The numbers from `first` to `last` along an index, where `tag` tells what is meant ('' where all of it is)."""

    index: str
    tag: str
    first: int
    last: int
    newest_first: bool

    def after(self, number: int | None) -> tuple[int, int]:
        """The numbers that are left after one, from and to, in the order of reading."""
        if self.newest_first:
            return (self.last if number is None else min(self.last, number - 1)), self.first
        return (self.first if number is None else max(self.first, number + 1)), self.last

    def holds(self, start: int, end: int) -> bool:
        """Whether there can be anything from `start` to `end`."""
        return start >= end if self.newest_first else start <= end


async def plan(redis: Redis, prefix: str, wanted: LogFilter, *, newest_first: bool) -> Span:
    """The shortest index that a filter allows, or all entries where it allows none. May raise RedisError."""
    index, tag = await _shortest(redis, prefix, wanted)
    first, last = 1, int(await redis.get(f"{prefix}:number") or 0)
    if wanted.since is not None or wanted.until is not None:
        first, last = await _numbers_between(redis, prefix, wanted.since, wanted.until)
    return Span(prefix + index, tag, first, last, newest_first)


async def _shortest(redis: Redis, prefix: str, wanted: LogFilter) -> tuple[str, str]:
    indexes = _indexes(wanted)
    if len(indexes) < 2:  # noqa: PLR2004  (nothing to choose from)
        return indexes[0] if indexes else (":entries", "")
    async with redis.pipeline(transaction=False) as pipeline:
        for index, _tag in indexes:
            pipeline.xlen(prefix + index)
        lengths = await pipeline.execute()
    return min(zip(lengths, indexes, strict=True))[1]


def _indexes(wanted: LogFilter) -> list[tuple[str, str]]:
    """Each index that holds everything a filter wants."""
    record = f"{wanted.entity}:{wanted.key}" if wanted.entity and wanted.key else None
    buckets = {
        "component": wanted.component,
        "event": wanted.event,
        "actor": wanted.actor,
        "request": wanted.request_id,
        "trace": wanted.trace_id,
        "record": record,
    }
    level = level_index(wanted.level_min) if wanted.level_min else None
    return [
        *([level] if level else []),
        *([value_index("client", wanted.client)] if wanted.client is not None else []),
        *(bucket_index(name, value) for name, value in buckets.items() if value is not None),
    ]


async def _numbers_between(
    redis: Redis, prefix: str, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    """Numbers between which everything lies that happened between two instants; (1, 0) where there is nothing."""
    low, high = _minute(since, otherwise=""), _minute(until, otherwise="~")
    days = await _table(redis, f"{prefix}:days")
    spans = [span for day, span in days.items() if low[:10] < day < high[:10]]
    for day in {low[:10], high[:10]} & days.keys():
        minutes = await _table(redis, f"{prefix}:minutes:{day}")
        spans += [span for minute, span in minutes.items() if low <= f"{day}T{minute}" <= high]
    return _around(spans)


async def _table(redis: Redis, key: str) -> dict[str, str]:
    return {str(name): str(value) for name, value in (await redis.hgetall(key)).items()}


def _minute(instant: datetime | None, *, otherwise: str) -> str:
    return instant.astimezone(UTC).isoformat()[: len("2026-01-01T00:00")] if instant else otherwise


def _around(spans: Iterable[str]) -> tuple[int, int]:
    numbers = [[int(number) for number in span.split()] for span in spans]
    return min((first for first, _ in numbers), default=1), max((last for _, last in numbers), default=0)
