"""Archivers are killed at every step while others write: nothing is lost, nothing comes twice, nothing goes without a tombstone."""

import asyncio
import os
import random
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from app.audit.archiving.tombstones import Tombstone
from app.audit.entries import Entry, FactEntry, IntentEntry, OutcomeEntry
from app.audit.queries import EntryFilter, list_entries
from config.settings import PREFIX, Settings
from tests.app.audit.archived import ArchivedStore, open_archived
from tests.app.audit.entries import end, fact, intent

KILLS = int(os.environ.get("KILLS", "20"))
# Where an archiver is killed: before or after each step that leaves something behind.
STEPS = (
    "Archiver._write", "Archiver._keep", "Archiver._finish", "Library.index", "Trimmer.add_tombstone",
    "Trimmer.trim_entries", "Trimmer.trim_lists", "Trimmer.forget_ids", "digest_of", "keep",
)  # fmt: skip
_ARCHIVER = """
import asyncio, os, signal, sys
from datetime import timedelta
from app.audit.archiving import archiver as archiver_module, files, index
from app.audit.archiving.archiver import Archiver
from app.audit.archiving.due import find_due
from app.audit.archiving.library import Library
from app.audit.archiving.trimming import Trimmer
from app.audit.sealing.keys import Keyring
from app.audit.sealing.sealer import Sealer
from app.audit.sealing.stream import Stream
from app.audit.store import AuditStore
from app.clock import now
from app.stores.connections import open_redis, open_stores
from config.settings import settings

archiver_module.FILE_ENTRIES = 40
step, when, round = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0

def die():
    global seen
    seen += 1
    if seen == round:
        os.kill(os.getpid(), signal.SIGKILL)

def deadly(real):
    if asyncio.iscoroutinefunction(real):
        async def call(*arguments, **named):
            if when == "before": die()
            answer = await real(*arguments, **named)
            if when == "after": die()
            return answer
    else:
        def call(*arguments, **named):
            if when == "before": die()
            answer = real(*arguments, **named)
            if when == "after": die()
            return answer
    return call

owner, _, name = step.rpartition(".")
holder = {"Archiver": Archiver, "Library": Library, "Trimmer": Trimmer, "": archiver_module}[owner]
setattr(holder, name, deadly(getattr(holder, name)))

async def main():
    async with open_stores(settings()) as stores, open_redis(settings().url("audit_retention_url")) as retention:
        namespace = settings().namespace
        stream, keys = Stream.of(stores.audit, namespace), Keyring.of(settings())
        archiver = Archiver(stores.core, stream, Trimmer.of(retention, namespace), settings().archive_dir, keys)
        hot, later = AuditStore(stores.audit, namespace), timedelta(days=1)
        print("ready", flush=True)
        while True:
            await Sealer(stores.core, stream, keys).seal_new()
            await archiver.finish()
            due = await find_due(stores.core, hot, now() + later, now() + later)
            if due.entries > 0:
                await archiver.archive(due, by="archiver")
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


class Writers:
    """Append facts and changes, and remember what was acknowledged."""

    def __init__(self, store: ArchivedStore) -> None:
        self.store = store
        self.acknowledged: list[Entry] = []
        self.over = False

    async def write(self) -> None:
        while not self.over:
            tried = intent(random.choice("abc"))
            entries: list[Entry] = [fact(), tried, fact()]
            await self.store.audit.append(entries)
            self.acknowledged += entries
            await asyncio.sleep(0.005)
            await self.store.audit.append([end(tried)])
            self.acknowledged.append(end(tried))


class Reader:
    """Walks through the store all the time, and finds at least what was acknowledged before, as it was written."""

    def __init__(self, store: ArchivedStore, writers: Writers) -> None:
        self.store = store
        self.writers = writers
        self.walks = 0

    async def read(self) -> None:
        while not self.writers.over:
            for wanted in (
                EntryFilter(),
                EntryFilter(actor="ann"),
                EntryFilter(entity="customers"),
                EntryFilter(since=datetime(2000, 1, 1, tzinfo=UTC)),
            ):
                expected = [each for each in self.writers.acknowledged if _has(each, wanted)]
                seen = {_identity(entry): entry async for _, entry in _walk(self.store, wanted)}
                assert [seen.get(_identity(each)) for each in expected] == expected, wanted
                self.walks += 1


def _has(entry: Entry, wanted: EntryFilter) -> bool:
    is_fact = isinstance(entry, FactEntry)
    return not (wanted.actor and not is_fact) and not (wanted.entity and is_fact)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_archivers_that_are_killed_at_every_step_lose_nothing(
    settings_of_test: Settings, tmp_path: Path
) -> None:
    async with open_archived(settings_of_test, tmp_path / "archives", guarded=True) as store:
        writers = Writers(store)
        reader = Reader(store, writers)
        writing = [asyncio.create_task(each) for each in (writers.write(), writers.write(), reader.read())]
        try:
            for kill in range(KILLS):
                step, when = STEPS[kill % len(STEPS)], ("before", "after")[kill // len(STEPS) % 2]
                await _run_until_killed(store.settings, step, when, random.randint(1, 3))
                await _look_at(store)
        finally:
            writers.over = True
            ended = await asyncio.gather(*writing, return_exceptions=True)
        assert ended == [None, None, None]
        assert reader.walks > 0
        for tried in await store.audit.open_intents():
            await store.audit.append([end(tried)])
            writers.acknowledged.append(end(tried))
        await store.sealer().seal_new()
        await store.archiver.finish()
        await _everything_is_there_once(store, writers.acknowledged)


async def _look_at(store: ArchivedStore) -> None:
    report = await store.verify(patience=2)
    assert report.ok, report.findings
    count = await store.audit.count()
    assert count.missing == 0
    texts = await store.stores.core.fetch("SELECT tombstone FROM audit_archives ORDER BY number")
    reach = max((Tombstone.read(row["tombstone"]).last for row in texts), default=0)
    assert count.archived <= reach
    assert count.archived <= report.archived or not texts


async def _everything_is_there_once(store: ArchivedStore, acknowledged: list[Entry]) -> None:
    report = await store.verify()
    assert report.ok, report.findings
    count = await store.audit.count()
    print(f"{KILLS} kills, {count.counted} entries, {count.archived} of them in {report.archives} archives")
    assert count.archived > 0
    assert (
        await store.stores.core.fetchval("SELECT count(*) FROM audit_archives WHERE trimmed_at IS NULL") == 0
    )
    seen = [each async for each in _walk(store, EntryFilter())]
    assert [place for place, _ in seen] == list(range(1, count.counted + 1))
    there = {_identity(entry): entry for _, entry in seen}
    assert len(there) == len(seen)
    assert [there.get(_identity(each)) for each in acknowledged] == acknowledged
    listed = [place async for place, _ in _walk(store, EntryFilter(actor="ann"))]
    assert listed == [place for place, entry in seen if getattr(entry, "actor", None) == "ann"]
    changes = {each.id for each in acknowledged if isinstance(each, IntentEntry)}
    found = await store.audit.find(list(changes))
    assert found.keys() == changes
    assert all(ended is not None for _, ended in found.values())
    assert list(store.folder.glob("*.gz"))


async def _walk(store: ArchivedStore, wanted: EntryFilter):
    cursor = None
    while True:
        page = await list_entries(store.audit, wanted, newest_first=False, limit=200, cursor=cursor)
        for each in page.items:
            yield each.sequence, each.entry
        if (cursor := page.next_cursor) is None:
            return


def _identity(entry: Entry) -> tuple[str, UUID]:
    return ("outcome" if isinstance(entry, OutcomeEntry) else "begun", entry.id)


async def _run_until_killed(settings: Settings, step: str, when: str, occurrence: int) -> None:
    values = {
        PREFIX + name.upper(): value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        for name, value in settings
        if value is not None
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ARCHIVER, step, when, str(occurrence),
        env={**os.environ, **values, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            _out, error = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == -9, (step, when, error.decode()[-2000:])
