"""What the system really wrote on either side, as the stores themselves saw it: held against the audit store."""

import asyncio
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from redis import Redis

from app.audit.entries import Entry, FactEntry, IntentEntry, Outcome, OutcomeEntry
from tests.stories.conftest import System

# The other services log in by a name of their own.
STRANGER = "traffic"
TABLES = ("customers", "launches", "bookings")
ACTIONS = {"insert": "create", "update": "update", "delete": "remove"}
PAGE = 2000
LAST = "last_word"  # a collection of ours: once this was heard, everything before it was
_WATCH = f"""
CREATE ROLE {STRANGER} LOGIN SUPERUSER;
CREATE TABLE written (position bigserial, entity text, key text, verb text, writer text DEFAULT session_user);
CREATE FUNCTION note_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO written (entity, key, verb) VALUES (TG_TABLE_NAME, COALESCE(NEW.id, OLD.id)::text, TG_OP);
    RETURN NULL;
END $$;
"""

# An entity, a key and what was done to it.
Write = tuple[str, str, str]


def ask(system: System, database: str, query: str, *values: Any) -> list[asyncpg.Record]:
    """Rows of the core or the admin DB."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(system.settings.url(f"{database}_database_url"))
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    return asyncio.run(run())


def watch_writes(system: System) -> str:
    """Have the admin DB note every write from now on; answers the URL by which the other services are to log in."""

    async def run() -> None:
        connection = await asyncpg.connect(system.settings.url("admin_database_url"))
        await connection.execute(_WATCH)
        for table in TABLES:
            await connection.execute(
                f"CREATE TRIGGER note_write AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION note_write()"
            )
        await connection.close()

    asyncio.run(run())
    url = urlsplit(system.settings.url("admin_database_url"))
    return urlunsplit(url._replace(netloc=f"{STRANGER}@{url.hostname}:{url.port}"))


def rows_written(system: System) -> Counter[Write]:
    """How often the system itself wrote what, as the triggers saw it; each in the transaction of its write."""
    rows = ask(system, "admin", "SELECT entity, key, verb FROM written WHERE writer <> $1", STRANGER)
    return Counter((row["entity"], row["key"], ACTIONS[row["verb"].lower()]) for row in rows)


@dataclass
class DocumentsWritten:
    """Within it the customer DB's change stream is heard, which goes on where it was after every kill of the store."""

    system: System
    _own: list[Write] = field(default_factory=list)
    _words: set[int] = field(default_factory=set)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="change stream")
        self._thread.start()
        self._wait_for_word()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        assert self._thread is not None
        self._thread.join()

    def count(self) -> Counter[Write]:
        """How often the system itself wrote what until now."""
        self._wait_for_word()
        return Counter(self._own)

    def _run(self) -> None:
        with self._client() as client:
            token = None
            while not self._over.is_set():
                try:
                    with client.get_default_database().watch(
                        resume_after=token, max_await_time_ms=200
                    ) as stream:
                        while not self._over.is_set():
                            event = stream.try_next()
                            token = stream.resume_token or token
                            if event is not None:
                                self._hear(event)
                except PyMongoError:
                    time.sleep(0.2)

    def _hear(self, event: Any) -> None:
        entity, key = event["ns"]["coll"], event["documentKey"]["_id"]
        if entity == LAST:
            self._words.add(key)
        elif _is_own(entity, event):
            self._own.append((entity, str(key), ACTIONS[event["operationType"]]))

    def _wait_for_word(self) -> None:
        """Say something until it was heard: the stream hears what is said after it was opened."""
        deadline = time.monotonic() + 60
        with self._client() as client:
            first = word = time.monotonic_ns()
            while not any(heard >= first for heard in self._words):
                assert time.monotonic() < deadline, "the change stream says nothing"
                word += 1
                client.get_default_database()[LAST].insert_one({"_id": word})
                time.sleep(0.3)

    def _client(self) -> MongoClient[Any]:
        url = self.system.settings.url("customer_database_url")
        return MongoClient(url, uuidRepresentation="standard", serverSelectionTimeoutMS=5000)


def _is_own(entity: str, event: Any) -> bool:
    """Whether the system wrote it: the simulated Customer API sells in transactions and never decides who is a VIP."""
    if entity == "customers":
        return event["operationType"] == "update" and "is_vip" in event["updateDescription"]["updatedFields"]
    return "txnNumber" not in event


@dataclass
class Audited:
    """The whole audit store, read entry by entry past all of its indexes."""

    sequence: list[str] = field(default_factory=list)
    intents: dict[Any, IntentEntry] = field(default_factory=dict)
    outcomes: Counter[Any] = field(default_factory=Counter)
    ended: dict[Any, Outcome] = field(default_factory=dict)
    repeated: list[Any] = field(default_factory=list)
    finished_by_others: int = 0
    facts: int = 0
    left_open: int = 0

    def add(self, place: str, entry: Entry) -> None:
        self.sequence.append(place)
        match entry:
            case IntentEntry():
                self.repeated += [entry.id] if entry.id in self.intents else []
                self.intents[entry.id] = entry
            case OutcomeEntry():
                self.outcomes[entry.id] += 1
                self.ended[entry.id] = entry.outcome
                self.finished_by_others += entry.detail is not None and entry.detail.startswith("found ")
            case FactEntry():
                self.facts += 1

    def count(self, outcome: Outcome) -> int:
        return Counter(self.ended.values())[outcome]

    def changes(self, side: str, outcome: Outcome) -> Counter[Write]:
        """The changes towards a side that ended so."""
        own = (self.intents[key] for key, each in self.ended.items() if each is outcome)
        return Counter((each.entity, each.key, each.action) for each in own if each.side == side)


def read_audit(system: System) -> Audited:
    prefix = f"{system.settings.namespace}:audit"
    found = Audited()
    with Redis.from_url(system.settings.url("audit_url"), decode_responses=True) as redis:
        found.left_open = redis.hlen(f"{prefix}:open")
        start = "-"
        while page := redis.xrange(f"{prefix}:entries", start, "+", count=PAGE):
            for place, fields in page:
                found.add(place, msgspec.json.decode(fields["entry"], type=Entry))
            start = f"({page[-1][0]}"
    return found


def assert_audit_is_complete(audited: Audited) -> None:
    """No entry is missing in the sequence; each intent is there once and has one outcome, each outcome its intent."""
    assert audited.sequence == [f"{number}-0" for number in range(1, len(audited.sequence) + 1)]
    assert not audited.repeated
    assert audited.outcomes == Counter(dict.fromkeys(audited.intents, 1))
    assert not audited.left_open


def assert_nothing_written_twice(audited: Audited, side: str, written: Counter[Write]) -> None:
    """Each applied change was one write, each indeterminate one at most one, any other one none."""
    applied, unsure = (audited.changes(side, outcome) for outcome in (Outcome.APPLIED, Outcome.INDETERMINATE))
    wrong = {
        write: (written[write], applied[write], unsure[write])
        for write in {*written, *applied}
        if not applied[write] <= written[write] <= applied[write] + unsure[write]
    }
    assert not wrong, f"{side} side: written, applied, indeterminate: {wrong}"
