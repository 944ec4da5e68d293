"""The audit store is killed while it is written, and runs out of disk: nothing acknowledged is lost, nothing is unrecorded."""

import asyncio
import os
import resource
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic import SecretStr

from app.audit.entries import Entry, IntentEntry, OutcomeEntry, kind_of
from app.audit.queries import EntryFilter, list_entries
from app.audit.sealing.turn import take_turn
from app.audit.store import AuditStore
from app.audit.verification.seals import read_keys
from app.audit.verification.stores import open_evidence
from app.audit.verification.walk import verify
from app.embedded.directory import DataDirectory
from app.embedded.ports import free_port
from app.embedded.servers import valkey
from app.errors import StoreUnavailableError
from app.reconciliation.ledger import breaker, jobs, suspects
from app.reconciliation.mapping import load_mappings
from app.reconciliation.repairing.repair import repairer_of
from app.stores.connections import Stores, open_stores
from app.stores.health import FAULTS
from config.settings import Settings
from tests.app.audit.entries import end, fact, intent
from tests.app.reconciliation.worlds import customer, put_document, put_row

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("KILLS", "20"))
WRITERS = 4
RECORDS = 60
ROOM_BYTES = 40_000
TAKE_UP_AGAIN = "UPDATE suspects SET due_at = now(), leased_until = now() - interval '1 second'"

Identity = tuple[str, str]


