"""Reads Redis and the core DB as they are: bytes, by plain commands and statements, in pages."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import redis

from app.audit.verification.tombstones import Columns, TombstoneCopies
from app.errors import StoreUnavailableError
from config.settings import Settings

Stored = tuple[bytes, list[bytes]]
"""The id of something in a stream, and its fields: name, value, name, value, …"""

ENTRIES_AT_ONCE = 2000
SEALS_AT_ONCE = 64
_MOST = 2**64 - 1
_MOST_IN_CORE = 2**63 - 1
# What happened a moment ago may have come to the audit store after it was read.
_UNRECORDED = """
SELECT id FROM person_keys WHERE id = ANY($1)
    AND (forgotten_at BETWEEN now() - interval '10 minutes' AND now()) IS NOT TRUE
    AND NOT EXISTS (SELECT FROM audit_outbox
        WHERE entry ->> 'name' = 'operator:person:forget' AND entry -> 'detail' ->> 'key' = person_keys.id::text)
"""
# One with a number that none may have is looked for every time: whoever looks for an entry would find it.
_TOMBSTONES = """
SELECT number, tombstone, first_sequence, last_sequence, file, bytes, trimmed_at IS NOT NULL AS trimmed FROM audit_archives
    WHERE number > $1 OR number < 1
"""
_CORE_FAULTS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@dataclass(frozen=True)
class Copies:
    """What the two stores have for one number of a seal; None where one has nothing."""

    number: int
    core: bytes | None
    redis: bytes | None
    leaves: bytes | None


@dataclass
class Evidence:
    """The two stores. Every method raises StoreUnavailableError, naming the store, where one cannot be read."""

    core: asyncpg.Connection
    redis: Any
    prefix: str
    archives: Path
    """Where archive files lie."""
    patience: float = 2.0
    """Seconds until a seal that one store lacks is looked for again: a sealer may be between the two."""

    async def seals(self) -> AsyncIterator[Copies]:
        """Every seal of either store, by number."""
        after = 0
        while True:
            core = await self._core_seals(after)
            copies = self._redis_seals(after)
            numbers = _comparable(core, copies)
            for number in numbers:
                yield await self._copies(number, core, copies)
            if not numbers:
                return
            after = numbers[-1]

    async def _copies(
        self, number: int, core: dict[int, tuple[bytes, bytes | None]], copies: dict[int, bytes]
    ) -> Copies:
        if number not in core or number not in copies:
            await asyncio.sleep(self.patience)
            core, copies = await self._core_seals(number - 1), self._redis_seals(number - 1)
            if number not in core or number not in copies:
                self.patience = 0.0  # it was no sealer: no other one is waited for
        text, leaves = core.get(number, (None, None))
        return Copies(number, text, copies.get(number), leaves)

    async def _core_seals(self, after: int) -> dict[int, tuple[bytes, bytes | None]]:
        try:
            rows = await self.core.fetch(
                "SELECT number, seal, leaves FROM audit_seals WHERE number > $1 ORDER BY number LIMIT $2",
                min(after, _MOST_IN_CORE),
                SEALS_AT_ONCE,
            )
        except _CORE_FAULTS as error:
            raise StoreUnavailableError(f"the core DB cannot be read: {error}") from error
        return {row["number"]: (row["seal"].encode(), row["leaves"]) for row in rows}

    def _redis_seals(self, after: int) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for place, fields in self._command(
            "XRANGE", f"{self.prefix}:seals", f"({after}-{_MOST}", "+", "COUNT", SEALS_AT_ONCE
        ):
            number, minor = numbers_of(place)
            # What is no seal, or comes twice, is kept as a text that no seal has.
            good = minor == 0 and len(fields) == 2 and fields[0] == b"seal" and number not in found  # noqa: PLR2004
            found[number] = fields[1] if good else b""
        return found

    async def keys(self, ids: Collection[UUID]) -> dict[UUID, bytes | None]:
        """Of the keys of persons with these ids those that the core DB has a row of, each with its check value; None where it is destroyed.

        The core DB makes the check values: no key leaves it.
        """
        rows = await self._core_rows(
            "SELECT id, substr(sha256(key), 1, 8) FROM person_keys WHERE id = ANY($1)", ids
        )
        return {row[0]: row[1] for row in rows}

    async def unrecorded(self, ids: Collection[UUID]) -> set[UUID]:
        """Of these destroyed keys those of which no fact is on its way that tells who wanted it, unless it was a moment ago."""
        rows = await self._core_rows(_UNRECORDED, ids)
        return {row[0] for row in rows}

    async def _core_rows(self, query: str, wanted: Collection[Any]) -> list[Any]:
        return await self._fetch(query, list(wanted)) if wanted else []

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        try:
            found: list[Any] = await self.core.fetch(query, *arguments)
        except _CORE_FAULTS as error:
            raise StoreUnavailableError(f"the core DB cannot be read: {error}") from error
        return found

    async def tombstones(self, after: int) -> list[TombstoneCopies]:
        """Every tombstone of either store with a number beyond this one, and what the core DB has below 1."""
        # Redis first: the core DB has each of them before Redis has. What came meanwhile may be in Redis by now.
        copies = self._redis_tombstones(after)
        rows = {row["number"]: row for row in await self._fetch(_TOMBSTONES, min(after, _MOST_IN_CORE))}
        if rows.keys() - copies.keys():
            later = self._redis_tombstones(after)
            copies |= {number: later[number] for number in later.keys() & rows.keys()}
        return [
            _tombstone_copies(each, rows.get(each), copies.get(each))
            for each in sorted(rows.keys() | copies.keys())
        ]

    def _redis_tombstones(self, after: int) -> dict[int, bytes]:
        copies: dict[int, bytes] = {}
        for place, fields in self._command("XRANGE", f"{self.prefix}:archives", f"({after}-{_MOST}", "+"):
            number, minor = numbers_of(place)
            good = minor == 0 and len(fields) == 2 and fields[0] == b"tombstone" and number not in copies  # noqa: PLR2004
            copies[number] = fields[1] if good else b""
        return copies

    def entries_after(self, place: bytes, count: int) -> list[Stored]:
        """At most `count` entries whose ids come after this one."""
        found: list[Stored] = self._command(
            "XRANGE", f"{self.prefix}:entries", b"(" + place, "+", "COUNT", count
        )
        return found

    def length(self) -> int:
        """How many entries there are."""
        return int(self._command("XLEN", f"{self.prefix}:entries"))

    def counted(self) -> int:
        """How many entries the service has appended, by the counter beside them."""
        return self._number("sequence")

    def archived(self) -> int:
        """The number up to which entries have left Redis, by its own word."""
        return self._number("archived")

    def first_sequence(self) -> int | None:
        """The first entry that Redis has."""
        oldest: list[Stored] = self._command("XRANGE", f"{self.prefix}:entries", "-", "+", "COUNT", 1)
        return numbers_of(oldest[0][0])[0] if oldest else None

    def has_from(self, sequence: int) -> bool:
        """Whether entries from this one on have yet to leave Redis: by its own word, and by where it begins."""
        archived, first = self.archived(), self.first_sequence()
        return first is not None and first == archived + 1 and first <= sequence

    def last_place(self) -> bytes:
        """The id of the last entry that there is; 0-0 where there is none."""
        newest: list[Stored] = self._command("XREVRANGE", f"{self.prefix}:entries", "+", "-", "COUNT", 1)
        return newest[0][0] if newest else b"0-0"

    def _number(self, name: str) -> int:
        """What a counter says; -1 where it is no number."""
        try:
            return int(self._command("GET", f"{self.prefix}:{name}") or 0)
        except ValueError:
            return -1

    def _command(self, *command: Any) -> Any:
        try:
            return self.redis.execute_command(*command)
        except redis.RedisError as error:
            raise StoreUnavailableError(f"the audit store cannot be read: {error}") from error


def _comparable(core: dict[int, Any], copies: dict[int, Any]) -> list[int]:
    """The numbers up to which both pages reach: a page that is full may have been cut before the other one's end."""
    reach = min(max(page) if len(page) == SEALS_AT_ONCE else _MOST for page in (core, copies))
    return sorted(number for number in core.keys() | copies.keys() if number <= reach)


