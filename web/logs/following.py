"""Log entries as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing

import msgspec
from litestar.response import ServerSentEventMessage
from loguru import logger

from app.errors import Fault, InvalidInputError, StoreUnavailableError
from app.logs.queries import LogFilter, Missed, Reached, StoredEntry
from app.logs.store import LogStore
from app.logs.views import line_of

AWAY_SECONDS = 2.0

News = list[StoredEntry] | Missed | Reached
Turn = list[ServerSentEventMessage]
Allowed = Callable[[AsyncGenerator[Turn]], AsyncGenerator[Turn]]


def last_event_id(header: str | None) -> int | None:
    """The number after which a reader goes on; raises InvalidInputError where it is none."""
    if header is None or not header.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,15}", header):
        raise InvalidInputError(
            "the request breaks a rule", [Fault("Last-Event-ID", "is none that this service gave")]
        )
    return int(header)


async def messages(
    store: LogStore, wanted: LogFilter, *, after: int, allowed: Allowed = lambda turns: turns
) -> AsyncIterator[ServerSentEventMessage]:
    """What a reader is told, from the entry after number `after` on; it ends with the reader, or when `allowed` ends it.

    Nothing is buffered: the store is read as fast as the reader takes it. While the store is away the reader waits.
    """
    async with aclosing(allowed(_turns(store, wanted, after))) as turns:
        async for turn in turns:
            for message in turn:
                yield message


async def _turns(store: LogStore, wanted: LogFilter, after: int) -> AsyncGenerator[Turn]:
    """What there is to tell at once, time after time."""
    # An id without data is kept by readers, and tells those where to go on whose connection breaks before an entry.
    yield [ServerSentEventMessage(data=None, id=after, comment="following")]
    reached = after
    while True:
        try:
            async with aclosing(store.follow(wanted, after=reached)) as news:
                async for each in news:
                    yield list(_told(each))
                    reached = _reached(each)
        except StoreUnavailableError as error:
            logger.bind(error=str(error)).warning("store.failed")
            yield [ServerSentEventMessage(data=None, comment="the log store is away")]
            await asyncio.sleep(AWAY_SECONDS)


def _told(news: News) -> Iterator[ServerSentEventMessage]:
    match news:
        case Missed():
            data = msgspec.json.encode({**msgspec.structs.asdict(news), "count": news.count})
            yield ServerSentEventMessage(data=data, event="missed", id=news.last)
        case Reached(number=number):
            yield ServerSentEventMessage(data=None, comment="heartbeat", id=number)
        case entries:
            for each in entries:
                yield ServerSentEventMessage(data=msgspec.json.encode(line_of(each)), id=each.number)


def _reached(news: News) -> int:
    match news:
        case Missed():
            return news.last
        case Reached():
            return news.number
        case entries:
            return entries[-1].number
