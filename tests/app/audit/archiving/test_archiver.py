"""Whole seals move to files in order, and leave Redis only once they are safe there."""

import asyncio
import gzip
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from redis.client import NEVER_DECODE

from app.audit import outbox
from app.audit import store as store_module
from app.audit.archiving import archiver as archiver_module
from app.audit.archiving.archiver import Archiver
from app.audit.archiving.due import Due, find_due
from app.audit.archiving.files import ArchiveUnreadableError, forget_members, members_of
from app.audit.archiving.index import path_of
from app.audit.archiving.orders import get_order, order
from app.audit.archiving.tombstones import Tombstone
from app.audit.archiving.trimming import Trimmer
from app.audit.archiving.turn import take_turn
from app.audit.entries import Entry, Fact, FactEntry, encode
from app.audit.queries import EntryFilter
from app.audit.sealing.keys import Keyring
from app.audit.sealing.proofs import prove
from app.audit.sealing.stream import ChainBrokenError, Stream
from app.audit.store import AuditStore
from app.audit.verification.proofs import check_proofs
from app.audit.verification.seals import read_keys
from app.clock import now
from app.errors import StoreUnavailableError
from tests.app.audit.archived import LATER, ArchivedStore, with_settings
from tests.app.audit.entries import end, fact, intent
from tests.app.audit.sealed import new_key, told, with_keys
from tests.app.audit.test_queries import walked


