"""The audit store, against a real server."""

from uuid import uuid4

import pytest
from redis.asyncio import Redis

from app.audit.entries import Fact, Outcome, OutcomeEntry, UnreadableEntry
from app.audit.outbox import record, relay
from app.audit.store import END, AuditStore, Count
from app.stores.connections import Stores, open_redis
from tests.app.audit.entries import NOW, end, fact, intent, later


async def test_an_intent_is_open_until_its_outcome_comes(audit: AuditStore) -> None:
    tried = intent()
    await audit.append([tried])
    assert await audit.open_intents() == [tried]
    await audit.append([OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)])
    assert await audit.open_intents() == []
    (change,) = await audit.changes()
    assert change.outcome.outcome is Outcome.APPLIED


async def test_whatever_is_sent_twice_is_kept_once(audit: AuditStore) -> None:
    tried = intent()
    ended = OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)
    assert await audit.append([tried, tried, ended]) == 2
    assert await audit.append([tried, ended]) == 0


async def test_the_first_outcome_of_a_change_stays_its_only_one(audit: AuditStore) -> None:
    tried = intent()
    await audit.append([tried, OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.SUPERSEDED)])
    assert await audit.append([OutcomeEntry(id=tried.id, at=NOW, outcome=Outcome.APPLIED)]) == 0
    (change,) = await audit.changes()
    assert change.outcome.outcome is Outcome.SUPERSEDED


async def test_an_outcome_without_an_intent_is_refused(audit: AuditStore) -> None:
    assert await audit.append([OutcomeEntry(id=uuid4(), at=NOW, outcome=Outcome.APPLIED)]) == 0


async def test_changes_are_found_by_record_run_and_entity_newest_first(audit: AuditStore) -> None:
    run = uuid4()
    first, second, third = intent("a"), intent("b", run), intent("a", run)
    await audit.append([first, second, third])
    assert [each.intent for each in await audit.changes()] == [third, second, first]
    assert [each.intent for each in await audit.changes(entity="customers", key="a")] == [third, first]
    assert [each.intent for each in await audit.changes(run_id=run)] == [third, second]
    page = await audit.changes(limit=1)
    assert [each.intent for each in await audit.changes(before=page[0].sequence, limit=1)] == [second]


async def test_facts_are_relayed_once_and_only_if_their_transaction_held(
    stores: Stores, audit: AuditStore
) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        await record(connection, Fact.JOB_CHANGED, by="test", target="customers-full", reason="why not")
    with pytest.raises(ZeroDivisionError):
        await _record_and_fail(stores)
    assert await relay(stores.core, audit) == 1
    assert await relay(stores.core, audit) == 0
    assert await stores.audit.xlen(f"{stores.settings.namespace}:audit:entries") == 1


async def _record_and_fail(stores: Stores) -> None:
    async with stores.core.acquire() as connection, connection.transaction():
        await record(connection, Fact.JOB_CHANGED, by="test", target="bookings-full")
        _ = 1 / 0


async def test_changes_are_found_by_their_ids(audit: AuditStore) -> None:
    first, second = intent("a"), intent("b")
    await audit.append([first, second, OutcomeEntry(id=second.id, at=NOW, outcome=Outcome.APPLIED)])

    found = await audit.changes_by_id([second.id, uuid4(), first.id])

    assert {each: found[each].intent.key for each in found} == {first.id: "a", second.id: "b"}
    assert found[first.id].outcome is None
    assert found[second.id].outcome.outcome is Outcome.APPLIED
    assert found[second.id].sequence == 2
    assert await audit.changes_by_id([]) == {}


async def test_ids_that_end_alike_lead_to_their_own_entries(audit: AuditStore) -> None:
    """They share a bucket."""
    tried = [intent(str(number)) for number in range(3)]
    alike = [
        type(each)(**{**fields_of(each), "id": each.id.__class__(int=number << 64)})
        for number, each in enumerate(tried)
    ]
    await audit.append([*alike, end(alike[1])])

    found = await audit.changes_by_id([each.id for each in alike])

    assert [found[each.id].intent.key for each in alike] == ["0", "1", "2"]
    assert [bool(found[each.id].outcome) for each in alike] == [False, True, False]


