"""Archives come back from a backup, and nothing else does."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from app.audit import outbox
from app.audit.archiving import archiver as archiver_module
from app.audit.archiving import restoring
from app.audit.archiving.files import digest_of, forget_members
from app.audit.archiving.index import path_of
from app.audit.archiving.restoring import Restored, Restorer
from app.audit.archiving.tombstones import Tombstone
from app.audit.entries import FactEntry
from app.audit.queries import EntryFilter
from app.audit.sealing.keys import Keyring
from app.audit.sealing.stream import ChainBrokenError
from app.errors import InvalidInputError
from tests.app.audit.archived import ArchivedStore
from tests.app.audit.sealed import new_key, with_keys
from tests.app.audit.test_queries import walked


@pytest.fixture
async def backup(archived: ArchivedStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a copy of two archives lies that are gone from their place."""
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 5)
    for _ in range(3):
        await archived.seal(5)
    assert [await archived.archive(), await archived.archive()] == [5, 5]
    folder = tmp_path / "backup"
    shutil.copytree(archived.folder, folder, ignore=shutil.ignore_patterns("*.index"))
    shutil.rmtree(archived.folder)
    forget_members()
    return folder


def files_of(backup: Path) -> list[Path]:
    return sorted(backup.iterdir())


async def put_back(store: ArchivedStore, *given: Path, signing: str | None = None) -> list[Restored]:
    keys = Keyring.of(with_keys(store.settings, signing) if signing else store.settings)
    assert keys is not None
    async with store.stores.core.acquire() as core:
        restorer = Restorer(core, store.redis, store.settings.namespace, store.folder, keys)
        return await restorer.restore(given, by="ann")


async def test_archives_come_back_and_are_read(archived: ArchivedStore, backup: Path) -> None:
    restored = await put_back(archived, backup)
    assert [(each.number, each.entries, each.copied) for each in restored] == [(1, 5, True), (2, 5, True)]
    assert [path_of(each).exists() for each in archived.files] == [True, True]
    assert await walked(archived.audit, EntryFilter(actor="tester")) == list(range(15, 0, -1))
    assert (await archived.verify()).ok
    assert [each.copied for each in await put_back(archived, backup)] == [False, False]
    await outbox.relay(archived.stores.core, archived.audit)
    page, _ = await archived.audit.page(
        "by:name:operator:archive:restore", 1, 99, newest_first=False, limit=9
    )
    targets = [each.entry.target for each in page if isinstance(each.entry, FactEntry)]
    assert targets == [each.file for each in restored]


async def test_a_damaged_archive_is_replaced(archived: ArchivedStore, backup: Path) -> None:
    first, second = files_of(backup)
    await put_back(archived, first)
    archived.files[0].write_bytes(b"damaged")
    assert [each.copied for each in await put_back(archived, first, second)] == [True, True]
    assert (await archived.verify()).ok


@pytest.mark.parametrize("harm", ["edited", "cut", "foreign", "nothing", "absent", "empty"])
async def test_of_what_does_not_all_fit_nothing_is_taken(
    archived: ArchivedStore, backup: Path, harm: str
) -> None:
    first, second = files_of(backup)
    match harm:
        case "edited":
            second.write_bytes(second.read_bytes() + b"\0")
        case "cut":
            second.write_bytes(second.read_bytes()[:-9])
        case "foreign":
            second.write_bytes(b"no archive")
        case "nothing":
            second.write_bytes(b"")
        case "absent":
            second.unlink()
        case _:
            second = backup / "empty"
            second.mkdir()
    given = [second] if harm == "empty" else [first, second]
    with pytest.raises(InvalidInputError) as refused:
        await put_back(archived, *given)
    assert [each.where for each in refused.value.faults] == [str(second)]
    assert not archived.folder.exists()


async def test_tombstones_of_another_key_vouch_for_nothing(archived: ArchivedStore, backup: Path) -> None:
    with pytest.raises(InvalidInputError):
        await put_back(archived, backup, signing=new_key())


