"""What leads to the entries of one archive file: an SQLite file beside it.

It is a convenience, made again from the archive file wherever it is missing, damaged or of another file, and no evidence.
"""

import sqlite3
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from uuid import UUID

from app.audit.archiving.files import ArchiveUnreadableError, Member, digest_of, keep, members_of, new_file
from app.audit.archiving.listing import KNOWN, Listed, listed
from app.audit.entries import Kind

VERSION = 2
SharedOf = Callable[[Sequence[UUID]], Mapping[UUID, Sequence[str]]]
"""What intents in earlier archives share with their outcomes: these are listed as their intents are."""

_TABLES = f"""
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    PRAGMA user_version = {VERSION};
    CREATE TABLE about (
        archive BLOB, state TEXT, unread INTEGER, known TEXT, lacking TEXT
    );
    CREATE TABLE members (first INTEGER PRIMARY KEY, last INTEGER, offset INTEGER, length INTEGER, size INTEGER);
    CREATE TABLE ids (id BLOB PRIMARY KEY, begun INTEGER, ended INTEGER) WITHOUT ROWID;
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT UNIQUE, count INTEGER);
    CREATE TABLE places (name INTEGER, sequence INTEGER, PRIMARY KEY (name, sequence)) WITHOUT ROWID;
    CREATE TABLE reached (second INTEGER PRIMARY KEY, sequence INTEGER);
    CREATE TABLE left_behind (second INTEGER PRIMARY KEY, sequence INTEGER);
"""
_BEGUN = """
    INSERT INTO ids (id, begun) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET begun = coalesce(begun, excluded.begun)
"""
_ENDED = "INSERT INTO ids (id, ended) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET ended = excluded.ended"
_PLACES = """
    SELECT sequence FROM places JOIN names ON names.id = places.name
    WHERE names.name = ? AND sequence BETWEEN ? AND ? ORDER BY sequence {} LIMIT ?
"""
_KEPT_OPEN, _CACHE_KILOBYTES = 128, 200  # of each one
_AT_ONCE = 500  # SQLite takes 999 parameters at least


@dataclass(frozen=True)
class Place:
    """Where a member lies in its file, which entries it has and how many bytes these take uncompressed."""

    first: int
    last: int
    offset: int
    length: int
    size: int


@dataclass(frozen=True)
class Lacking:
    """An older archive that could not be read while an index was made, and in which state its file was."""

    path: Path
    state: str

    @property
    def is_back(self) -> bool:
        """Whether it is worth trying again."""
        return self.state != state_of(self.path)


def state_of(archive: Path) -> str:
    """What changes with a file."""
    try:
        found = archive.stat()
    except OSError:
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns}"


def path_of(archive: Path) -> Path:
    """Where the index of an archive file lies."""
    return archive.with_suffix(".index")


def build(archive: Path, digest: bytes, shared_of: SharedOf, lacking: Lacking | None = None) -> None:
    """Make the index of an archive file with this SHA-256.

    `lacking` says which older one could not be asked: where an intent may lie there, the index says so. Raises
    ArchiveUnreadableError; OSError and sqlite3.Error where it cannot be written.
    """
    state = state_of(archive)
    if digest_of(archive) != digest:
        raise ArchiveUnreadableError(archive, "is not what was archived")
    with (
        new_file(archive.parent) as file,
        closing(sqlite3.connect(file.name, isolation_level=None)) as database,
    ):
        database.executescript(_TABLES)
        database.execute("BEGIN")
        writer = _Writer(database, shared_of)
        for member in members_of(archive):
            writer.put(member)
        writer.finish(digest, state, lacking)
        database.execute("COMMIT")
    keep(Path(file.name), path_of(archive))


