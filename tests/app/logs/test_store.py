"""The log store, against a real server."""

import asyncio
import random
from datetime import timedelta

import pytest

from app.errors import StoreUnavailableError
from app.logs import store as module
from app.logs.layout import APPEND, READ, bucket_index, prefix_of
from app.logs.queries import LogFilter, Missed, Reached
from app.logs.store import LogStore
from app.stores.connections import Stores, open_redis
from config.log_entries import LogEntry
from tests.app.logs.entries import NOON, entries, entry


async def numbers(store: LogStore, limit: int = 1000, *, newest_first: bool = False, **wanted) -> list[int]:
    page = await store.query(LogFilter(**wanted), newest_first=newest_first, limit=limit)
    return [each.number for each in page.items]


async def all_pages(store: LogStore, wanted: LogFilter, *, newest_first: bool, limit: int) -> list[int]:
    found, cursor = [], None
    while True:
        page = await store.query(wanted, newest_first=newest_first, cursor=cursor, limit=limit)
        found += [each.number for each in page.items]
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_entries_are_numbered_in_the_order_of_their_arrival_whatever_their_time(
    store: LogStore,
) -> None:
    late, early = entry(1, time=NOON + timedelta(hours=1)), entry(2, time=NOON)
    assert await store.append([late]) == 1
    assert await store.append([early]) == 1
    page = await store.query(LogFilter(), newest_first=False)
    assert [(each.number, each.entry) for each in page.items] == [(1, late), (2, early)]


async def test_what_is_shipped_again_is_kept_once(store: LogStore) -> None:
    assert await store.append(entries(3)) == 3
    assert await store.append(entries(5)) == 2
    other = entry(1, process="here:2:11111111")
    assert await store.append([other, other]) == 1
    assert await numbers(store) == [1, 2, 3, 4, 5, 6]
    assert (await store.stats()).lost == 0


async def test_what_a_process_numbered_and_never_shipped_is_counted_as_lost(store: LogStore) -> None:
    await store.append([entry(3), entry(4), entry(9)])
    await store.append([entry(9), entry(11)])
    assert (await store.stats()).lost == 2 + 4 + 1


async def test_a_line_that_cannot_be_read_is_passed_over_and_counted_as_lost(
    stores: Stores, store: LogStore
) -> None:
    lines = ['{"process": "p", "sequence": 1', "7", '{"process":"p","sequence":2}']
    whole = '{"process":"p","sequence":4,"time":"2026-01-01T00:00:00Z","level":"INFO","event":"a.b","component":"web"}'
    assert (
        await stores.logs.eval(APPEND, 1, f"{stores.settings.namespace}:logs", "\n".join([*lines, whole]))
        == 1
    )
    assert await numbers(store) == [1]
    assert (await store.stats()).lost == 3


@pytest.mark.parametrize("damage", ['"level":7', '"actor":7', '"client":{}', '"request_id":[]', '"key":true'])
async def test_a_line_with_something_else_where_a_text_should_be_breaks_nothing(
    stores: Stores, store: LogStore, damage: str
) -> None:
    sane = '"process":"p","time":"2026-01-01T00:00:00Z","event":"a.b","component":"web"'
    lines = [f'{{{sane},"sequence":1,"level":"INFO",{damage}}}', f'{{{sane},"sequence":2,"level":"INFO"}}']
    await stores.logs.eval(APPEND, 1, f"{stores.settings.namespace}:logs", "\n".join(lines))
    assert await numbers(store) == [1]
    assert await store.append([entry(1)]) == 1


async def test_entries_of_an_api_client_bear_its_name_and_are_never_taken_for_repeated(
    store: LogStore,
) -> None:
    sent = entry(1, client="somebody else", process="here:1:00000000", component="shop")
    assert await store.append_from("shop", [sent, sent]) == 2
    assert await store.append([entry(1)]) == 1
    page = await store.query(LogFilter(client="shop"))
    assert [each.number for each in page.items] == [2, 1]
    assert {(each.entry.client, each.entry.process) for each in page.items} == {("shop", "client:shop")}
    assert (await store.stats()).lost == 0


@pytest.mark.parametrize(
    "wanted",
    [
        {"component": "worker"},
        {"event": "run.ended"},
        {"actor": "operator"},
        {"request_id": "r-7"},
        {"trace_id": "a" * 32},
        {"entity": "customers", "key": "7"},
        {"level_min": "ERROR"},
        {"level_min": "WARNING", "component": "worker"},
        {"text": ("launch 7",)},
        {"since": NOON + timedelta(seconds=7), "until": NOON + timedelta(seconds=7)},
    ],
)
async def test_an_entry_is_found_by_what_it_bears(store: LogStore, wanted: dict) -> None:
    marked = entry(
        7, component="worker", event="run.ended", actor="operator", request_id="r-7", trace_id="a" * 32,
        entity="customers", key="7", level="ERROR", fields={"of": "Launch 7"},
    )  # fmt: skip
    many = [marked if each.sequence == 7 else each for each in entries(20, actor="somebody", request_id="r")]
    await store.append(many)
    for newest_first in (True, False):
        assert await numbers(store, newest_first=newest_first, **wanted) == [7]