@dataclass
class AuditServer:
    """An audit store that is started again at once whenever it ends, and whose files may be kept from growing.

    A write past the limit fails with EFBIG where that to a full disk fails with ENOSPC, which is all the same to the
    server: it ends, for it may acknowledge no more.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    bytes_left: int | None = None
    ends: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._keep_running, name="audit server")
        with DataDirectory.open(self.folder) as directory:
            self._store = valkey(directory, "audit", self.port, {"core": "word", "retention": "other"})
        self._thread.start()
        while not asyncio.run(self._store.probe()):
            time.sleep(0.05)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        while self._thread.is_alive():  # it may just be starting another one
            if self._process:
                self._process.terminate()
            self._thread.join(0.1)

    @property
    def url(self) -> SecretStr:
        return SecretStr(f"redis://core:word@127.0.0.1:{self.port}/0")

    def kill(self) -> None:
        """Kill it, and wait until another process has begun in its place."""
        before = self.ends
        assert self._process is not None
        self._process.kill()
        while self.ends == before:
            time.sleep(0.01)

    def leave(self, room: int | None) -> None:
        """Let its files grow by so many bytes more, or without a bound, from now on."""
        used = max(path.stat().st_size for path in self.folder.rglob("*.aof"))
        self.bytes_left = None if room is None else used + room
        self._bound()

    def _bound(self) -> None:
        limit = resource.RLIM_INFINITY if self.bytes_left is None else self.bytes_left
        assert self._process is not None
        with suppress(ProcessLookupError):
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def _keep_running(self) -> None:
        while not self._over.is_set():
            # SIGXFSZ is ignored here, and so it stays there. Nothing runs between fork and exec: other threads hold locks.
            self._process = subprocess.Popen(
                self._store.command.argv, stdout=subprocess.DEVNULL, restore_signals=False
            )
            self._bound()
            self._process.wait()
            self.ends += 1
            self._over.wait(0.1)


@pytest.fixture
def server() -> Iterator[AuditServer]:
    with tempfile.TemporaryDirectory() as folder, AuditServer(Path(folder)) as started:
        yield started


@pytest.fixture
def settings(settings_of_test: Settings, server: AuditServer) -> Settings:
    """Those of the other stores, with the audit store on a server of its own."""
    load_mappings("")
    changes: dict[str, Any] = {"audit_url": server.url, "store_timeout_seconds": 1.0}
    return settings_of_test.model_copy(update=changes)


@dataclass
class Load:
    """Writers that send what was not acknowledged again, until it is."""

    audit: AuditStore
    acknowledged: list[Identity] = field(default_factory=list)
    refused: int = 0
    over: bool = False

    async def write(self) -> None:
        while not self.over:
            tried = [intent(str(number)) for number in range(20)]
            await self._send(tried)
            await self._send([*map(end, tried), fact()])

    async def _send(self, entries: list[Entry]) -> None:
        while True:
            try:
                await self.audit.append(entries)
            except StoreUnavailableError:
                self.refused += 1
                await asyncio.sleep(0.02)
            else:
                self.acknowledged += map(identity, entries)
                return


def identity(entry: Entry) -> Identity:
    return kind_of(entry), str(entry.id)


async def keep_sealing(stores: Stores, load: Load) -> None:
    """As the worker does it, but all the time."""
    while not load.over:
        with suppress(*FAULTS, StoreUnavailableError):
            await take_turn(stores)
        await asyncio.sleep(0.2)


async def sealed(stores: Stores) -> int:
    return await stores.core.fetchval("SELECT COALESCE(max(last_sequence), 0) FROM audit_seals")


async def kill_now_and_then(stores: Stores, server: AuditServer, load: Load) -> None:
    """Whatever the sealer is at when the writers have got on, and every other time once it has sealed something."""
    for number in range(KILLS):
        written, reached = len(load.acknowledged), await sealed(stores) if number % 2 else -1
        await asyncio.to_thread(server.kill)
        deadline = time.monotonic() + 30
        while len(load.acknowledged) < written + 200 or await sealed(stores) <= reached:
            assert time.monotonic() < deadline, "the writers, or the sealer, do not get on"
            await asyncio.sleep(0.02)


@pytest.mark.timeout(900)
async def test_kills_of_the_audit_store_lose_and_repeat_nothing_that_was_acknowledged(
    settings: Settings, server: AuditServer
) -> None:
    async with open_stores(settings) as stores:
        load = Load(AuditStore(stores.audit, settings.namespace))
        writers = [asyncio.create_task(load.write()) for _ in range(WRITERS)]
        sealer = asyncio.create_task(keep_sealing(stores, load))
        await kill_now_and_then(stores, server, load)
        load.over = True
        await asyncio.gather(*writers)
        await sealer
        meanwhile = await sealed(stores)
        await take_turn(stores)  # what a turn that was cut off has left to do
        entries = await every_entry(load.audit)
        count = await load.audit.count()
        assert not await load.audit.open_intents()
        listed = [each async for each in walk(load.audit, EntryFilter(entity="customers", key="7"))]

    print(
        f"{KILLS} kills: {len(entries)} entries, {load.refused} appends sent again, {meanwhile} sealed meanwhile"
    )
    assert load.refused >= KILLS
    kept = Counter(identity(entry) for _, entry in entries)
    assert [sequence for sequence, _ in entries] == list(range(1, len(entries) + 1))
    assert kept == Counter(load.acknowledged)
    assert max(kept.values()) == 1
    assert count.missing == 0
    about = {each.id for _, each in entries if isinstance(each, IntentEntry) and each.key == "7"}
    assert sorted(listed) == [sequence for sequence, each in entries if each.id in about]
    async with open_evidence(settings) as evidence:
        report = await verify(evidence, read_keys(settings.public_keys))
    assert report.ok, report


async def every_entry(audit: AuditStore) -> list[tuple[int, Entry]]:
    """Past all indexes."""
    found: list[tuple[int, Entry]] = []
    last: int | None = 0
    while last is not None:
        page, last = await audit.page(None, last + 1, 2**40, newest_first=False, limit=1000)
        found += [(each.sequence, each.entry) for each in page]
    return found


async def walk(audit: AuditStore, wanted: EntryFilter) -> AsyncIterator[int]:
    cursor = None
    while True:
        page = await list_entries(audit, wanted, limit=1000, cursor=cursor)
        for each in page.items:
            yield each.sequence
        if (cursor := page.next_cursor) is None:
            return


@pytest.fixture
async def repairing(settings: Settings) -> AsyncIterator[Stores]:
    async with open_stores(settings) as stores:
        await jobs.ensure_jobs(stores.core)
        await stores.core.execute("UPDATE jobs SET repairs = true WHERE mode <> 'invariants'")
        yield stores


@pytest.mark.timeout(300)
async def test_repairs_stop_while_the_disk_of_the_audit_store_is_full_and_go_on_afterwards(
    repairing: Stores, server: AuditServer
) -> None:
    people = [customer() for _ in range(RECORDS)]
    for each in people:
        await put_document(repairing, "customers", each | {"first_name": "Augusta"})
        await put_row(repairing, "customers", each)
    await suspects.nominate(repairing.core, "customers", [str(each["id"]) for each in people], cause="test")
    server.leave(ROOM_BYTES)
    repairer = replace(repairer_of(repairing), batch=10)
    audit = AuditStore.of(repairing)

    with pytest.raises(StoreUnavailableError, match="the audit store"):
        await repairer.run_due()

    assert server.ends
    # Whoever tries again is refused as well. Tries are no changes: the breaker counts none of them.
    for _ in range(8):
        await intended(audit)
        await repairing.core.execute(TAKE_UP_AGAIN)
        with pytest.raises(StoreUnavailableError, match="the audit store"):
            await repairer.run_due()
    written = await repaired(repairing)
    intents = await intended(audit)
    print(f"{len(written)} of {RECORDS} written when the disk was full, {len(intents)} intended")
    assert 0 < len(written) < RECORDS
    assert written <= intents, "something was changed without a record"
    assert await breaker.stopped(repairing.core) == {}

    server.leave(None)
    deadline = time.monotonic() + 60
    while len(await repaired(repairing)) < RECORDS or await open_intents(audit):
        assert time.monotonic() < deadline, "repairs do not go on"
        await repairing.core.execute(TAKE_UP_AGAIN)
        with suppress(StoreUnavailableError):
            await repairer.run_due()
        await asyncio.sleep(0.2)

    entries = await every_entry(audit)
    assert [sequence for sequence, _ in entries] == list(range(1, len(entries) + 1))
    assert (await audit.count()).missing == 0
    begun = Counter(each.id for _, each in entries if isinstance(each, IntentEntry))
    ended = Counter(each.id for _, each in entries if isinstance(each, OutcomeEntry))
    assert begun == ended
    assert max(begun.values()) == 1


async def repaired(stores: Stores) -> set[str]:
    rows = await stores.admin.fetch("SELECT id FROM customers WHERE first_name = 'Augusta'")
    return {str(row["id"]) for row in rows}


async def intended(audit: AuditStore) -> set[str]:
    """The records with an intent; the store is up most of the time even while its disk is full."""
    for _ in range(100):
        with suppress(StoreUnavailableError):
            return {each.intent.key for each in await audit.changes(limit=1000)}
        await asyncio.sleep(0.1)
    raise AssertionError("the audit store does not come back")


async def open_intents(audit: AuditStore) -> int:
    with suppress(StoreUnavailableError):
        return len(await audit.open_intents())
    return 1