class _Writer:
    """Writes an index, member by member."""

    def __init__(self, database: sqlite3.Connection, shared_of: SharedOf) -> None:
        self._database = database
        self._shared_of = shared_of
        # Of what still waits for its outcome: as much as was being written at a time.
        self._open: dict[UUID, Sequence[str]] = {}
        self._names: dict[str, int] = {}
        self._counts: Counter[int] = Counter()
        self._reached: dict[int, int] = {}
        self._left: dict[int, int] = {}
        self._unread = 0
        self._alone = 0

    def put(self, member: Member) -> None:
        """Write what leads to the entries of a member."""
        last = member.first + len(member.entries) - 1
        place = (member.first, last, member.offset, member.length, member.size)
        self._database.execute("INSERT INTO members VALUES (?, ?, ?, ?, ?)", place)
        page = [listed(sequence, body) for sequence, body in enumerate(member.entries, member.first)]
        self._open |= {each.id: each.shared for each in page if each.id and each.kind == Kind.INTENT}
        ended = [each.id for each in page if each.id and each.kind == Kind.OUTCOME]
        elsewhere = [each for each in ended if each not in self._open]
        shared = {**self._open, **(self._shared_of(elsewhere) if elsewhere else {})}
        self._alone += sum(each not in shared for each in ended)
        for each in page:
            self._put(each, shared)
        for id_ in ended:
            self._open.pop(id_, None)

    def _put(self, entry: Listed, shared: Mapping[UUID, Sequence[str]]) -> None:
        self._unread += not entry.is_read
        names: Iterable[str] = (*entry.own, *entry.shared)
        if entry.id:
            is_end = entry.kind == Kind.OUTCOME
            self._database.execute(_ENDED if is_end else _BEGUN, (entry.id.bytes, entry.sequence))
            names = (*names, *shared.get(entry.id, ())) if is_end else names
        if entry.second is not None:
            self._put_second(entry.second, entry.sequence)
        numbers = {self._names.setdefault(each, len(self._names) + 1) for each in names}
        self._counts.update(numbers)
        self._database.executemany(
            "INSERT INTO places VALUES (?, ?)", [(each, entry.sequence) for each in numbers]
        )

    def _put_second(self, second: int, sequence: int) -> None:
        """Both are in the order of seconds: what came late takes those that it has overtaken out of `left`."""
        if not self._reached or second > next(reversed(self._reached)):
            self._reached[second] = sequence
        while self._left and next(reversed(self._left)) >= second:
            self._left.popitem()
        self._left[second] = sequence

    def finish(self, digest: bytes, state: str, lacking: Lacking | None) -> None:
        """Write what is known once every member was put."""
        self._put_names()
        self._database.executemany("INSERT INTO reached VALUES (?, ?)", self._reached.items())
        self._database.executemany("INSERT INTO left_behind VALUES (?, ?)", self._left.items())
        missed = f"{lacking.state}\n{lacking.path.name}" if lacking and self._alone else ""
        about = (digest, state, self._unread, "\n".join(sorted(KNOWN)), missed)
        self._database.execute("INSERT INTO about VALUES (?, ?, ?, ?, ?)", about)

    def _put_names(self) -> None:
        """Say what the numbers stand for, and how many entries each has."""
        held = ((number, name, self._counts[number]) for name, number in self._names.items())
        self._database.executemany("INSERT INTO names VALUES (?, ?, ?)", held)