async def test_levels_are_found_from_the_least_one_on(store: LogStore) -> None:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    await store.append([entry(at, level=level) for at, level in enumerate(levels, 1)])
    for at, level in enumerate(levels, 1):
        assert await numbers(store, level_min=level) == list(range(at, 6))


async def test_a_query_looks_only_along_the_shortest_index(store: LogStore) -> None:
    many = [
        entry(at, component="worker", event="run.ended" if at % 100 == 0 else "run.moved")
        for at in range(1, 1001)
    ]
    await store.append(many)
    page = await store.query(LogFilter(component="worker", event="run.ended"), limit=100)
    assert (len(page.items), page.scanned, page.next_cursor) == (10, 10, None)


async def test_values_that_share_a_bucket_are_told_apart_before_their_entries_are_read(
    stores: Stores, store: LogStore
) -> None:
    await store.append([entry(at, request_id=f"r-{at % 5000}") for at in range(1, 10_001)])
    page = await store.query(LogFilter(request_id="r-77"))
    assert [each.number for each in page.items] == [5077, 77]
    prefix = prefix_of(stores.settings.namespace)
    index, tag = bucket_index("request", "r-77")
    looked_at, _last, _oldest, *found = await stores.logs.eval(
        READ, 2, prefix + index, f"{prefix}:entries", "XRANGE", "-", "+", 1000, tag
    )
    assert 2 < looked_at == page.scanned < 100
    assert found[::2] == ["77-0", "5077-0"]


async def test_a_time_range_is_met_to_the_instant_also_by_entries_that_came_late(store: LogStore) -> None:
    times = [NOON + timedelta(minutes=minute) for minute in range(0, 60 * 24 * 4, 97)]
    random.Random(7).shuffle(times)
    made = [entry(at, time=time) for at, time in enumerate(times, 1)]
    for start in range(0, len(made), 7):
        await store.append(made[start : start + 7])
    for since, until in (
        (NOON + timedelta(hours=5), None),
        (None, NOON + timedelta(hours=50)),
        (NOON + timedelta(hours=5), NOON + timedelta(hours=6)),
        (NOON + timedelta(hours=5), NOON + timedelta(hours=80)),
        (NOON + timedelta(days=30), None),
        (None, NOON - timedelta(days=1)),
    ):
        expected = [
            at
            for at, time in enumerate(times, 1)
            if (since is None or time >= since) and (until is None or time <= until)
        ]
        assert await numbers(store, since=since, until=until) == expected


async def test_a_time_range_bounds_what_is_looked_at(store: LogStore) -> None:
    await store.append([entry(at, time=NOON + timedelta(minutes=at)) for at in range(1, 1001)])
    page = await store.query(
        LogFilter(since=NOON + timedelta(minutes=500), until=NOON + timedelta(minutes=509))
    )
    assert (len(page.items), page.scanned) == (10, 10)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("wanted", [LogFilter(), LogFilter(component="worker"), LogFilter(text=("odd",))])
async def test_pages_lose_and_repeat_nothing_while_writers_write_and_times_tie(
    store: LogStore, wanted: LogFilter, newest_first: bool
) -> None:
    def made(process: str, sequence: int) -> LogEntry:
        return entry(
            sequence, process=process, time=NOON, component="worker" if sequence % 3 else "web",
            fields={"is": "odd" if sequence % 2 else "even"},
        )  # fmt: skip

    async def write(process: str) -> None:
        for start in range(1, 601, 7):
            await store.append([made(process, sequence) for sequence in range(start, start + 7)])
            await asyncio.sleep(0)

    await store.append([made("first", sequence) for sequence in range(1, 301)])
    before = await numbers(store, component=wanted.component, text=wanted.text)
    writing = asyncio.gather(*(write(f"writer {each}") for each in range(3)))
    found = await all_pages(store, wanted, newest_first=newest_first, limit=11)
    await writing
    assert found == sorted(set(found), reverse=newest_first)
    assert set(before) <= set(found)
    if newest_first:
        after = await all_pages(store, wanted, newest_first=True, limit=1000)
        assert found == [number for number in after if number <= found[0]]