def fields_of(entry: object) -> dict:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


async def test_a_long_story_of_a_record_is_told_in_pages_of_changes(audit: AuditStore) -> None:
    """Facts and outcomes lie between the intents."""
    tried = [intent("a") for _ in range(30)]
    for each in tried:
        await audit.append(
            [each, fact(entity="customers", key="a"), fact(entity="customers", key="a"), end(each)]
        )

    told, before = [], None
    while page := await audit.changes(entity="customers", key="a", before=before, limit=7):
        told += page
        before = page[-1].sequence

    assert [each.intent for each in told] == tried[::-1]
    assert all(each.outcome for each in told)


async def test_changes_behind_many_other_entries_are_told_by_a_later_page(audit: AuditStore) -> None:
    tried = intent("a")
    await audit.append([tried, end(tried)])
    await audit.append([fact(entity="customers", key="a") for _ in range(4500)])

    pages, told, before = 0, [], END
    while before is not None:
        page, before = await audit.changes_page(entity="customers", key="a", before=before, limit=2)
        pages, told = pages + 1, told + page

    assert [each.intent for each in told] == [tried]
    assert pages == 3, "each looks at some two thousand"


@pytest.mark.parametrize("limit", [1, 2, 3, 100, 300])
async def test_pages_of_changes_lose_and_repeat_none(audit: AuditStore, limit: int) -> None:
    tried = [intent("a") for _ in range(600)]
    for start in range(0, 600, 200):
        batch = tried[start : start + 200]
        await audit.append(
            [*(fact(entity="customers", key="a") for _ in range(100)), *batch, *map(end, batch)]
        )

    told, before = [], END
    while before is not None:
        page, before = await audit.changes_page(entity="customers", key="a", before=before, limit=limit)
        told += [each.intent.id for each in page]

    assert told == [each.id for each in reversed(tried)]


async def test_a_batch_is_as_long_as_it_needs_to_be(audit: AuditStore) -> None:
    tried = [intent("a") for _ in range(2500)]
    assert await audit.append(tried) == 2500
    assert await audit.append([*map(end, tried)]) == 2500
    assert len(await audit.changes(entity="customers", key="a", limit=3000)) == 2500
    assert await audit.open_intents() == []


async def test_facts_and_changes_are_found_by_their_ids(audit: AuditStore) -> None:
    said, tried = fact(), intent()
    await audit.append([said, tried, end(tried)])

    found = await audit.find([tried.id, said.id, uuid4()])

    assert found.keys() == {tried.id, said.id}
    assert [each and each.sequence for each in found[tried.id]] == [2, 3]
    assert [each and each.sequence for each in found[said.id]] == [1, None]


async def test_entries_are_counted(audit: AuditStore) -> None:
    assert await audit.count() == Count(counted=0, archived=0, first=0, last=0, length=0)
    await audit.append([fact() for _ in range(5)])
    assert await audit.count() == Count(counted=5, archived=0, first=1, last=5, length=5)


@pytest.mark.parametrize(
    ("count", "missing"),
    [
        (Count(counted=0, archived=0, first=0, last=0, length=0), 0),
        (Count(counted=5, archived=0, first=1, last=5, length=5), 0),
        (Count(counted=5, archived=3, first=4, last=5, length=2), 0),
        (Count(counted=5, archived=5, first=0, last=0, length=0), 0),
        (Count(counted=5, archived=0, first=4, last=5, length=2), 3),
        (Count(counted=5, archived=0, first=0, last=0, length=0), 5),
        (Count(counted=5, archived=0, first=1, last=6, length=6), 1),
        (Count(counted=5, archived=0, first=1, last=6, length=5), 1),
        (Count(counted=5, archived=0, first=2, last=6, length=5), 1),
    ],
)
def test_a_count_tells_how_many_are_missing(count: Count, missing: int) -> None:
    assert count.missing == missing