async def test_an_archive_whose_seals_the_core_db_does_not_have_is_refused(
    archived: ArchivedStore, backup: Path
) -> None:
    await archived.stores.core.execute("DELETE FROM audit_seals WHERE number = 2")
    with pytest.raises(InvalidInputError) as refused:
        await put_back(archived, backup)
    assert "its seals are not those" in refused.value.faults[0].message


async def test_an_archive_that_a_tombstone_names_but_no_seal_covers_is_refused(
    archived: ArchivedStore, backup: Path
) -> None:
    second = files_of(backup)[1]
    second.write_bytes(gzip.compress(gzip.decompress(second.read_bytes()).replace(b"tester", b"nobody")))
    core, keys = archived.stores.core, Keyring.of(archived.settings)
    assert keys is not None
    held = Tombstone.read(await core.fetchval("SELECT tombstone FROM audit_archives WHERE number = 2"))
    forged = replace(held, digest=digest_of(second)).signed_by(keys)
    await core.execute("UPDATE audit_archives SET tombstone = $1 WHERE number = 2", forged)
    with pytest.raises(InvalidInputError) as refused:
        await put_back(archived, second)
    assert refused.value.faults[0].message == "its entries are not what was sealed"


async def test_a_tombstone_that_the_core_db_has_lost_comes_back_with_its_file(
    archived: ArchivedStore, backup: Path
) -> None:
    await put_back(archived, backup)
    core = archived.stores.core
    held = await core.fetch(
        "SELECT number, first_sequence, last_sequence, file, bytes, tombstone FROM audit_archives"
    )
    await core.execute("DELETE FROM audit_archives WHERE number = 2")
    with pytest.raises(ChainBrokenError, match="archive 2"):
        await archived.archiver.finish()
    assert [each.copied for each in await put_back(archived, archived.folder)] == [False, False]
    await archived.archiver.finish()
    found = await core.fetch(
        "SELECT number, first_sequence, last_sequence, file, bytes, tombstone FROM audit_archives "
        "WHERE trimmed_at IS NOT NULL ORDER BY number"
    )
    assert found == held
    assert await walked(archived.audit, EntryFilter()) == list(range(15, 0, -1))
    assert (await archived.verify()).ok


async def test_what_redis_alone_says_vouches_for_nothing_unless_it_is_signed(
    archived: ArchivedStore, backup: Path
) -> None:
    await archived.stores.core.execute("DELETE FROM audit_archives")
    (_, held), (_, other) = await archived.redis.xrange(archived.key("archives"))
    await archived.redis.delete(archived.key("archives"))
    for text in (held["tombstone"].replace("audit-0", "audit-1"), other["tombstone"][:-1], "\xff"):
        await archived.redis.xadd(archived.key("archives"), {"tombstone": text})
    with pytest.raises(InvalidInputError):
        await put_back(archived, backup)
    assert not archived.folder.exists()


async def test_a_file_that_changes_while_it_is_read_is_not_taken(
    archived: ArchivedStore, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring.shutil, "copyfileobj", lambda source, copy: copy.write(source.read()[:-1]))
    with pytest.raises(InvalidInputError) as refused:
        await put_back(archived, backup)
    assert {each.message for each in refused.value.faults} == {"it has changed while it was read"}
    assert list(archived.folder.iterdir()) == []
    assert (
        await archived.stores.core.fetchval(
            "SELECT count(*) FROM audit_outbox WHERE entry::text LIKE '%restore%'"
        )
        == 0
    )


async def test_one_archive_comes_back_while_an_older_one_is_missing(
    archived: ArchivedStore, backup: Path
) -> None:
    """And while nothing is known of that one: then there is no index yet."""
    first, second = files_of(backup)
    await archived.stores.core.execute("UPDATE audit_archives SET file = 'x' WHERE number = 1")
    assert [each.number for each in await put_back(archived, second)] == [2]
    await archived.stores.core.execute("UPDATE audit_archives SET file = $1 WHERE number = 1", first.name)
    assert (await archived.audit.page(None, 6, 10, newest_first=False, limit=9))[0][0].sequence == 6
    await put_back(archived, first)
    assert (await archived.verify()).ok
