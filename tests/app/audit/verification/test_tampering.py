"""Whatever is done to a sealed audit store behind the service's back is found, and named for what it is."""

import pytest

from tests.app.audit.sealed import SealedStore, bodies, new_key, numbered, told, with_keys

# Seals 1 to 3 cover the entries 1 to 5, 6 to 10 and 11 to 15; 16 and 17 are not sealed yet.


@pytest.fixture
async def store(sealed: SealedStore) -> SealedStore:
    for _ in range(3):
        assert await sealed.seal(5) == 5
    await sealed.append(2)
    return sealed


async def test_a_store_that_nobody_touched_verifies(store: SealedStore) -> None:
    report = await store.verify()
    assert report.ok
    assert (report.sealed, report.unsealed, report.seals, report.entries) == (15, 2, 3, 17)


@pytest.mark.parametrize("entry", [1, 5, 6, 8, 15])
async def test_an_edited_entry(store: SealedStore, entry: int) -> None:
    def edit(entries):
        place, fields = entries[entry - 1]
        entries[entry - 1] = (place, {"entry": fields["entry"].replace("tester", "nobody")})

    await store.change(edit)
    assert await store.found() == [("edited", (entry + 4) // 5, entry)]


async def test_an_entry_with_a_further_field(store: SealedStore) -> None:
    await store.change(lambda entries: entries[6][1].update(more="x"))
    assert await store.found() == [("edited", 2, 7)]


async def test_a_value_that_comes_twice_in_an_entry(store: SealedStore) -> None:
    entries = await store.entries()
    await store.redis.delete(store.key("entries"))
    for place, fields in entries:
        body = (
            ["entry", "another", "entry", fields["entry"]] if place == "7-0" else ["entry", fields["entry"]]
        )
        await store.redis.execute_command("XADD", store.key("entries"), place, *body)
    assert await store.found() == [("edited", 2, 7)]


@pytest.mark.parametrize("entry", [1, 5, 6, 8])
async def test_a_deleted_entry(store: SealedStore, entry: int) -> None:
    await store.redis.xdel(store.key("entries"), f"{entry}-0")
    assert await store.found() == [("deleted", (entry + 4) // 5, entry)]


async def test_a_deleted_entry_where_those_after_it_were_moved_up(store: SealedStore) -> None:
    kept = bodies(await store.entries())
    del kept[6]
    await store.put(numbered(kept))
    assert await store.found() == [("deleted", 2, 7)]


async def test_an_inserted_entry_where_those_after_it_were_moved_down(store: SealedStore) -> None:
    kept = bodies(await store.entries())
    kept.insert(6, told("new"))
    await store.put(numbered(kept))
    assert await store.found() == [("inserted", 2, 7)]


async def test_an_entry_inserted_where_a_seal_ends(store: SealedStore) -> None:
    kept = bodies(await store.entries())
    kept.insert(9, told("new"))
    await store.put(numbered(kept))
    assert await store.found() == [("inserted", 2, 10)]


@pytest.mark.parametrize(("place", "entry", "seal"), [("0-7", 1, 1), ("7-3", 8, 2), ("10-1", 11, 2)])
async def test_an_entry_inserted_between_two_numbers(
    store: SealedStore, place: str, entry: int, seal: int
) -> None:
    await store.change(lambda entries: entries.insert(entry - 1, (place, told("new"))))
    assert await store.found() == [("inserted", seal, entry)]


async def test_reordered_entries(store: SealedStore) -> None:
    kept = bodies(await store.entries())
    kept[6], kept[8] = kept[8], kept[6]
    await store.put(numbered(kept))
    report = await store.verify()
    assert [(each.wrong, each.entry) for each in report.findings] == [("reordered", 7)]
    assert "what was sealed as entry 9" in report.findings[0].message


async def test_a_sealed_tail_that_was_cut(store: SealedStore) -> None:
    await store.change(lambda entries: entries.__delitem__(slice(12, None)))
    assert await store.found() == [("cut", 3, 13)]


async def test_a_tail_that_xadd_trimmed_from_the_front(store: SealedStore) -> None:
    await store.redis.xtrim(store.key("entries"), maxlen=15, approximate=False)
    assert await store.found() == [("deleted", 1, 1)]


async def test_a_cut_of_what_was_not_sealed_yet(store: SealedStore) -> None:
    await store.redis.xdel(store.key("entries"), "17-0")
    assert await store.found() == [("miscounted", None, 17)]


async def test_a_fork_by_a_second_writer_with_numbers_of_its_own(store: SealedStore) -> None:
    # It has taken the store over as it was at entry 11, and goes on from there with its own counter.
    await store.change(lambda entries: entries.__delitem__(slice(11, None)))
    for sequence in range(12, 20):
        await store.redis.xadd(store.key("entries"), told(sequence), id=f"{sequence}-0")
    await store.redis.set(store.key("sequence"), 19)
    assert await store.found() == [("forked", 3, 12)]


@pytest.mark.parametrize("place", ["18-0", "17-1", "*"])
async def test_a_fork_by_a_second_writer_behind_the_last_entry(store: SealedStore, place: str) -> None:
    await store.redis.xadd(store.key("entries"), told("new"), id=place)
    ((wrong, _seal, entry),) = await store.found()
    assert (wrong, entry) == (("miscounted" if place == "18-0" else "foreign"), 18)


async def test_an_older_state_that_was_put_back(store: SealedStore) -> None:
    names = ("entries", "seals", "sequence")
    snapshot = {name: await _dump(store, name) for name in names}
    await store.seal(5)
    await store.seal(5)
    for name, held in snapshot.items():
        await store.redis.delete(store.key(name))
        await store.redis.restore(store.key(name), 0, held)
    assert await store.found() == [("rolled back", 4, 18), ("seal missing", 4, None)]


async def test_an_older_state_on_which_the_service_went_on(store: SealedStore) -> None:
    snapshot = {name: await _dump(store, name) for name in ("entries", "seals", "sequence")}
    await store.seal(5)
    for name, held in snapshot.items():
        await store.redis.delete(store.key(name))
        await store.redis.restore(store.key(name), 0, held)
    await store.append(9)
    assert await store.found() == [("forked", 4, 18), ("seal missing", 4, None)]


async def test_everything_rewritten_and_sealed_with_another_key(store: SealedStore) -> None:
    await _rewrite(store)
    assert await store.found() == [("seal untrusted", 1, None)]


async def test_an_older_state_of_both_stores_is_found_by_a_seal_that_was_noted(store: SealedStore) -> None:
    noted = (await store.verify()).last_seal
    assert noted is not None
    number, told_hash = noted.split(":")
    await store.change(lambda entries: entries.__delitem__(slice(10, None)))
    await store.redis.set(store.key("sequence"), 10)
    await store.redis.xdel(store.key("seals"), "3-0")
    await store.stores.core.execute("DELETE FROM audit_seals WHERE number = 3")
    assert (await store.verify()).ok, "nothing in the two stores tells"
    report = await store.verify(known={int(number): told_hash})
    assert [(each.wrong, each.seal) for each in report.findings] == [("known seal gone", 3)]
    assert (await store.verify(known={2: "0" * 64})).findings[0].seal == 2


async def test_what_is_wrong_first_is_named_though_more_is_wrong(store: SealedStore) -> None:
    await store.redis.xdel(store.key("entries"), "4-0", "12-0")
    await store.change(lambda entries: entries[5][1].update(entry="x"))
    assert await store.found() == [("deleted", 1, 4)]


async def _rewrite(store: SealedStore) -> None:
    await store.redis.delete(*(store.key(name) for name in ("entries", "seals", "sequence")))
    await store.stores.core.execute("DELETE FROM audit_seals")
    for sequence in range(1, 16):
        await store.redis.xadd(store.key("entries"), told(sequence), id=f"{sequence}-0")
    await store.redis.set(store.key("sequence"), 15)
    assert await store.sealer(with_keys(store.settings, new_key())).seal_new() == 15


async def _dump(store: SealedStore, name: str) -> bytes:
    from redis.asyncio import Redis

    async with Redis.from_url(store.settings.url("audit_url")) as raw:
        held = await raw.dump(store.key(name))
        assert isinstance(held, bytes)
        return held
