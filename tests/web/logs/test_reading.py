"""The logs in pages."""

from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest
from litestar import Litestar

from app.logs.layout import prefix_of
from app.logs.store import LogStore
from app.stores.connections import open_redis
from config.log_entries import LEVELS, LogEntry
from tests.web.logs.conftest import LOGS, START, entry
from web.logs.filters import Level


@pytest.fixture
async def kept(store: LogStore) -> list[LogEntry]:
    """Five entries in the store, each of its own kind."""
    made = [
        entry(1, actor="scheduler", fields={"schedule": "nightly"}),
        entry(2, level="ERROR", component="web", event="request.failed", request_id="r-1", trace_id="a" * 32),
        entry(3, level="WARNING", component="worker", event="message.failed", request_id="r-1"),
        entry(4, component="worker", event="record.refused", entity="customers", key="7", level="ERROR"),
        entry(5, component="shop", event="seat.sold", client="operator", fields={"note": "Für Ada"}),
    ]
    await store.append(made)
    return made


async def numbers(reader: httpx.AsyncClient, query: str) -> list[int]:
    answer = await reader.get(f"{LOGS}?{query}")
    assert answer.status_code == 200, answer.text
    return [item["number"] for item in answer.json()["items"]]


async def test_entries_are_listed_whole_and_the_newest_first(reader: httpx.AsyncClient, kept: list[LogEntry]):
    page = (await reader.get(LOGS)).json()

    assert [item["number"] for item in page["items"]] == [5, 4, 3, 2, 1]
    assert page["items"][-1] == {
        "number": 1,
        "process": "core-1:1:0000000a",
        "sequence": 1,
        "time": "2026-01-01T12:01:00Z",
        "level": "INFO",
        "event": "tick.fired",
        "component": "scheduler",
        "actor": "scheduler",
        "fields": {"schedule": "nightly"},
    }
    assert (page["next_cursor"], page["complete"]) == (None, True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("level=WARNING", [4, 3, 2]),
        ("level=DEBUG", [5, 4, 3, 2, 1]),
        ("level=CRITICAL", []),
        ("component=worker", [4, 3]),
        ("event=tick.fired", [1]),
        ("actor=scheduler", [1]),
        ("request_id=r-1", [3, 2]),
        (f"trace_id={'a' * 32}", [2]),
        ("entity=customers&id=7", [4]),
        ("entity=customers&id=8", []),
        ("entity=customers", [4]),
        ("client=operator", [5]),
        ("since=2026-01-01T12:04:00Z", [5, 4]),
        ("since=2026-01-01T13:04:00%2B01:00", [5, 4]),
        ("until=2026-01-01T12:02:00Z", [2, 1]),
        ("since=2026-01-01T12:02:00Z&until=2026-01-01T12:03:00.000Z", [3, 2]),
        ("since=1s", []),
        ("until=1s", [5, 4, 3, 2, 1]),
        ("text=nightly", [1]),
        ("text=F%C3%9CR%20ADA", [5]),
        ("text=schedule:nightly", [1]),
        ("text=component:worker&text=level:ERROR", [4]),
        ("level=WARNING&request_id=r-1&component=worker", [3]),
        ("order=oldest", [1, 2, 3, 4, 5]),
        ("order=oldest&limit=2", [1, 2]),
    ],
)
async def test_a_filter_finds_what_it_names(
    reader: httpx.AsyncClient, kept: list[LogEntry], query: str, found: list[int]
):
    assert await numbers(reader, query) == found


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_how_long_ago_is_meant_from_when_the_first_page_was_asked_for(
    reader: httpx.AsyncClient, store: LogStore, monkeypatch: pytest.MonkeyPatch, order: str
):
    clock = [START]
    for place in ("web.logs.filters.now", "web.logs.reading.now"):
        monkeypatch.setattr(place, lambda: clock[0])
    await store.append(
        [entry(at, time=START - timedelta(minutes=ago)) for at, ago in enumerate((14, 9, 5, 1), 1)]
    )

    seen, query = list[int](), f"order={order}&limit=1&since=15m&until=2m"
    cursor = ""
    while cursor is not None:
        page = (await reader.get(f"{LOGS}?{query}{cursor and f'&cursor={cursor}'}")).json()
        seen += [item["number"] for item in page["items"]]
        cursor = page["next_cursor"]
        clock[0] += timedelta(minutes=10)

    assert seen == ([3, 2, 1] if order == "newest" else [1, 2, 3])