async def test_the_seconds_of_entries_bound_their_places_however_late_they_come(audit: AuditStore) -> None:
    seconds = [0, 0, 5, 3, 5, 9, 1, 9, 12]
    await audit.append([fact(at=later(second)) for second in seconds[:4]])
    for second in seconds[4:]:
        await audit.append([fact(at=later(second))])

    start = int(NOW.timestamp())
    for first in range(-1, 14):
        for last in range(first, 14):
            places = [place for place, second in enumerate(seconds, 1) if first <= second <= last]
            least, greatest = await audit.bounds(start + first, start + last)
            assert all(least <= place <= greatest for place in places), (first, last)
            # No wider than what is older, or newer, makes it.
            assert least > greatest or least == min(
                p for p, second in enumerate(seconds, 1) if second >= first
            )
            assert least > greatest or greatest == max(
                p for p, second in enumerate(seconds, 1) if second <= last
            )


async def test_a_store_of_which_entries_were_cut_off_still_tells_the_others(
    audit: AuditStore, retention: Redis, prefix: str
) -> None:
    tried = intent()
    await audit.append([tried, fact(), end(tried)])
    await retention.xdel(f"{prefix}entries", "1-0")

    assert await audit.changes() == []
    assert await audit.find([tried.id]) == {}


@pytest.mark.parametrize(
    "foreign",
    [
        {"entry": '{"type":"gossip"}'},
        {"entry": '{"type":"fact","name":"operator:moon:paint"}'},
        {"entry": "no JSON at all"},
        {"entry": b"\xff\xfe"},
        {"entry": '{"type":"fact"}},{"sequence":9,"entry":{'},
        {"entry": ""},
        {"gossip": "with"},
        {"entry": "{}", "and": "more"},
    ],
    ids=str,
)
async def test_an_entry_that_cannot_be_read_is_told_of_and_hides_no_other(
    audit: AuditStore, stores: Stores, prefix: str, foreign: dict[str, str]
) -> None:
    first, second = fact(), fact()
    await audit.append([first])
    await stores.audit.xadd(f"{prefix}entries", foreign, id="2-0")
    await stores.audit.incrby(f"{prefix}sequence", 1)
    await audit.append([second])

    page, _ = await audit.page(None, 1, 9, newest_first=False, limit=5)

    assert [each.sequence for each in page] == [1, 2, 3]
    assert [page[0].entry, page[2].entry] == [first, second]
    assert isinstance(page[1].entry, UnreadableEntry)
    assert page[1].entry.why


async def test_an_entry_between_two_numbers_is_none_and_hides_no_other(
    audit: AuditStore, stores: Stores, prefix: str
) -> None:
    said = [fact() for _ in range(3)]
    await audit.append(said[:2])
    for minor in (1, 2, 3):
        await stores.audit.xadd(f"{prefix}entries", {"entry": "{}"}, id=f"2-{minor}")
    await audit.append(said[2:])

    for newest_first in (False, True):
        for limit in range(1, 6):
            told = await _walk(audit, newest_first=newest_first, limit=limit)
            assert told == ([3, 2, 1] if newest_first else [1, 2, 3]), limit


async def _walk(audit: AuditStore, *, newest_first: bool, limit: int) -> list[int]:
    told, least, greatest = [], 1, 99
    while True:
        page, last = await audit.page(None, least, greatest, newest_first=newest_first, limit=limit)
        told += [each.sequence for each in page]
        if last is None:
            return told
        least, greatest = (least, last - 1) if newest_first else (last + 1, greatest)


async def test_changes_are_told_past_those_that_cannot_be_read(
    audit: AuditStore, stores: Stores, prefix: str
) -> None:
    gone, tried = intent("a"), intent("a")
    await audit.append([gone])
    await _spoil(stores, prefix, "1-0")
    await audit.append([tried, end(tried)])

    assert [each.intent for each in await audit.changes(entity="customers", key="a")] == [tried]
    assert await audit.open_intents() == []
    assert await audit.changes_by_id([gone.id]) == {}


async def _spoil(stores: Stores, prefix: str, place: str) -> None:
    """Put what is no entry into the place of the only one."""
    async with open_redis(stores.settings.url("audit_retention_url")) as retention:
        await retention.delete(f"{prefix}entries")
    await stores.audit.xadd(f"{prefix}entries", {"entry": "nothing"}, id=place)