async def test_a_page_of_exactly_what_is_left_is_the_last_one(store: LogStore) -> None:
    await store.append(entries(10))
    first = await store.query(LogFilter(), limit=5)
    second = await store.query(LogFilter(), limit=5, cursor=first.next_cursor)
    assert [each.number for each in second.items] == [5, 4, 3, 2, 1]
    assert second.next_cursor is None
    assert second.complete


async def test_a_search_stops_at_its_budget_says_so_and_goes_on_with_the_cursor(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 1000)
    for start in range(0, 2500, 500):
        await store.append([entry(start + at, fields={"at": f"no. {start + at}"}) for at in range(1, 501)])
    page = await store.query(LogFilter(text=("no. 42",)), limit=5000 // 5)
    cursors = 0
    found = [each.number for each in page.items]
    while page.next_cursor:
        assert not page.complete
        assert page.scanned <= 1000 + 500 + 1
        page = await store.query(LogFilter(text=("no. 42",)), cursor=page.next_cursor, limit=1000)
        found += [each.number for each in page.items]
        cursors += 1
    assert cursors == 2
    assert found == [*range(429, 419, -1), 42]


async def test_an_export_holds_everything_that_was_there_when_it_began(store: LogStore) -> None:
    for start in range(0, 2000, 500):
        await store.append(
            [entry(start + at, component="worker" if at % 2 else "web") for at in range(1, 501)]
        )
    exported = []
    async for some in store.export(LogFilter(component="web")):
        await store.append([entry(2001 + len(exported), component="web")])
        assert len(some) <= 500
        exported += [each.number for each in some]
    assert exported == list(range(2, 2001, 2))


async def test_a_follower_is_shown_what_arrives_from_its_place_on(store: LogStore) -> None:
    await store.append(entries(10))
    following = store.follow(LogFilter(component="web"), after=7)
    assert [each.number for each in await anext(following)] == [8, 9, 10]
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.05)
    await store.append([entry(11), entry(12, component="worker"), entry(13)])
    assert [each.number for each in await waiting] == [11, 13]
    await following.aclose()


async def test_a_follower_without_a_place_begins_now(store: LogStore) -> None:
    await store.append(entries(3))
    following = store.follow(LogFilter())
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.1)
    await store.append([entry(4)])
    assert [each.number for each in await waiting] == [4]
    await following.aclose()


async def test_a_follower_hears_something_also_when_nothing_happens(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 0.1)
    following = store.follow(LogFilter())
    assert await anext(following) == Reached(await store.last_number())
    await following.aclose()


async def test_a_follower_that_is_too_far_behind_is_told_what_it_missed(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUDGET", 20)
    await store.append(entries(100))
    following = store.follow(LogFilter(), after=30)
    assert await anext(following) == Missed(31, 80, "behind")
    assert [each.number for each in await anext(following)] == list(range(81, 101))
    await following.aclose()


async def test_a_follower_beyond_the_end_of_a_store_that_was_set_back_is_shown_what_comes(
    store: LogStore,
) -> None:
    await store.append(entries(3))
    following = store.follow(LogFilter(), after=500)
    waiting = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.1)
    await store.append([entry(4)])
    assert [each.number for each in await waiting] == [4]
    await following.aclose()


async def test_names_that_clients_choose_make_no_keys_without_end(stores: Stores, store: LogStore) -> None:
    number = 6000
    for start in range(0, number, 500):
        await store.append_from(
            "shop",
            [
                entry(
                    1, event=f"e.n{at}", component=f"c{at}", actor=f"a{at}", request_id=f"r{at}", entity="e",
                    key=f"{at}", trace_id=f"{at:032x}",
                )
                for at in range(start, start + 500)
            ],
        )  # fmt: skip
    prefix = prefix_of(stores.settings.namespace)
    assert await stores.logs.scard(f"{prefix}:indexes") <= 6 * 1024 + 1
    for wanted in (LogFilter(event="e.n77"), LogFilter(component="c77")):
        page = await store.query(wanted)
        assert [each.entry.event for each in page.items] == ["e.n77"]
        assert page.scanned < 100


async def test_an_empty_store_answers(store: LogStore) -> None:
    assert await numbers(store) == []
    assert await numbers(store, component="web", since=NOON) == []
    stats = await store.stats()
    assert (stats.entries, stats.first_number, stats.last_number, stats.trimmed) == (0, None, 0, 0)
    assert [some async for some in store.export(LogFilter())] == []


async def test_a_store_that_is_away_is_named() -> None:
    async with open_redis("redis://127.0.0.1:1/0") as redis:
        away = LogStore(redis, "t")
        for call in (away.query(LogFilter()), away.append([entry()]), away.stats(), away.last_number()):
            with pytest.raises(StoreUnavailableError, match="log store"):
                await call
