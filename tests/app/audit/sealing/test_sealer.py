"""The sealer: batches, one chain whoever makes it, and no seal over a break."""

import asyncio
from base64 import b64encode
from datetime import datetime, timedelta

import pytest

from app.audit.sealing import sealer as sealer_module
from app.audit.sealing.keys import public_key_of
from app.audit.sealing.seals import Seal
from app.audit.sealing.stream import ChainBrokenError
from app.clock import now
from tests.app.audit.sealed import SealedStore, new_key, told, with_keys


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealer_module, "BATCH", 10)


async def test_what_is_new_is_sealed_in_batches_and_what_is_sealed_is_left(sealed: SealedStore) -> None:
    assert await sealed.seal(25) == 25
    assert await sealed.seal() == 0
    assert await sealed.seal(1) == 1
    ranges = [(seal.number, seal.first, seal.last) for seal in map(Seal.read, await sealed.seals())]
    assert ranges == [(1, 1, 10), (2, 11, 20), (3, 21, 25), (4, 26, 26)]
    assert (await sealed.verify()).ok


async def test_both_stores_keep_the_same_text(sealed: SealedStore) -> None:
    await sealed.seal(12)
    copies = await sealed.redis.xrange(sealed.key("seals"))
    assert [(place, fields["seal"]) for place, fields in copies] == [
        (f"{number}-0", text) for number, text in enumerate(await sealed.seals(), 1)
    ]


async def test_an_empty_store_gets_no_seal(sealed: SealedStore) -> None:
    assert await sealed.seal() == 0
    assert await sealed.seals() == []


async def test_an_entry_is_sealed_as_it_is_stored_whatever_its_bytes(sealed: SealedStore) -> None:
    await sealed.redis.xadd(sealed.key("entries"), {b"entry": b"\xff\x00\r\n"}, id="1-0")
    await sealed.redis.set(sealed.key("sequence"), 1)
    assert await sealed.seal() == 1
    assert (await sealed.verify()).ok


async def test_many_sealers_at_once_make_one_chain(sealed: SealedStore) -> None:
    async def go_on_appending() -> None:
        for _ in range(20):
            await sealed.append(7)

    async def go_on_sealing() -> int:
        return sum([await sealed.sealer().seal_new() for _ in range(12)])

    counts = await asyncio.gather(*(go_on_sealing() for _ in range(4)), go_on_appending())
    rest = await sealed.seal()
    report = await sealed.verify()
    assert report.ok, report.findings
    assert report.sealed == 140 == sum(filter(None, counts)) + rest


async def test_the_loser_of_a_race_goes_on_behind_the_winner(sealed: SealedStore, monkeypatch) -> None:
    await sealed.append(30)
    loser, after = sealed.sealer(), type(sealed.sealer().stream).after
    won = []

    async def late(stream, last: int, count: int):
        page = await after(stream, last, count)
        if not won:
            won.append(True)
            await sealed.append(3)
            won.append(await sealed.sealer().seal_new())
        return page

    monkeypatch.setattr(type(loser.stream), "after", late)
    assert await loser.seal_new() == 0
    assert won == [True, 33]
    assert (await sealed.verify()).ok


async def test_a_seal_that_lacks_its_copy_gets_it_at_the_next_turn(sealed: SealedStore) -> None:
    sealed.clock = a_while_ago
    await sealed.seal(12)
    await _lose_copy_of_second(sealed)
    assert await sealed.found() == [("seal missing", 2, None)]
    assert await sealed.seal(3) == 3
    assert (await sealed.verify()).ok


async def test_a_new_seal_whose_copy_is_yet_to_come_is_no_fault_but_an_old_one_is(
    sealed: SealedStore,
) -> None:
    await sealed.seal(12)
    await _lose_copy_of_second(sealed)
    report = await sealed.verify()
    assert report.ok
    assert report.copy_owed == 2
    assert report.sealed == 12
    await sealed.redis.delete(sealed.key("seals"))
    assert await sealed.found() == [("seal missing", 1, None)], "the sealer owes no more than the newest"


async def _lose_copy_of_second(sealed: SealedStore) -> None:
    """As if the sealer had died before it."""
    (first, _) = await sealed.redis.xrange(sealed.key("seals"))
    await sealed.redis.delete(sealed.key("seals"))
    await sealed.redis.xadd(sealed.key("seals"), first[1], id=first[0])


def a_while_ago() -> datetime:
    return now() - timedelta(minutes=4)