async def test_seals_move_to_a_file_that_anybody_can_read(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(4)
    entries, seals = await archived.entries(), await archived.seals()

    assert await archived.archive() == 8

    (file,) = archived.files
    expected = "".join(
        seal
        + "".join(
            f"{len(body['entry'].encode())}\n{body['entry']}\n" for _place, body in entries[at : at + 4]
        )
        for seal, at in zip(seals[:2], (0, 4), strict=True)
    )
    assert gzip.decompress(file.read_bytes()).decode() == expected
    assert [each.seal.number for each in members_of(file)] == [1, 2]
    assert [place for place, _fields in await archived.entries()] == [
        f"{number}-0" for number in range(9, 13)
    ]
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(archived.folder.glob("*.partial")) == []


async def test_an_archive_is_a_fact_and_has_a_tombstone_in_both_stores(archived: ArchivedStore) -> None:
    for _ in range(2):
        await archived.seal(3)
    await archived.archive()
    row = await archived.stores.core.fetchrow("SELECT * FROM audit_archives")
    assert await archived.redis.xrange(archived.key("archives")) == [("1-0", {"tombstone": row["tombstone"]})]
    assert (row["first_sequence"], row["last_sequence"], row["bytes"]) == (
        1,
        3,
        archived.files[0].stat().st_size,
    )
    assert row["trimmed_at"] is not None
    await outbox.relay(archived.stores.core, archived.audit)
    made = (await archived.audit.page("by:name:audit:archive:make", 1, 99, newest_first=True, limit=5))[0]
    assert [each.entry.target for each in made if isinstance(each.entry, FactEntry)] == [
        archived.files[0].name
    ]


async def test_nothing_is_left_in_redis_that_leads_to_what_is_gone(archived: ArchivedStore) -> None:
    changes = [intent("a"), intent("b")]
    await archived.write([changes[0], end(changes[0]), fact()])
    await archived.write([changes[1], end(changes[1]), fact()])
    await archived.write([fact(actor="bob")])
    keys = set(await archived.redis.keys(archived.key("*")))
    await archived.archive()
    names = {each.removeprefix(archived.key("")) for each in await archived.redis.keys(archived.key("*"))}
    assert len(keys) == 20
    assert {each for each in names if not each.startswith("ids:")} == {
        "entries", "sequence", "archived", "seals", "archives", "left", "by:kind:fact", "by:name:operator:job:change", "by:actor:bob",
    }  # fmt: skip
    assert len([each for each in names if each.startswith("ids:")]) == 1


async def test_a_change_that_ended_later_keeps_its_id_until_its_outcome_goes(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 1)
    tried = intent()
    for each in (tried, end(tried), fact()):
        await archived.write([each])
    for archives in (1, 2):
        assert await archived.archive() == 1
        begun, ended = (await archived.audit.find([tried.id]))[tried.id]
        assert (begun.entry, ended and ended.sequence) == (tried, 2)
        assert await archived.redis.keys(archived.key("ids:*")) != []
        assert len(archived.files) == archives
    assert await archived.redis.hlen(archived.key(_ids_of(tried.id))) == 0


def _ids_of(id_: UUID) -> str:
    return f"ids:{id_.bytes[-2]:02x}{id_.bytes[-1]:02x}"


async def test_the_newest_seal_stays(archived: ArchivedStore) -> None:
    await archived.seal(3)
    assert (await archived.due()).entries == 0
    await archived.seal(1)
    due = await archived.due()
    assert (due.entries, due.seals, due.held_by) == (3, (1, 1), "its seal is the newest one")


async def test_what_was_sealed_within_the_hour_stays(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)
    hot = AuditStore(archived.redis, archived.settings.namespace)
    for ahead, entries in ((timedelta(minutes=59), 0), (timedelta(minutes=61), 6)):
        assert (await find_due(archived.stores.core, hot, now() + LATER, now() + ahead)).entries == entries
    assert (await find_due(archived.stores.core, hot, now() - LATER, now() + LATER)).entries == 0


async def test_a_change_without_an_outcome_stays_and_all_after_it(archived: ArchivedStore) -> None:
    tried = intent()
    for each in (fact(), tried, fact(), fact()):
        await archived.write([each])
    due = await archived.due()
    assert (due.entries, due.held_by) == (1, "a change has no outcome yet")
    await archived.write([end(tried)])
    assert (await archived.due()).entries == 4


async def test_a_change_of_a_later_version_without_an_outcome_stays_too(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_later_version(entry: Entry) -> bytes:
        return encode(entry).replace(b'"type":"intent"', b'"type":"intent.2"')

    monkeypatch.setattr(store_module, "encode", of_a_later_version)
    for each in (fact(), intent(), fact(), fact()):
        await archived.write([each])
    due = await archived.due()
    assert (due.entries, due.held_by) == (1, "a change has no outcome yet")


async def test_a_fact_that_may_be_sent_again_stays(archived: ArchivedStore) -> None:
    async with archived.stores.core.acquire() as connection, connection.transaction():
        await outbox.record(connection, Fact.JOB_CHANGED, by="ann", target="x")
    body = await archived.stores.core.fetchval("SELECT entry FROM audit_outbox")
    from app.audit.entries import decode

    await archived.write([fact()])
    await archived.write([decode(body)])
    for _ in range(3):
        await archived.write([fact()])
    due = await archived.due()
    assert (due.entries, due.held_by) == (1, "a fact waits in the outbox")
    assert await archived.archive() == 1
    await outbox.relay(archived.stores.core, archived.audit)
    assert (await archived.audit.page(None, 1, 99, newest_first=True, limit=99))[0][
        0
    ].sequence == 6  # but for its own fact
    assert (await archived.audit.count()).counted == 6


@pytest.mark.parametrize("step", ["add_tombstone", "trim_entries", "trim_lists", "forget_ids"])
async def test_what_was_begun_is_finished_by_the_next_turn(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for _ in range(3):
        await archived.seal(3)

    async def die(*_arguments: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(Trimmer, step, die)
        with pytest.raises(InterruptedError):
            await archived.archive()
    assert await walked(archived.audit, EntryFilter()) == list(range(9, 0, -1))
    assert await walked(archived.audit, EntryFilter(actor="tester")) == list(range(9, 0, -1))
    await archived.archiver.finish()
    assert (
        await archived.stores.core.fetchval("SELECT count(*) FROM audit_archives WHERE trimmed_at IS NULL")
        == 0
    )
    assert await archived.redis.lrange(archived.key("by:actor:tester"), 0, -1) == ["7", "8", "9"]
    assert (await archived.audit.count()).missing == 0
    assert (await archived.verify()).ok


async def test_of_two_archivers_at_once_one_makes_each_archive(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)
    due = await archived.due()
    made = await asyncio.gather(*(archived.archiver.archive(due, by="tester") for _ in range(4)))
    assert sorted(made) == [0, 0, 0, 6]
    assert (await archived.verify()).ok


async def test_what_another_archiver_has_taken_meanwhile_is_no_break(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await archived.seal(3)
    due, write = await archived.due(), Archiver._write

    async def late(archiver: Archiver, due: Due) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(Archiver, "_write", write)
            assert await archived.archive() == 6
        return await write(archiver, due)

    monkeypatch.setattr(Archiver, "_write", late)
    assert await archived.archiver.archive(due, by="tester") == 0
    monkeypatch.setattr(Archiver, "_write", write)
    assert await archived.archiver.archive(due, by="tester") == 0
    assert len(archived.files) == 1


async def test_what_a_redis_has_lost_that_was_put_back_is_done_again(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)
    before = {each: await _dumped(archived, each) for each in await archived.redis.keys(archived.key("*"))}
    await archived.archive()
    await archived.redis.delete(*await archived.redis.keys(archived.key("*")))
    for key, value in before.items():
        await archived.redis.restore(key, 0, value)  # type: ignore[arg-type]
    with pytest.raises(ChainBrokenError, match="Redis has had tombstones up to 0"):
        await archived.archiver._make(await archived.due(), await archived.archiver._end(), "tester")
    await archived.archiver.finish()
    assert len(await archived.entries()) == await archived.redis.llen(archived.key("by:actor:tester")) == 3
    await archived.seal(3)
    assert await archived.archive() == 3
    assert await walked(archived.audit, EntryFilter(actor="tester")) == list(range(12, 0, -1))
    assert (await archived.verify()).ok


async def _dumped(archived: ArchivedStore, key: str) -> bytes:
    execute: Any = archived.redis.execute_command
    return bytes(await execute("DUMP", key, **{NEVER_DECODE: True}))


async def test_what_stands_in_the_place_of_tombstones_stops_archiving_until_they_are_put_back(
    archived: ArchivedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 3)
    for _ in range(4):
        await archived.seal(3)
    assert [await archived.archive(), await archived.archive()] == [3, 3]
    held = await archived.redis.xrange(archived.key("archives"))
    archived.files[0].unlink()
    for harm in (
        ("XADD", archived.key("archives"), "999999-0", "x", b"\xff"),
        ("HSET", archived.key("archives"), "x", "y"),
    ):
        await archived.redis.delete(archived.key("archives"))
        await archived.redis.execute_command(*harm)
        with pytest.raises(ChainBrokenError, match=r"the tombstones in Redis|tombstones up to 999999"):
            await archived.archive()
        assert await archived.stores.core.fetchval("SELECT count(*) FROM audit_archives") == 2
        await archived.redis.delete(archived.key("archives"))  # as docs/audit.md says
        await archived.archiver.finish()
        assert await archived.redis.xrange(archived.key("archives")) == held
    assert await archived.archive() == 3


async def test_a_lost_file_keeps_nothing_else_from_being_archived(
    archived: ArchivedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 1)
    tried = intent("a")
    for each in (tried, end(tried), fact(), fact()):
        await archived.write([each])
    assert await archived.archive() == 1
    (lost,) = archived.files
    lost.rename(tmp_path / lost.name)
    path_of(lost).unlink()
    forget_members()
    assert [await archived.archive() for _ in range(2)] == [1, 1]
    there, _ = await archived.audit.page(None, 2, 9, newest_first=False, limit=9)
    assert [each.sequence for each in there] == [2, 3, 4]
    with pytest.raises(StoreUnavailableError, match=lost.name):
        await walked(archived.audit, EntryFilter(entity="customers"))
    (tmp_path / lost.name).rename(lost)
    assert await walked(archived.audit, EntryFilter(entity="customers")) == [2, 1]


@pytest.mark.usefixtures("tomorrow")
async def test_a_row_that_is_no_archive_stops_archiving_and_says_so(
    archived: ArchivedStore, logged: list[tuple[str, str]]
) -> None:
    for _ in range(4):
        await archived.seal(3)
    core, other = archived.stores.core, Keyring.of(with_keys(archived.settings, new_key()))
    await archived.archive()
    held = await core.fetchval("SELECT tombstone FROM audit_archives")
    assert other is not None
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    foreign = replace(Tombstone.read(held), number=2, key=other.id).signed_by(other)
    for stopped, text in enumerate(("garbage", held, foreign), 1):
        await core.execute("DELETE FROM audit_archives WHERE number = 2")
        await core.execute("INSERT INTO audit_archives VALUES (2, 0, 1000000, 'x', 1, $1, now())", text)
        assert await take_turn(stores) == 0
        assert logged.count(("ERROR", "archiving.stopped")) == stopped


async def test_nothing_is_archived_that_is_not_what_was_sealed(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)
    await archived.change(lambda entries: entries[1][1].update(told("edited")))
    with pytest.raises(ChainBrokenError, match="seal 1"):
        await archived.archive()
    assert archived.files == []
    assert list(archived.folder.glob("*")) == []


async def test_nothing_is_trimmed_beside_what_nobody_counted(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)

    async def slip_in(*_arguments: object) -> None:
        await archived.change(lambda entries: entries.insert(2, ("2-5", told("new"))))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trimmer, "add_tombstone", slip_in)
        with pytest.raises(ChainBrokenError, match="not as many"):
            await archived.archive()
    assert len(await archived.entries()) == 10


async def test_nothing_is_trimmed_while_its_file_is_not_what_was_written(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)

    async def die(*_arguments: object) -> None:
        raise InterruptedError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trimmer, "add_tombstone", die)
        with pytest.raises(InterruptedError):
            await archived.archive()
    held = archived.files[0].read_bytes()
    archived.files[0].write_bytes(held[:-1])
    with pytest.raises(ArchiveUnreadableError, match="not what was written"):
        await archived.archiver.finish()
    stores = with_settings(archived, audit_retention_url=archived.settings.audit_url)
    made = await order(stores, now(), by="ann", reason=None)
    with pytest.raises(ArchiveUnreadableError):
        await take_turn(stores)
    assert "not what was written" in str((await get_order(stores, made.id)).refused)
    assert len(await archived.entries()) == 9
    archived.files[0].write_bytes(held)
    await archived.archiver.finish()
    assert len(await archived.entries()) == 3


async def test_nothing_is_trimmed_that_redis_does_not_have_any_more(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)

    async def put_back(*_arguments: object) -> None:
        await archived.change(lambda entries: entries.__delitem__(slice(4, None)))
        await archived.redis.set(archived.key("sequence"), 4)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trimmer, "add_tombstone", put_back)
        with pytest.raises(ChainBrokenError, match="not as many"):
            await archived.archive()
    assert len(await archived.entries()) == 4


async def test_what_was_left_half_written_is_removed_a_day_later(archived: ArchivedStore) -> None:
    archived.folder.mkdir()
    old, young, whole = (archived.folder / name for name in ("a.partial", "b.partial", "audit-x.gz"))
    for each in (old, young, whole):
        each.touch()
    for each in (old, whole):
        os.utime(each, (0, 0))
    await archived.archiver.finish()
    assert [each.exists() for each in (old, young, whole)] == [False, True, True]


async def test_an_archived_entry_is_proven(archived: ArchivedStore) -> None:
    tried = intent()
    await archived.write([tried, end(tried), fact()])
    await archived.seal(2)
    await archived.archive()
    stream = Stream.of(archived.redis, archived.settings.namespace)
    async with archived.stores.core.acquire() as connection:
        assert isinstance(connection, asyncpg.pool.PoolConnectionProxy)
        import msgspec

        for wanted, sequences in ((tried.id, [1, 2]), (3, [3]), (4, [4])):
            made = await prove(connection, archived.audit, stream, wanted)
            proven = check_proofs(msgspec.json.encode(made), read_keys(archived.settings.public_keys))
            assert [each.sequence for each in proven] == sequences


async def test_sealing_goes_on_behind_what_is_archived(archived: ArchivedStore) -> None:
    for _ in range(3):
        await archived.seal(3)
        await archived.archive()
    assert await archived.seal(3) == 3
    report = await archived.verify()
    assert (report.ok, report.sealed, report.archived) == (True, 12, 6)
