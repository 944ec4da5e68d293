"""What is archived verifies as what is not, and whatever is done to it is found and named."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from app.audit.archiving.trimming import Trimmer
from app.audit.verification import archives as archives_module
from app.audit.verification import stores as stores_module
from app.audit.verification.stores import open_evidence
from app.audit.verification.tombstones import read_tombstone
from tests.app.audit.archived import ArchivedStore, archiver_module
from tests.app.audit.sealed import bodies, new_key, told, with_keys

# What is archived and what is not is told in `conftest.py`.


@pytest.fixture
def store(archived: ArchivedStore) -> ArchivedStore:
    return archived


def rewritten(file: Path, change: Callable[[bytes], bytes]) -> None:
    """The file with other content; its gzip is sound."""
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()))))


def without_entry(content: bytes, place: int) -> bytes:
    """The content without one of the entries of its first seal."""
    lines = content.split(b"\n")
    at = 9 + 2 * (place - 1)
    return b"\n".join(lines[:at] + lines[at + 2 :])


async def test_what_is_archived_verifies(store: ArchivedStore) -> None:
    report = await store.verify()
    assert report.ok, report.findings
    assert (report.sealed, report.unsealed, report.seals, report.entries) == (30, 2, 6, 32)
    assert (report.archives, report.archived, report.unread) == (2, 20, 0)


async def test_what_redis_still_has_though_it_is_archived_is_no_fault(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_arguments: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 5)
    for step in ("add_tombstone", "trim_entries", "trim_lists", "forget_ids"):
        with monkeypatch.context() as patched:
            patched.setattr(Trimmer, step, die)
            with pytest.raises(InterruptedError):
                await (store.archiver.finish() if step != "add_tombstone" else store.archive())
        report = await store.verify()
        assert report.ok, (step, report.findings)
        assert (report.archived, report.tombstone_owed) == (25, 3 if step == "add_tombstone" else None)
    await store.archiver.finish()
    assert (await store.verify()).ok


@pytest.mark.parametrize(("at", "read"), [(5, 30), (6, 25)])
async def test_what_is_archived_and_trimmed_meanwhile_is_no_fault(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch, at: int, read: int
) -> None:
    from app.audit.verification import walk

    await store.seal(5)
    real, ran = walk._Walk._take_entries, []

    async def archive_in_between(self: object, seal: object, *rest: object) -> object:
        if seal.number == at:  # type: ignore[attr-defined]
            ran.append(await store.archive())
        return await real(self, seal, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(walk._Walk, "_take_entries", archive_in_between)
    monkeypatch.setattr(stores_module, "ENTRIES_AT_ONCE", 3)
    report = await store.verify()
    assert report.ok, report.findings
    assert (ran, report.archived) == ([10], read)


@pytest.mark.parametrize(
    ("entry", "seal", "file"), [(1, 1, 0), (5, 1, 0), (10, 2, 0), (13, 3, 1), (20, 4, 1)]
)
async def test_an_edited_entry_of_an_archive(store: ArchivedStore, entry: int, seal: int, file: int) -> None:
    number = (entry - 1) % 5
    rewritten(store.files[file], lambda held: _edited(held, (entry - 1) // 5 % 2 * 5 + number))
    report = await store.verify()
    found = [(each.wrong, each.seal, each.entry) for each in report.findings]
    assert sorted(found, key=str) == [("archive differs", file * 2 + 1, None), ("edited", seal, entry)]
    assert store.files[file].name in report.findings[-1].message


def _edited(content: bytes, place: int) -> bytes:
    parts = content.split(b'"actor":"tester"')
    return (
        b'"actor":"tester"'.join(parts[: place + 1])
        + b'"actor":"nobody"'
        + b'"actor":"tester"'.join(parts[place + 1 :])
    )


async def test_an_entry_that_was_deleted_from_an_archive(store: ArchivedStore) -> None:
    rewritten(store.files[0], lambda held: without_entry(held, 3))
    assert ("deleted", 1, 3) in await store.found()


async def test_an_entry_that_was_inserted_into_an_archive(store: ArchivedStore) -> None:
    def insert(held: bytes) -> bytes:
        lines = held.split(b"\n")
        return b"\n".join([*lines[:13], b"2", b"{}", *lines[13:]])

    rewritten(store.files[0], insert)
    assert ("inserted", 1, 3) in await store.found()


async def test_entries_of_an_archive_that_were_reordered(store: ArchivedStore) -> None:
    def swap(held: bytes) -> bytes:
        lines = held.split(b"\n")
        lines[9:11], lines[13:15] = lines[13:15], lines[9:11]
        return b"\n".join(lines)

    rewritten(store.files[0], swap)
    assert ("reordered", 1, 1) in await store.found()


async def test_an_archive_that_ends_early(store: ArchivedStore) -> None:
    rewritten(store.files[1], lambda held: held[: held.rindex(b"astrocore audit seal")])
    assert ("archive differs", 3, None) in await store.found()


async def test_an_archive_that_goes_on(store: ArchivedStore) -> None:
    file = store.files[0]
    file.write_bytes(file.read_bytes() + gzip.compress(b"astrocore audit seal 1\n"))
    assert await store.found() == [("archive differs", 1, None), ("archive differs", 2, None)]


@pytest.mark.parametrize("harmed", [b"", b"nothing", b"\x1f\x8b\x08\x00"], ids=repr)
async def test_an_archive_that_is_none(store: ArchivedStore, harmed: bytes) -> None:
    store.files[1].write_bytes(harmed)
    report = await store.verify()
    assert {(each.wrong, each.seal) for each in report.findings} == {("archive differs", 3)}
    assert (report.unread, report.entries) == (10, 22)


async def test_an_archive_that_is_damaged_in_the_middle(store: ArchivedStore) -> None:
    held = store.files[0].read_bytes()
    store.files[0].write_bytes(held[: len(held) // 2] + bytes(20) + held[len(held) // 2 + 20 :])
    found = await store.found()
    assert found[0] == ("archive differs", 1, None)


async def test_a_missing_archive_is_named_and_the_rest_is_verified(store: ArchivedStore) -> None:
    store.files[0].unlink()
    report = await store.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("archive missing", 1)]
    assert (report.archived, report.unread, report.sealed, report.entries) == (10, 10, 30, 22)


async def test_archives_are_read_where_one_says_that_they_are(store: ArchivedStore, tmp_path: Path) -> None:
    store.folder.rename(tmp_path / "elsewhere")
    assert {wrong for wrong, *_ in await store.found()} == {"archive missing"}
    async with open_evidence(store.settings, tmp_path / "elsewhere") as evidence:
        assert evidence.archives == tmp_path / "elsewhere"
    (tmp_path / "elsewhere").rename(store.folder)
    assert (await store.verify()).ok


async def test_entries_that_were_trimmed_without_a_tombstone(store: ArchivedStore) -> None:
    await store.redis.xtrim(store.key("entries"), minid=26, approximate=False)
    await store.redis.set(store.key("archived"), 25)
    assert await store.found() == [("deleted", 5, 21)]


async def test_a_tombstone_that_the_core_db_lost(store: ArchivedStore) -> None:
    await store.stores.core.execute("DELETE FROM audit_archives WHERE number = 1")
    assert await store.found() == [("tombstone missing", 1, None)]


async def test_the_newest_tombstone_is_gone_from_redis_where_the_entries_are(store: ArchivedStore) -> None:
    await store.redis.xdel(store.key("archives"), "2-0")
    report = await store.verify()
    assert [(each.wrong, each.seal) for each in report.findings] == [("tombstone missing", 3)]
    assert (report.archived, report.tombstone_owed) == (20, None), "the archive has them"


async def test_tombstones_that_both_stores_lost(store: ArchivedStore) -> None:
    await store.stores.core.execute("DELETE FROM audit_archives")
    await store.redis.delete(store.key("archives"))
    assert await store.found() == [("deleted", 1, 1)]


async def test_a_tombstone_of_another_key(store: ArchivedStore) -> None:
    texts = [
        row["tombstone"] for row in await store.stores.core.fetch("SELECT tombstone FROM audit_archives")
    ]
    await _resign(store, texts[1])
    assert ("tombstone untrusted", 3, None) in await store.found()
    assert ("deleted", 3, 11) in await store.found()


async def _resign(store: ArchivedStore, text: str) -> None:
    """Let the newest tombstone be one that somebody without the key has made."""
    from app.audit.archiving.tombstones import Tombstone
    from app.audit.sealing.keys import Keyring

    other = Keyring.of(with_keys(store.settings, new_key()))
    assert other is not None
    read = Tombstone.read(text)
    forged = Tombstone(**{**vars(read), "key": other.id}).signed_by(other)
    await store.stores.core.execute("UPDATE audit_archives SET tombstone = $1 WHERE number = 2", forged)
    await store.redis.delete(store.key("archives"))
    first = await store.stores.core.fetchval("SELECT tombstone FROM audit_archives WHERE number = 1")
    for number, each in ((1, first), (2, forged)):
        await store.redis.xadd(store.key("archives"), {"tombstone": each}, id=f"{number}-0")


async def test_tombstones_that_differ(store: ArchivedStore) -> None:
    text = await store.stores.core.fetchval("SELECT tombstone FROM audit_archives WHERE number = 1")
    await store.stores.core.execute("UPDATE audit_archives SET tombstone = $1 WHERE number = 1", text + "x")
    assert await store.found() == [("tombstone differs", 1, None)]


async def test_a_tombstone_that_is_none(store: ArchivedStore) -> None:
    await store.stores.core.execute("UPDATE audit_archives SET tombstone = 'x' WHERE number = 1")
    await store.redis.delete(store.key("archives"))
    await store.redis.xadd(store.key("archives"), {"else": "x"}, id="1-0")
    await store.redis.xadd(store.key("archives"), {"else": "x"}, id="2-0")
    found = await store.found()
    assert ("tombstone unreadable", 1, None) in found
    assert ("deleted", 1, 1) in found


async def test_an_entry_that_redis_has_again_though_it_is_archived(store: ArchivedStore) -> None:
    await store.change(lambda entries: entries.insert(0, ("7-0", told("new"))))
    assert await store.found() == [("inserted", 2, 7)]


async def test_what_lies_in_redis_is_judged_as_before(store: ArchivedStore) -> None:
    kept = bodies(await store.entries())
    await store.change(lambda entries: entries[2][1].update(told("edited")))
    assert await store.found() == [("edited", 5, 23)]
    await store.put([(f"{number}-0", each) for number, each in enumerate(kept, 21)])
    assert (await store.verify()).ok
    await store.redis.xdel(store.key("entries"), "21-0")
    assert await store.found() == [("deleted", 5, 21)]


async def test_a_file_that_inflates_without_end_is_given_up(
    store: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives_module, "FOREIGN_BYTES", 2**20)
    lines = gzip.decompress(store.files[0].read_bytes()).split(b"\n")[:9]
    huge = b"%d\n%b\n" % (2**19, bytes(2**19))
    store.files[0].write_bytes(gzip.compress(b"\n".join(lines) + b"\n" + huge * 16))
    tracemalloc.start()
    try:
        found = await store.found()
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {(wrong, seal) for wrong, seal, _ in found} == {("archive differs", 1)}
    assert peak < 5 * 2**20


async def test_a_chain_that_ends_before_what_is_archived(store: ArchivedStore) -> None:
    await store.stores.core.execute("DELETE FROM audit_seals WHERE number > 3")
    await store.redis.delete(store.key("entries"), store.key("seals"))
    for number, text in enumerate(await store.seals(), 1):
        await store.redis.xadd(store.key("seals"), {"seal": text}, id=f"{number}-0")
    await store.redis.set(store.key("sequence"), 0)
    assert ("tombstone unchained", None, None) in await store.found()


def test_a_tombstone_has_one_spelling() -> None:
    text = (
        b"astrocore audit archive 1\nnumber 1\nfirst 1\nlast 10\nseals 1 2\nfile audit-1.gz\nsha256 " + b"0" * 64
        + b"\nprevious " + b"0" * 64 + b"\ntime 2026-11-23T01:20:00.123Z\nkey " + b"0" * 16 + b"\nsignature "
        + b"A" * 86 + b"==\n"
    )  # fmt: skip
    assert read_tombstone(text) is not None
    for change in (
        (b"audit-1.gz", b"../audit-1.gz"),
        (b"audit-1.gz", b"a/b"),
        (b"number 1", b"number 01"),
        (b"\n", b"\r\n"),
    ):
        assert read_tombstone(text.replace(*change)) is None
