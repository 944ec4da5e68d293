"""What the log store holds no longer, or cannot be read: it breaks nothing, and is told."""

import pytest

from app.logs import layout
from app.logs import store as module
from app.logs.layout import APPEND, prefix_of
from app.logs.queries import LogFilter, Missed
from app.logs.store import LogStore
from app.stores.connections import Stores
from tests.app.logs.entries import NOON, entries, entry


async def put(stores: Stores, *lines: str | bytes) -> None:
    """Put lines into the store as they are, as if they had passed for entries."""
    prefix = prefix_of(stores.settings.namespace)
    for line in lines:
        number = await stores.logs.incr(f"{prefix}:number")
        await stores.logs.xadd(f"{prefix}:entries", {"entry": line}, id=f"{number}-0")


ODD = (
    "no json",
    "[]",
    '{"process":"p","sequence":1}',
    '{"process":"p","sequence":1,"time":"2026-01-01T00:00:00Z","level":"LOUD","event":"a.b","component":"c"}',
    '{"process":"p","sequence":1,"time":"2026-01-01T00:00:00","level":"INFO","event":"a.b","component":"c"}',
    "[" * 100_000,
)


async def test_what_cannot_be_read_breaks_nothing_and_is_counted(stores: Stores, store: LogStore) -> None:
    await store.append(entries(2))
    await put(stores, *ODD)
    await store.append([entry(3)])
    for newest_first in (True, False):
        page = await store.query(LogFilter(level_min="DEBUG", since=NOON), newest_first=newest_first)
        assert sorted(each.number for each in page.items) == [1, 2, 9]
        assert page.unreadable == len(ODD)
    unreadable = [Missed(at, at, "unreadable") for at in range(3, 9)]
    exported = [some async for some in store.export(LogFilter())]
    assert [each for each in exported if isinstance(each, Missed)] == unreadable
    following = store.follow(LogFilter(), after=1)
    told = [await anext(following) for _ in range(8)]
    await following.aclose()
    assert [some if isinstance(some, Missed) else some[0].number for some in told] == [2, *unreadable, 9]


async def test_an_odd_line_at_either_end_breaks_no_figures(stores: Stores, store: LogStore) -> None:
    await put(stores, "no json")
    await store.append([entry(1)])
    await put(stores, "no json")
    stats = await store.stats()
    assert (stats.entries, stats.first_number, stats.last_number, stats.oldest) == (3, 1, 3, None)


async def test_bytes_that_are_no_text_spoil_their_own_characters_only(
    stores: Stores, store: LogStore
) -> None:
    line = b'{"process":"p","sequence":1,"time":"2026-01-01T00:00:00Z","level":"INFO","event":"a.\xff","component":"web"}'
    await stores.logs.eval(APPEND, 1, prefix_of(stores.settings.namespace), line)
    page = await store.query(LogFilter())
    assert [each.entry.event for each in page.items] == ["a.\ufffd"]


async def trim(stores: Stores, last: int) -> None:
    await stores.logs.eval(layout.TRIM, 1, prefix_of(stores.settings.namespace), last)


@pytest.mark.parametrize("wanted", [LogFilter(), LogFilter(component="web")])
async def test_an_export_tells_what_was_trimmed_before_it_was_read(
    stores: Stores, store: LogStore, monkeypatch: pytest.MonkeyPatch, wanted: LogFilter
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    await store.append(entries(50))
    await trim(stores, 5)  # before it begins: none of its business
    shown, missed = [], []
    async for some in store.export(wanted):
        if isinstance(some, Missed):
            missed.append(some)
        else:
            shown += [each.number for each in some]
            await trim(stores, 12 if len(shown) == 10 else 33)  # at first what was read, then more
    assert shown == [*range(6, 26), *range(34, 51)]
    assert missed == [Missed(26, 33, "trimmed")]


async def test_an_export_of_what_was_trimmed_as_a_whole_tells_so(
    stores: Stores, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 10)
    await store.append(entries(50))
    exporting = store.export(LogFilter())
    await anext(exporting)
    await trim(stores, 50)
    assert [some async for some in exporting] == [Missed(11, 50, "trimmed")]
    assert [some async for some in store.export(LogFilter())] == []


async def test_a_follower_is_told_what_was_trimmed_before_it_came(stores: Stores, store: LogStore) -> None:
    await store.append(entries(20))
    following = store.follow(LogFilter(), after=3)
    await trim(stores, 12)
    assert await anext(following) == Missed(4, 12, "trimmed")
    assert [each.number for each in await anext(following)] == list(range(13, 21))
    await following.aclose()