def _tombstone_copies(number: int, row: Any | None, copy: bytes | None) -> TombstoneCopies:
    if row is None:
        return TombstoneCopies(number, None, copy)
    columns = Columns(
        row["first_sequence"], row["last_sequence"], row["file"], row["bytes"], trimmed=row["trimmed"]
    )
    return TombstoneCopies(number, row["tombstone"].encode(), copy, columns)


def numbers_of(place: bytes) -> tuple[int, int]:
    """The two numbers of a stream's id."""
    major, _, minor = place.partition(b"-")
    return int(major), int(minor)


@dataclass
class EntryReader:
    """Entries in the order of their ids, a page at a time."""

    evidence: Evidence
    _ahead: list[Stored] = field(default_factory=list)
    _place: bytes = b"0-0"

    def upto(self, last: int, at_most: int) -> list[Stored]:
        """The next entries, up to this sequence number, and no more than so many."""
        taken: list[Stored] = []
        while len(taken) < at_most and (self._ahead or self._load()):
            found = self._ahead[: min(self._reach(last), at_most - len(taken))]
            if not found:
                break
            taken += found
            del self._ahead[: len(found)]
        return taken

    def next(self) -> Stored | None:
        """The entry that comes next, which stays the next one."""
        return self._ahead[0] if self._ahead or self._load() else None

    def pages(self) -> Iterator[list[Stored]]:
        """All that is left."""
        while self._ahead or self._load():
            page, self._ahead = self._ahead, []
            yield page

    def _reach(self, last: int) -> int:
        if numbers_of(self._ahead[-1][0])[0] <= last:
            return len(self._ahead)
        return bisect_right(self._ahead, last, key=lambda each: numbers_of(each[0])[0])

    def _load(self) -> bool:
        self._ahead = self.evidence.entries_after(self._place, ENTRIES_AT_ONCE)
        if self._ahead:
            self._place = self._ahead[-1][0]
        return bool(self._ahead)


@asynccontextmanager
async def open_evidence(settings: Settings, archives: Path | None = None) -> AsyncIterator[Evidence]:
    """Connect to both stores; `archives` is where archive files lie, if not where the settings say. Raises StoreUnavailableError where one does not answer, SettingsError without a URL."""
    url, seconds = settings.url("core_database_url"), settings.store_timeout_seconds
    try:
        core = await asyncpg.connect(url, timeout=seconds, command_timeout=seconds)
    except _CORE_FAULTS as error:
        raise StoreUnavailableError(f"the core DB cannot be read: {error}") from error
    try:
        with redis.Redis.from_url(settings.url("audit_url"), socket_timeout=seconds) as client:
            for command in ("XRANGE", "XREVRANGE"):
                client.set_response_callback(command, lambda response, **_options: response)
            yield Evidence(core, client, f"{settings.namespace}:audit", archives or settings.archive_dir)
    finally:
        await core.close()
