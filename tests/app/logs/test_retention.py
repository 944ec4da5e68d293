"""What the log store gives up: the oldest, counted, and nothing of them stays in the indexes."""

from datetime import timedelta

import pytest

from app.logs import retention
from app.logs.queries import LogFilter
from app.logs.store import LogStore
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.logs.entries import NOON, entry


def keeping(stores: Stores, **settings: int) -> Stores:
    chosen = Settings(**stores.settings.model_dump() | settings)
    return Stores(
        chosen, stores.core, stores.admin, stores.customer, stores.audit, stores.logs, stores.broker
    )


async def fill(store: LogStore, number: int) -> None:
    for start in range(0, number, 500):
        await store.append(
            [
                entry(
                    at, time=NOON + timedelta(minutes=at), request_id=f"r-{at}", level="WARNING",
                    fields={"text": "x" * 400}, entity="customers", key=str(at),
                )
                for at in range(start + 1, min(start + 500, number) + 1)
            ]
        )  # fmt: skip


async def test_what_arrived_too_long_ago_is_trimmed_counted_and_told(stores: Stores, store: LogStore) -> None:
    await fill(store, 100)
    hours = f"{stores.settings.namespace}:logs:hours"
    ((hour, last),) = (await stores.logs.hgetall(hours)).items()
    await stores.logs.delete(hours)
    await stores.logs.hset(hours, mapping={int(hour) - 24 * 30 - 1: 60, int(hour) - 24 * 30: 80, hour: last})

    assert await retention.trim(stores) == 60

    stats = await store.stats()
    assert (stats.entries, stats.first_number, stats.last_number, stats.trimmed) == (40, 61, 100, 60)
    assert stats.trimmed_until == NOON + timedelta(minutes=60)
    assert await retention.trim(stores) == 0
    assert (await store.query(LogFilter(request_id="r-60"))).items == []
    assert len((await store.query(LogFilter(request_id="r-61"))).items) == 1


async def test_what_there_is_no_memory_for_is_trimmed_from_the_oldest_on(
    stores: Stores, store: LogStore
) -> None:
    budget = 64_000_000
    for start in range(0, 4000, 100):
        await store.append([entry(at, fields={"text": "x" * 20_000}) for at in range(start + 1, start + 101)])
    before = await store.stats()
    assert before.memory_bytes > budget

    trimmed = await retention.trim(keeping(stores, log_megabytes=64))

    after = await store.stats()
    assert 0 < trimmed < 4000
    assert (after.first_number, after.trimmed) == (trimmed + 1, trimmed)
    assert 0.9 * budget < after.memory_bytes <= budget


async def test_nothing_of_what_was_trimmed_stays_behind(stores: Stores, store: LogStore) -> None:
    await fill(store, 1000)
    prefix = f"{stores.settings.namespace}:logs"
    await stores.logs.hset(f"{prefix}:hours", "1", "1000")

    assert await retention.trim(stores) == 1000

    left = {key.removeprefix(prefix) async for key in stores.logs.scan_iter(f"{prefix}*", count=1000)}
    assert left == {":entries", ":number", ":counters", ":process:here:1:00000000"} | ({":hours"} & left)
    assert await store.append([entry(1001)]) == 1
    assert [each.number for each in (await store.query(LogFilter())).items] == [1001]


async def test_an_index_that_still_names_what_was_trimmed_is_no_fault(
    stores: Stores, store: LogStore
) -> None:
    await fill(store, 30)
    await stores.logs.xtrim(f"{stores.settings.namespace}:logs:entries", minid="21-0", approximate=False)
    page = await store.query(LogFilter(level_min="WARNING"), newest_first=False, limit=5)
    assert [each.number for each in page.items] == [21, 22, 23, 24, 25]


async def test_what_cannot_be_read_is_trimmed_too(stores: Stores, store: LogStore) -> None:
    await fill(store, 10)
    prefix = f"{stores.settings.namespace}:logs"
    await stores.logs.xadd(f"{prefix}:entries", {"entry": "no json"}, id="11-0")
    await stores.logs.set(f"{prefix}:number", 11)
    await stores.logs.hset(f"{prefix}:hours", "1", "11")
    assert await retention.trim(stores) == 11


async def test_trimming_goes_in_bounded_steps(
    stores: Stores, store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_STEP", 7)
    await fill(store, 100)
    await stores.logs.hset(f"{stores.settings.namespace}:logs:hours", "1", "50")
    assert await retention.trim(stores) == 50
    assert (await store.stats()).trimmed == 50


async def test_memory_is_told_as_it_is_whatever_the_oldest_entries_look_like(
    stores: Stores, store: LogStore
) -> None:
    large = [entry(at, fields={"text": "x" * 15_000}) for at in range(1, 31)]
    small = [entry(at, fields={"text": "x" * 10}) for at in range(31, 6031)]
    await store.append(large)
    for at in range(0, len(small), 500):
        await store.append(small[at : at + 500])
    entries = f"{stores.settings.namespace}:logs:entries"
    really = await stores.logs.memory_usage(entries, samples=0)
    guessed = await stores.logs.memory_usage(entries)
    assert guessed > 2 * really, "else this shows nothing"
    assert really <= (await store.stats()).memory_bytes < 1.5 * really