async def test_an_entry_that_cannot_be_read_hides_no_other(
    reader: httpx.AsyncClient, kept: list[LogEntry], logs: SimpleNamespace
):
    prefix = prefix_of(logs.settings.namespace)
    await logs.logs.xadd(f"{prefix}:entries", {"entry": "no json"}, id="6-0")
    await logs.logs.set(f"{prefix}:number", 6)

    page = (await reader.get(LOGS)).json()

    assert ([item["number"] for item in page["items"]], page["unreadable"]) == ([5, 4, 3, 2, 1], 1)


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages_lose_and_repeat_nothing_while_entries_arrive(
    reader: httpx.AsyncClient, kept: list[LogEntry], store: LogStore, order: str
):
    seen, query = list[int](), f"order={order}&limit=2"
    for sequence in range(6, 9):
        page = (await reader.get(f"{LOGS}?{query}")).json()
        seen += [item["number"] for item in page["items"]]
        await store.append([entry(sequence, time=START)])
        query = f"order={order}&limit=2&cursor={page['next_cursor']}"

    assert seen == ([5, 4, 3, 2, 1] if order == "newest" else [1, 2, 3, 4, 5, 6])


async def test_a_page_that_ran_out_of_budget_says_so_and_goes_on(
    reader: httpx.AsyncClient, kept: list[LogEntry], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.logs.store.BUDGET", 1)
    monkeypatch.setattr("app.logs.store._AT_ONCE", 2)

    page = (await reader.get(f"{LOGS}?text=nightly&limit=1")).json()
    assert (page["items"], page["complete"]) == ([], False)
    while not page["complete"]:
        page = (await reader.get(f"{LOGS}?text=nightly&limit=1&cursor={page['next_cursor']}")).json()

    assert [item["number"] for item in page["items"]] == [1]


@pytest.mark.parametrize(
    ("query", "faults"),
    [
        ("level=error&since=yesterday&limit=0&colour=red", {"level", "since", "limit", "colour"}),
        ("since=2026-02-30T00:00:00Z&until=2026-13-01T00:00:00Z", {"since", "until"}),
        ("since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z", {"until"}),
        ("since=0001-01-01T00:00:00%2B14:00", {"since"}),
        ("since=999999d", {"since"}),
        ("since=15m%0A", {"since"}),
        ("since=2026-01-01", {"since"}),
        ("since=2026-01-01T00:00:00", {"since"}),
        ("id=7", {"id"}),
        ("text=&text=ok", {"text/0"}),
        ("text=" + "x" * 201, {"text/0"}),
        ("component=&actor=" + "x" * 501, {"component", "actor"}),
        ("order=random", {"order"}),
        ("cursor=x", {"cursor"}),
        ("event=a%00b", {"event"}),
    ],
)
async def test_every_fault_of_a_query_is_told(reader: httpx.AsyncClient, query: str, faults: set[str]):
    answer = await reader.get(f"{LOGS}?{query}")

    assert answer.status_code == 422, answer.text
    assert {fault["where"] for fault in answer.json()["errors"]} == faults


async def test_at_most_ten_texts_are_looked_for(reader: httpx.AsyncClient):
    answer = await reader.get(f"{LOGS}?{'&'.join(['text=x'] * 11)}")

    assert [fault["where"] for fault in answer.json()["errors"]] == ["text"]


async def test_a_moment_that_is_none_is_told_what_one_looks_like(reader: httpx.AsyncClient):
    [fault] = (await reader.get(f"{LOGS}?since=noon")).json()["errors"]

    assert fault["message"] == "must look like 15m, 2h, 7d, 2026-01-31T12:00:00Z"


async def test_a_cursor_of_the_other_order_is_refused(reader: httpx.AsyncClient, kept: list[LogEntry]):
    cursor = (await reader.get(f"{LOGS}?limit=1")).json()["next_cursor"]

    assert (await reader.get(f"{LOGS}?order=oldest&cursor={cursor}")).status_code == 422


async def test_the_figures_of_the_store_are_told(reader: httpx.AsyncClient, kept: list[LogEntry]):
    stats = (await reader.get(f"{LOGS}/stats")).json()

    assert (stats["entries"], stats["trimmed"], stats["lost"]) == (5, 0, 0)
    assert (stats["oldest"], stats["newest"]) == ("2026-01-01T12:01:00Z", "2026-01-01T12:05:00Z")
    assert stats["memory_bytes"] > 0


def test_every_level_can_be_asked_for():
    assert Level.__args__ == LEVELS


async def test_a_store_that_is_away_takes_and_shows_nothing_and_says_so(
    operator: httpx.AsyncClient, app: Litestar, logs: SimpleNamespace
):
    away = open_redis("redis://127.0.0.1:1/0")
    app.state.stores = SimpleNamespace(logs=away, settings=logs.settings)

    answers = [
        await operator.post(LOGS, json={"entries": [{"event": "seat.sold", "component": "shop"}]}),
        *[await operator.get(f"{LOGS}{path}") for path in ("", "/stats", "/export", "/stream")],
    ]

    assert [answer.status_code for answer in answers] == [503] * 5
    assert all("log store" in answer.json()["detail"] for answer in answers)
    await away.aclose()