async def test_a_sealer_that_dies_between_the_stores_leaves_one_seal_without_copy(
    sealed: SealedStore, monkeypatch
) -> None:
    await sealed.append(25)
    dying = sealed.sealer()

    async def die(*_arguments: object) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(type(dying.stream), "add_seal", die)
        with pytest.raises(ConnectionError):
            await dying.seal_new()
    assert (len(await sealed.seals()), await sealed.redis.xlen(sealed.key("seals"))) == (1, 0)
    assert await sealed.seal() == 15
    assert (await sealed.verify()).sealed == 25


@pytest.mark.parametrize(
    ("tampering", "place"),
    [
        ("XDEL entries 3-0", "entry 3"),
        ("XDEL entries 5-0", "entry 5"),
        ("XTRIM entries MAXLEN 2", "entry 3"),
        ("XADD entries 5-1 entry x", "entry 6"),
        ("XADD entries 6-0 entry x", "entry 5"),
        ("XADD entries * entry x", "entry 5"),
        ("INCR sequence", "entry 6"),
        ("DEL entries", "entry 3"),
        ("DEL seals", "seal 1"),
        ("XDEL seals 2-0", "seal 2"),
        ("XADD seals 3-0 seal x", "seal 3"),
    ],
)
async def test_nothing_is_sealed_over_a_break(sealed: SealedStore, tampering: str, place: str) -> None:
    sealed.clock = a_while_ago
    await sealed.seal(2)
    await sealed.seal(3)
    verb, name, *rest = tampering.split()
    await sealed.redis.execute_command(verb, sealed.key(name), *rest)
    with pytest.raises(ChainBrokenError) as raised:
        await sealed.sealer().seal_new()
    assert raised.value.place == place
    assert len(await sealed.seals()) == 2
    assert not (await sealed.verify()).ok


async def test_an_edit_of_what_the_last_seal_covers_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.seal(5)
    await sealed.change(lambda entries: entries[3][1].update(told("edited")))
    with pytest.raises(ChainBrokenError, match="entry 4: it is not what seal 1 has sealed"):
        await sealed.seal()


async def test_a_gap_in_what_is_new_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.seal(5)
    await sealed.append(4)
    await sealed.redis.xdel(sealed.key("entries"), "7-0")
    with pytest.raises(ChainBrokenError, match="entry 7: 8-0 stands in its place"):
        await sealed.sealer().seal_new()


async def test_an_entry_of_another_shape_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.redis.xadd(sealed.key("entries"), {"entry": "{}", "more": "x"}, id="1-0")
    await sealed.redis.set(sealed.key("sequence"), 1)
    with pytest.raises(ChainBrokenError, match="entry 1: it does not have the one field"):
        await sealed.sealer().seal_new()


async def test_a_last_seal_that_the_stores_have_differently_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.seal(5)
    await sealed.redis.delete(sealed.key("seals"))
    await sealed.redis.xadd(sealed.key("seals"), {"seal": "another"}, id="1-0")
    with pytest.raises(ChainBrokenError, match="seal 1: Redis and the core DB have different ones"):
        await sealed.sealer().seal_new()


async def test_a_copy_may_be_kept_twice_but_not_another_one_in_its_place(sealed: SealedStore) -> None:
    await sealed.seal(12)
    stream, (first, _) = sealed.sealer().stream, await sealed.seals()
    await stream.add_seal(1, first)
    with pytest.raises(ChainBrokenError, match="seal 1: Redis does not take it"):
        await stream.add_seal(1, "another")
    assert await sealed.redis.xlen(sealed.key("seals")) == 2


async def test_what_hides_before_the_first_entry_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.redis.xadd(sealed.key("entries"), told("hidden"), id="0-7")
    await sealed.append(3)
    with pytest.raises(ChainBrokenError, match="entry 1: 0-7 stands in its place"):
        await sealed.sealer().seal_new()


async def test_a_core_db_that_went_back_stops_the_sealer(sealed: SealedStore) -> None:
    await sealed.seal(15)
    await sealed.stores.core.execute("DELETE FROM audit_seals WHERE number = 2")
    with pytest.raises(ChainBrokenError, match="seal 2: Redis has seals up to 2, the core DB up to 1"):
        await sealed.sealer().seal_new()


async def test_a_chain_of_another_key_is_not_gone_on_with_unless_it_is_trusted(sealed: SealedStore) -> None:
    await sealed.seal(5)
    (former,) = sealed.settings.public_keys
    await sealed.append(5)
    with pytest.raises(ChainBrokenError, match="seal 1: its signature is not that of a trusted key"):
        await sealed.sealer(with_keys(sealed.settings, new_key())).seal_new()
    assert await sealed.sealer(with_keys(sealed.settings, new_key(), former)).seal_new() == 5


def test_a_public_key_is_that_of_rfc_8032() -> None:
    # Section 7.1, test 1.
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert public_key_of(b64encode(secret).decode()) == b64encode(public).decode()
