"""What leads to the entries of one archive file: an SQLite file beside it.

It is a convenience, made again from the archive file wherever it is missing or damaged, and no evidence.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from app.audit.archiving.files import ArchiveUnreadableError, Member, keep, members_of, new_file
from app.audit.entries import IntentEntry, OutcomeEntry, UnreadableEntry
from app.audit.indexes import indexes_of
from app.audit.stored import Stored, read_stored

VERSION = 1
IntentsOf = Callable[[Sequence[UUID]], dict[UUID, IntentEntry]]
"""Finds intents in earlier archives: outcomes are listed as their intents are."""

_TABLES = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA user_version = {VERSION};
    CREATE TABLE members (first INTEGER PRIMARY KEY, last INTEGER, offset INTEGER, length INTEGER);
    CREATE TABLE ids (id BLOB PRIMARY KEY, begun INTEGER, ended INTEGER) WITHOUT ROWID;
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT UNIQUE, count INTEGER);
    CREATE TABLE places (name INTEGER, sequence INTEGER, PRIMARY KEY (name, sequence)) WITHOUT ROWID;
    CREATE TABLE seconds (sequence INTEGER PRIMARY KEY, second INTEGER);
"""
_BEGUN = """
    INSERT INTO ids (id, begun) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET begun = coalesce(begun, excluded.begun)
"""
_ENDED = "INSERT INTO ids (id, ended) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET ended = excluded.ended"
_PLACES = """
    SELECT sequence FROM places JOIN names ON names.id = places.name
    WHERE names.name = ? AND sequence BETWEEN ? AND ? ORDER BY sequence {} LIMIT ?
"""
_AT_ONCE = 500  # SQLite takes 999 parameters at least


@dataclass(frozen=True)
class Place:
    """Where a member lies in its file."""

    first: int
    last: int
    offset: int
    length: int


def second_of(stored: Stored) -> int | None:
    """The second at which an entry happened, as the audit store counts them; None where it cannot be read."""
    entry = stored.entry
    return None if isinstance(entry, UnreadableEntry) else max(0, int(entry.at.timestamp()))


def path_of(archive: Path) -> Path:
    """Where the index of an archive file lies."""
    return archive.with_suffix(".index")


def build(archive: Path, intents_of: IntentsOf) -> None:
    """Make the index of an archive file. Raises ArchiveUnreadableError, and OSError where it cannot be written."""
    if not archive.exists():
        raise ArchiveUnreadableError(archive, "is not there")
    with (
        new_file(archive.parent) as file,
        closing(sqlite3.connect(file.name, isolation_level=None)) as database,
    ):
        database.executescript(_TABLES)
        database.execute("BEGIN")
        writer = _Writer(database)
        _fill(writer, members_of(archive), intents_of)
        writer.put_names()
        database.execute("COMMIT")
    keep(Path(file.name), path_of(archive))


def _fill(writer: "_Writer", members: Iterable[Member], intents_of: IntentsOf) -> None:
    for member in members:
        writer.put_member(member)
        numbered = enumerate(member.entries, member.seal.first)
        page = [read_stored(b"%d" % sequence, body) for sequence, body in numbered]
        begun = {each.entry.id: each.entry for each in page if isinstance(each.entry, IntentEntry)}
        ended = [each.entry.id for each in page if isinstance(each.entry, OutcomeEntry)]
        begun |= writer.intents([each for each in ended if each not in begun], intents_of)
        for stored in page:
            writer.put(stored, begun)
        writer.remember(begun, ended)


