"""The logs as a stream of events."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from litestar.response import ServerSentEventMessage

from app.errors import InvalidInputError
from app.logs.queries import LogFilter
from app.logs.store import LogStore
from tests.web.logs.conftest import LOGS, away, entry
from web.logs import following
from web.logs.following import last_event_id, messages

EVERYTHING = LogFilter()


async def told(stream: AsyncIterator[ServerSentEventMessage]) -> tuple[Any, Any, Any]:
    """The next message: its id, its event or comment, and its data."""
    message = await asyncio.wait_for(anext(stream), timeout=20)
    return message.id, message.event or message.comment, json.loads(message.data) if message.data else None


async def test_a_reader_is_told_where_it_begins_then_every_entry_that_fits(store: LogStore):
    await store.append([entry(1)])
    async with aclosing(messages(store, LogFilter(level_min="ERROR"), after=1)) as stream:
        assert await told(stream) == (1, "following", None)
        await store.append([entry(2), entry(3, level="ERROR"), entry(4), entry(5, level="CRITICAL")])

        number, event, data = await told(stream)
        assert (number, event, data["number"], data["level"]) == (3, None, 3, "ERROR")
        assert (await told(stream))[0] == 5


async def test_a_reader_that_comes_back_goes_on_after_the_entry_it_saw_last(store: LogStore):
    await store.append([entry(number) for number in range(1, 6)])
    async with aclosing(messages(store, EVERYTHING, after=3)) as stream:
        assert [(await told(stream))[0] for _ in range(3)] == [3, 4, 5]


async def test_a_reader_that_is_too_slow_is_told_what_it_missed(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.logs.store.BUDGET", 10)
    async with aclosing(messages(store, EVERYTHING, after=0)) as stream:
        await told(stream)
        await store.append([entry(number) for number in range(1, 31)])

        assert await told(stream) == (20, "missed", {"first": 1, "last": 20, "reason": "behind", "count": 20})
        assert [(await told(stream))[0] for _ in range(10)] == list(range(21, 31))


async def test_in_silence_a_comment_tells_that_the_stream_lives_and_how_far_it_looked(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.logs.store.SILENT_SECONDS", 0.1)
    await store.append([entry(number) for number in range(1, 6)])
    async with aclosing(messages(store, LogFilter(level_min="ERROR"), after=0)) as stream:
        await told(stream)

        assert await told(stream) == (5, "heartbeat", None)


async def test_while_the_store_is_away_a_reader_waits_and_then_misses_nothing(
    store: LogStore, logs: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(following, "AWAY_SECONDS", 0.05)
    async with aclosing(messages(store, EVERYTHING, after=0)) as stream:
        await told(stream)
        await store.append([entry(1)])
        assert (await told(stream))[0] == 1
        async with away(logs):
            assert (await told(stream))[1] == "the log store is away"
        await store.append([entry(2)])

        while (news := await told(stream))[0] is None:
            assert news[1] == "the log store is away"
        assert news[0] == 2


@pytest.mark.parametrize(("header", "number"), [(None, None), ("", None), ("0", 0), ("17", 17)])
def test_a_reader_names_the_entry_it_saw_last(header: str | None, number: int | None):
    assert last_event_id(header) == number


@pytest.mark.parametrize("header", ["x", "-1", "1.5", "²", "9" * 16, "1\n"])
def test_an_id_that_nobody_gave_is_refused(header: str):
    with pytest.raises(InvalidInputError):
        last_event_id(header)


async def test_a_stream_of_faulty_filters_is_refused_before_it_begins(reader: httpx.AsyncClient):
    for path in ("stream", "export"):
        answer = await reader.get(f"{LOGS}/{path}?level=loud&since=noon")
        assert answer.status_code == 422
        assert {fault["where"] for fault in answer.json()["errors"]} == {"level", "since"}
    answer = await reader.get(f"{LOGS}/stream", headers={"Last-Event-ID": "x"})
    assert [fault["where"] for fault in answer.json()["errors"]] == ["Last-Event-ID"]
