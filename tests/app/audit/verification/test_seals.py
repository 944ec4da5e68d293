"""Seals in two stores, one of which may lie."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.audit.sealing.seals import Seal, hash_of
from app.audit.verification.seals import read_keys, read_seal
from app.audit.verification.stores import SEALS_AT_ONCE, open_evidence
from app.audit.verification.walk import verify
from app.clock import now
from app.errors import InvalidInputError, StoreUnavailableError
from tests.app.audit.sealed import SealedStore, new_key, told, with_keys


async def test_an_empty_store_has_nothing_that_could_be_wrong(sealed: SealedStore) -> None:
    report = await sealed.verify()
    assert report.ok
    assert (report.entries, report.seals, report.last_seal) == (0, 0, None)


async def test_nothing_is_sealed_yet(sealed: SealedStore) -> None:
    await sealed.append(3)
    report = await sealed.verify()
    assert report.ok
    assert (report.sealed, report.unsealed) == (0, 3)
    assert report.unsealed_since is not None
    assert now() - report.unsealed_since > timedelta(days=1), "the factory's entries are old"


async def test_a_store_that_starts_elsewhere_than_at_one_is_found_before_it_is_sealed(
    sealed: SealedStore,
) -> None:
    await sealed.append(3)
    await sealed.redis.xdel(sealed.key("entries"), "1-0")
    assert await sealed.found() == [("foreign", None, 1)]


async def test_seals_that_redis_has_lost(sealed: SealedStore) -> None:
    for _ in range(4):
        await sealed.seal(2)
    await sealed.redis.xdel(sealed.key("seals"), "2-0", "3-0")
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("seal missing", 2)]
    assert report.findings[0].message.endswith("2 and 1 more up to 3: it is in the core DB and not in Redis")
    assert report.sealed == 8, "the entries were held to the other copy"


async def test_seals_that_the_core_db_has_lost(sealed: SealedStore) -> None:
    for _ in range(4):
        await sealed.seal(2)
    await sealed.stores.core.execute("DELETE FROM audit_seals WHERE number > 2")
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("seal missing", 3)]
    assert "in Redis and not in the core DB" in report.findings[0].message
    await sealed.redis.xdel(sealed.key("entries"), "7-0")
    assert ("deleted", 4, 7) in await sealed.found(), "a lost seal hides no entry"


async def test_a_seal_that_both_have_lost(sealed: SealedStore) -> None:
    for _ in range(3):
        await sealed.seal(2)
    await sealed.redis.xdel(sealed.key("seals"), "2-0")
    await sealed.stores.core.execute("DELETE FROM audit_seals WHERE number = 2")
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("seal unchained", 3)]
    assert "seal 2 should come next" in report.findings[0].message


async def test_a_seal_that_the_two_have_differently(sealed: SealedStore) -> None:
    await sealed.seal(2)
    await sealed.seal(2)
    await sealed.stores.core.execute("UPDATE audit_seals SET seal = replace(seal, 'last 2', 'last 1')")
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("seal differs", 1)]
    assert report.seals == 2, "the copy that is signed counts"


async def test_a_seal_that_was_changed_in_both(sealed: SealedStore) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    await _put_seal(sealed, text.replace("last 2", "last 1"))
    assert await sealed.found() == [("seal untrusted", 1, None)]
    await _put_seal(sealed, text.replace("last 2", "last  2"))
    assert await sealed.found() == [("seal unreadable", 1, None)]


async def test_a_seal_with_the_id_of_a_key_that_did_not_sign_it(sealed: SealedStore) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    stranger = sealed.sealer(with_keys(sealed.settings, new_key())).keys
    forged = Seal.read(text).signed_by(stranger)
    assert forged.count(Seal.read(text).key) == 1
    await _put_seal(sealed, forged)
    report = await sealed.verify()
    assert report.findings[0].wrong == "seal untrusted"
    assert "signature is not that of key" in report.findings[0].message


async def test_a_seal_that_follows_another_one(sealed: SealedStore) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    seal = Seal.read(text)
    other = Seal(2, 3, 4, seal.root, hash_of("another"), now(), seal.key).signed_by(sealed.sealer().keys)
    await sealed.append(2)
    await _put_seal(sealed, other, number=2)
    assert await sealed.found() == [("seal unchained", 2, None)]


@pytest.mark.parametrize(
    ("changed", "why"), [({"first": 4}, "begins with entry 4"), ({"number": 3}, "calls itself seal 3")]
)
async def test_a_seal_that_whoever_holds_the_key_put_in_the_wrong_place(
    sealed: SealedStore, changed: dict[str, int], why: str
) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    next_one = Seal(2, 3, 4, bytes(32), hash_of(text), now(), Seal.read(text).key)
    await _put_seal(sealed, replace(next_one, **changed).signed_by(sealed.sealer().keys), number=2)
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("seal unchained", 2)]
    assert why in report.findings[0].message


@pytest.mark.parametrize(("place", "more"), [("1-0", {"more": "x"}), ("1-1", {})])
async def test_a_copy_that_is_not_kept_as_seals_are(
    sealed: SealedStore, place: str, more: dict[str, str]
) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    await sealed.redis.delete(sealed.key("seals"))
    await sealed.redis.xadd(sealed.key("seals"), {"seal": text, **more}, id=place)
    assert await sealed.found() == [("seal differs", 1, None)]


async def test_leaf_hashes_that_are_not_those_of_the_entries(sealed: SealedStore) -> None:
    await sealed.seal(4)
    await sealed.stores.core.execute("UPDATE audit_seals SET leaves = substr(leaves, 33)")
    assert await sealed.found() == [("seal's leaf hashes", 1, None)]
    await sealed.change(lambda entries: entries[2][1].update(told("edited")))
    report = await sealed.verify()
    assert report.findings[0].wrong == "changed"
    assert "up to 4" in report.findings[0].message


async def test_a_wrong_key_trusts_nothing_and_an_earlier_one_is_still_trusted(sealed: SealedStore) -> None:
    await sealed.seal(2)
    (former,) = sealed.settings.public_keys
    changed = with_keys(sealed.settings, new_key(), former)
    ring = sealed.sealer(changed).keys
    await sealed.append(2)
    assert await sealed.sealer(changed).seal_new() == 2
    latter = _base64_of(ring)
    report = await sealed.verify(former, latter)
    assert report.ok
    assert len(report.keys) == 2
    assert [(each.wrong, each.seal) for each in (await sealed.verify(former)).findings] == [
        ("seal untrusted", 2)
    ]
    assert [(each.wrong, each.seal) for each in (await sealed.verify(latter)).findings] == [
        ("seal untrusted", 1)
    ]


async def test_more_seals_than_a_page_holds_are_compared_to_the_end(sealed: SealedStore) -> None:
    for _ in range(SEALS_AT_ONCE + 6):
        await sealed.seal(1)
    assert (await sealed.verify()).seals == SEALS_AT_ONCE + 6
    await sealed.redis.xdel(sealed.key("seals"), *(f"{number}-0" for number in range(3, SEALS_AT_ONCE)))
    await sealed.stores.core.execute("DELETE FROM audit_seals WHERE number > $1", SEALS_AT_ONCE)
    report = await sealed.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [
        ("seal missing", 3),
        ("seal missing", SEALS_AT_ONCE + 1),
    ]
    assert report.sealed == SEALS_AT_ONCE + 6


async def test_a_seal_that_is_on_its_way_to_redis_is_waited_for(sealed: SealedStore, monkeypatch) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    await sealed.redis.delete(sealed.key("seals"))

    async def arrive(_seconds: float) -> None:
        await sealed.redis.xadd(sealed.key("seals"), {"seal": text}, id="1-0")

    monkeypatch.setattr("app.audit.verification.stores.asyncio.sleep", arrive)
    assert (await sealed.verify()).ok


async def test_ids_at_the_end_of_all_numbers_are_no_way_out(sealed: SealedStore) -> None:
    await sealed.seal(2)
    most = 2**64 - 1
    await sealed.redis.xadd(sealed.key("entries"), told("new"), id=f"{most}-{most}")
    assert await sealed.found() == [("foreign", None, 3)]
    await sealed.redis.xadd(sealed.key("seals"), {"seal": "x"}, id=f"{most}-{most}")
    assert [wrong for wrong, _, _ in await sealed.found()] == ["seal unreadable", "seal missing"]


async def test_a_store_that_is_away_is_no_verdict(sealed: SealedStore) -> None:
    await sealed.seal(2)
    away = sealed.settings.model_copy(update={"audit_url": _nowhere()})
    with pytest.raises(StoreUnavailableError, match="audit store"):
        async with open_evidence(away) as evidence:
            await verify(evidence, read_keys(sealed.settings.public_keys))


@pytest.mark.parametrize(
    "change",
    [
        ("number 1", "number 01"),
        ("number 1", "number 0"),
        ("seal 1\n", "seal 2\n"),
        ("\n", "\r\n"),
        ("key ", "key  "),
        ("Z\n", "+00:00\n"),
        ("last 2", "last 2\nlast 2"),
    ],
)
async def test_a_seal_has_one_spelling(sealed: SealedStore, change: tuple[str, str]) -> None:
    await sealed.seal(2)
    (text,) = await sealed.seals()
    assert read_seal(text.encode()) is not None
    assert text.count(change[0])
    assert read_seal(text.replace(*change).encode()) is None


def test_keys_are_given_in_base64_or_in_a_file(tmp_path) -> None:
    first, second = new_key(), new_key()
    file = tmp_path / "keys"
    file.write_text(f"{first}\n{second}\n")
    assert len(read_keys([str(file)])) == 2
    assert len(read_keys([first, second, first])) == 2
    for wrong in ("x", str(tmp_path), first[:-4]):
        with pytest.raises(InvalidInputError, match="cannot be used"):
            read_keys([wrong])
    with pytest.raises(InvalidInputError, match="no public key"):
        read_keys([])


async def _put_seal(store: SealedStore, text: str, number: int = 1) -> None:
    await store.redis.xdel(store.key("seals"), f"{number}-0")
    held = await store.redis.xrange(store.key("seals"))
    await store.redis.delete(store.key("seals"))
    for place, fields in [*held, (f"{number}-0", {"seal": text})]:
        await store.redis.xadd(store.key("seals"), fields, id=place)
    await store.stores.core.execute(
        "INSERT INTO audit_seals VALUES ($1, $1, $1, $2, '') ON CONFLICT (number) DO UPDATE SET seal = $2",
        number,
        text,
    )


def _base64_of(ring) -> str:
    from base64 import b64encode

    return b64encode(ring.signing.public_key().public_bytes_raw()).decode()


def _nowhere():
    from pydantic import SecretStr

    return SecretStr("redis://127.0.0.1:1/0")


async def test_what_is_no_entry_of_a_known_kind_is_named_and_is_no_fault_of_a_seal(
    sealed: SealedStore,
) -> None:
    await sealed.append(2)
    for number, body in enumerate(
        ["no JSON", '{"type":"gossip"}', '{"type":"fact.2"}', '{"type":"fact"}'], 3
    ):
        await sealed.redis.xadd(sealed.key("entries"), {"entry": body}, id=f"{number}-0")
        await sealed.redis.incr(sealed.key("sequence"))
    for sealed_too in (False, True):
        report = await sealed.verify()
        assert report.ok
        assert (report.unreadable, report.first_unreadable) == (2, 3)
        assert await sealed.seal() == (0 if sealed_too else 6)