class Index:
    """The index of one archive file, open for reading. Every method raises sqlite3.DatabaseError where it is damaged."""

    def __init__(self, database: sqlite3.Connection, lacking: Lacking | None) -> None:
        self._database = database
        self.lacking = lacking
        """What keeps outcomes of this file from being listed as their intents are."""

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

    def extent(self) -> tuple[int | None, int | None]:
        """The seconds between which the entries of the file happened; None where none tells."""
        found: tuple[int | None, int | None] = self._database.execute(
            "SELECT (SELECT min(second) FROM left_behind), (SELECT max(second) FROM reached)"
        ).fetchone()
        return found

    def first_reaching(self, second: int) -> int | None:
        """The first entry of this second or a later one."""
        return self._one("SELECT sequence FROM reached WHERE second >= ? ORDER BY second LIMIT 1", second)

    def last_until(self, second: int) -> int | None:
        """The last entry of this second or an earlier one."""
        return self._one(
            "SELECT sequence FROM left_behind WHERE second <= ? ORDER BY second DESC LIMIT 1", second
        )

    def place_of(self, sequence: int) -> Place:
        """The member that an entry lies in; raises sqlite3.DatabaseError where there is none."""
        query = "SELECT * FROM members WHERE first <= ? ORDER BY first DESC LIMIT 1"
        found = self._database.execute(query, (sequence,)).fetchone()
        if found is None or sequence > found[1]:
            raise sqlite3.DatabaseError("an index that does not know all entries")
        return Place(*found)

    def names(self) -> Iterator[str]:
        """Every name that entries are listed under."""
        return (each for (each,) in self._database.execute("SELECT name FROM names"))

    def ids(self) -> Iterator[bytes]:
        """Every id."""
        return (each for (each,) in self._database.execute("SELECT id FROM ids"))

    def _one(self, query: str, value: int) -> int | None:
        found = self._database.execute(query, (value,)).fetchone()
        return int(found[0]) if found else None

    def close(self) -> None:
        self._database.close()


class _Lately:
    """Indexes that were read lately, open: each is used by one thread at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[tuple[Path, bytes, str], Index] = OrderedDict()
        self._lock = Lock()

    def take(self, archive: Path, digest: bytes) -> tuple[tuple[Path, bytes, str], Index]:
        place = (archive, digest, f"{state_of(archive)} {state_of(path_of(archive))}")
        with self._lock:
            index = self._held.pop(place, None)
        if index and index.lacking and index.lacking.is_back:
            index.close()
            index = None
        return place, index or _open(archive, digest)

    def put(self, place: tuple[Path, bytes, str], index: Index) -> None:
        with self._lock:
            surplus = [self._held.pop(place)] if place in self._held else []
            self._held[place] = index
            while len(self._held) > self._most:
                surplus.append(self._held.popitem(last=False)[1])
        for each in surplus:
            each.close()


_lately = _Lately(_KEPT_OPEN)


@contextmanager
def opened(archive: Path, digest: bytes) -> Iterator[Index]:
    """The index of an archive file with this SHA-256.

    Raises sqlite3.DatabaseError where it is missing, damaged, of another file or another version, or where a new one would
    tell more.
    """
    place, index = _lately.take(archive, digest)
    try:
        yield index
    except BaseException:
        index.close()
        raise
    _lately.put(place, index)


def _open(archive: Path, digest: bytes) -> Index:
    uri = f"{path_of(archive).resolve().as_uri()}?mode=ro&immutable=1"
    database = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        database.execute(f"PRAGMA cache_size = -{_CACHE_KILOBYTES}")
        return Index(database, _checked(database, archive, digest))
    except BaseException:
        database.close()
        raise


def _checked(database: sqlite3.Connection, archive: Path, digest: bytes) -> Lacking | None:
    """Which older archive it was made without; raises sqlite3.DatabaseError where it is to be made again."""
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        raise sqlite3.DatabaseError("an index of another version")
    found = database.execute("SELECT archive, state, unread, known, lacking FROM about").fetchone()
    if found is None or found[:2] != (digest, state_of(archive)):
        raise sqlite3.DatabaseError("the index of another archive, or of an earlier state of it")
    _digest, _state, unread, known, missed = found
    # An older process leaves the index of a newer one alone.
    if unread and not frozenset(known.split("\n")) >= KNOWN:
        raise sqlite3.DatabaseError("an index by a process that could read less")
    state, _, name = missed.partition("\n")
    lacking = Lacking(archive.with_name(name), state) if missed else None
    if lacking and lacking.is_back:
        raise sqlite3.DatabaseError("an index that was made without an archive that is back")
    return lacking