class _Writer:
    """Writes an index, seal by seal."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._open: dict[UUID, IntentEntry] = {}
        self._names: dict[str, int] = {}
        self._counts: Counter[int] = Counter()

    def put_member(self, member: Member) -> None:
        held = (member.seal.first, member.seal.last, member.offset, member.length)
        self._database.execute("INSERT INTO members VALUES (?, ?, ?, ?)", held)

    def intents(self, ids: Sequence[UUID], intents_of: IntentsOf) -> dict[UUID, IntentEntry]:
        """Those of outcomes whose intents lie in earlier seals, of this file or of others."""
        known = {each: self._open[each] for each in ids if each in self._open}
        elsewhere = [each for each in ids if each not in known]
        return known | (intents_of(elsewhere) if elsewhere else {})

    def remember(self, begun: dict[UUID, IntentEntry], ended: Sequence[UUID]) -> None:
        """Keep what still waits for its outcome: as much as was being written at a time."""
        self._open |= begun
        for each in ended:
            self._open.pop(each, None)

    def put(self, stored: Stored, begun: dict[UUID, IntentEntry]) -> None:
        entry, second = stored.entry, second_of(stored)
        if isinstance(entry, UnreadableEntry):
            return
        own, shared = indexes_of(entry)
        if isinstance(entry, OutcomeEntry):
            self._database.execute(_ENDED, (entry.id.bytes, stored.sequence))
            shared = indexes_of(begun[entry.id])[1] if entry.id in begun else []
        else:
            self._database.execute(_BEGUN, (entry.id.bytes, stored.sequence))
        self._database.execute("INSERT INTO seconds VALUES (?, ?)", (stored.sequence, second))
        names = {self._names.setdefault(each, len(self._names) + 1) for each in (*own, *shared)}
        self._counts.update(names)
        self._database.executemany(
            "INSERT INTO places VALUES (?, ?)", [(each, stored.sequence) for each in names]
        )

    def put_names(self) -> None:
        """Say what the numbers stand for, and how many entries each has."""
        held = ((number, name, self._counts[number]) for name, number in self._names.items())
        self._database.executemany("INSERT INTO names VALUES (?, ?, ?)", held)


class Index:
    """The index of one archive file, open for reading. Every method raises sqlite3.DatabaseError where it is damaged."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def count(self, name: str) -> int:
        """How many entries are listed under a name."""
        found = self._database.execute("SELECT count FROM names WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else 0

    def sequences(self, name: str, least: int, greatest: int, *, newest_first: bool, limit: int) -> list[int]:
        """The numbers that are listed under a name, in a range."""
        query = _PLACES.format("DESC" if newest_first else "ASC")
        return [each for (each,) in self._database.execute(query, (name, least, greatest, limit))]

    def find(self, ids: Sequence[UUID]) -> dict[UUID, tuple[int | None, int | None]]:
        """Where facts or intents, and outcomes, with these ids lie in this file."""
        found = dict[UUID, tuple[int | None, int | None]]()
        for at in range(0, len(ids), _AT_ONCE):
            chunk = [each.bytes for each in ids[at : at + _AT_ONCE]]
            query = f"SELECT id, begun, ended FROM ids WHERE id IN ({', '.join('?' * len(chunk))})"
            found |= {
                UUID(bytes=each): (begun, ended)
                for each, begun, ended in self._database.execute(query, chunk)
            }
        return found

    def first_reaching(self, second: int) -> int | None:
        """The first entry of this second or a later one."""
        return self._one("SELECT min(sequence) FROM seconds WHERE second >= ?", second)

    def last_until(self, second: int) -> int | None:
        """The last entry of this second or an earlier one."""
        return self._one("SELECT max(sequence) FROM seconds WHERE second <= ?", second)

    def place_of(self, sequence: int) -> Place | None:
        """The member that an entry lies in."""
        query = "SELECT first, last, offset, length FROM members WHERE first <= ? ORDER BY first DESC LIMIT 1"
        found = self._database.execute(query, (sequence,)).fetchone()
        return Place(*found) if found and sequence <= found[1] else None

    def names(self) -> Iterator[str]:
        """Every name that entries are listed under."""
        return (each for (each,) in self._database.execute("SELECT name FROM names"))

    def ids(self) -> Iterator[bytes]:
        """Every id."""
        return (each for (each,) in self._database.execute("SELECT id FROM ids"))

    def _one(self, query: str, value: int) -> int | None:
        found: int | None = self._database.execute(query, (value,)).fetchone()[0]
        return found


@contextmanager
def opened(archive: Path) -> Iterator[Index]:
    """The index of an archive file. Raises sqlite3.DatabaseError where it is missing, damaged or of another version."""
    uri = f"{path_of(archive).resolve().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            raise sqlite3.DatabaseError("an index of another version")
        yield Index(database)
