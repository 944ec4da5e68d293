"""Archive files: gzip (RFC 1952), of many members, so that one entry can be read without the others.

A seal is its text, then its entries in order, each as its length in bytes, a line feed, its bytes as they were stored, and
a line feed. It begins a member, and goes on in further ones, each of whole entries. `zcat` shows them all.
"""

import gzip
import os
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import file_digest, sha256
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import IO

from app.audit.sealing.merkle import leaf_data, leaf_of, root_of
from app.audit.sealing.seals import TITLE, Seal
from app.errors import StoreUnavailableError

PARTIAL = ".partial"
"""What the name of a file ends with that is not whole yet."""

DAMAGE = (OSError, EOFError, ValueError, zlib.error)
"""What reading a file raises that is gone, or not what was written."""

_LINES = 9  # of a seal
_FULL = 1 << 15  # bytes after which an entry begins another member
_MOST = 1 << 26  # bytes of a member: two documents of MongoDB and what surrounds them are less
_KEPT = 1 << 25  # bytes of members in the memory of a process


class ArchiveUnreadableError(StoreUnavailableError):
    """An archive file is gone, or is not what was written; the message names it and says what to do."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"archive {path.name} {what} (in {path.parent}); `astrocore audit restore` takes it back from a backup"
        )


@dataclass(frozen=True)
class Member:
    """Some entries of a seal, the first of which has the number `first`; `text` is that of the seal.

    It takes `length` bytes of the file from `offset` on, and `size` uncompressed.
    """

    text: str
    seal: Seal
    first: int
    entries: tuple[bytes, ...]
    offset: int
    length: int
    size: int


@dataclass(frozen=True)
class HeldSeal:
    """One seal of a file; `holds` is whether the entries there are those that were sealed."""

    text: str
    seal: Seal
    holds: bool


def packed(text: str, entries: Iterable[bytes]) -> bytes:
    """The members of a seal. The same seal always gives the same bytes with the same zlib."""
    members, pieces, size = list[bytes](), [text.encode()], 0
    for each in entries:
        if size >= _FULL:
            members.append(_compressed(pieces))
            pieces, size = [], 0
        pieces += [b"%d\n" % len(each), each, b"\n"]
        size += len(each)
    return b"".join([*members, _compressed(pieces)])


def _compressed(pieces: Iterable[bytes]) -> bytes:
    return gzip.compress(b"".join(pieces), mtime=0)


def name_of(first: int, last: int, digest: bytes) -> str:
    """The name of a file: no other content can have it."""
    return f"audit-{first:012}-{last:012}-{digest.hex()[:16]}.gz"


@contextmanager
def new_file(folder: Path) -> Iterator[IO[bytes]]:
    """A file that is not whole yet, on the disk at the end; removed where the block fails."""
    _make(folder)
    with NamedTemporaryFile(dir=folder, suffix=PARTIAL, delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def keep(partial: Path, path: Path) -> None:
    """Give a whole file its name, for good."""
    partial.chmod(0o640)
    partial.replace(path)
    _settle(path.parent)


def _make(folder: Path) -> None:
    """Have a directory, on the disk: as good as lost is what lies in one that its parent does not know."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        _settle(folder.parent)


def _settle(folder: Path) -> None:
    """Have the names in a directory on the disk."""
    held = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a file as it is on the disk."""
    try:
        with path.open("rb") as file:
            return file_digest(file, sha256).digest()
    except OSError as error:
        raise _gone(path, error) from error


def seals_of(path: Path) -> Iterator[HeldSeal]:
    """Every seal of a file, one after the other; raises ArchiveUnreadableError."""
    for text, members in groupby(members_of(path), key=lambda each: each.text):
        leaves = [
            leaf_of(leaf_data(sequence, body))
            for each in members
            for sequence, body in enumerate(each.entries, each.first)
        ]
        seal = Seal.read(text)
        yield HeldSeal(text, seal, root_of(leaves) == seal.root)


def members_of(path: Path) -> Iterator[Member]:
    """Every member of a file, one after the other; raises ArchiveUnreadableError."""
    try:
        with path.open("rb") as file:
            yield from _members(file)
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def _members(file: IO[bytes]) -> Iterator[Member]:
    text, place, end, offset, rest = "", 0, 0, 0, b""
    while data := rest or file.read(_FULL):
        content, length, rest = _unpacked(data, file)
        begun, entries = _parted(content)
        if begun:
            _expect(place, end)
            text, seal = begun, Seal.read(begun)
            place, end = seal.first, seal.last + 1
        if not text or not entries:
            raise ValueError("it holds something else than seals and their entries")
        yield Member(text, seal, place, entries, offset, length, len(content))
        place, offset = place + len(entries), offset + length
    _expect(place, end)


def _expect(place: int, end: int) -> None:
    if place != end:
        raise ValueError(f"it has not as many entries before entry {end} as were sealed")


def _unpacked(data: bytes, file: IO[bytes]) -> tuple[bytes, int, bytes]:
    """What a member holds that begins with `data` and goes on in `file`, its length there, and what lies behind."""
    inflater, content, length = zlib.decompressobj(zlib.MAX_WBITS | 16), bytearray(), 0
    while not inflater.eof:
        if not data and not (data := file.read(_FULL)):
            raise EOFError("it ends in the middle of a seal")
        content += inflater.decompress(data, _MOST + 1 - len(content))
        if len(content) > _MOST:
            raise ValueError(f"it holds more than {_MOST:,} bytes in one piece")
        length += len(data) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
        data = inflater.unconsumed_tail
    return bytes(content), length, inflater.unused_data


def _parted(content: bytes) -> tuple[str, tuple[bytes, ...]]:
    """The text of the seal that begins there, empty where none does, and entries."""
    if not content.startswith(TITLE.encode()):
        return "", tuple(_entries(content))
    *lines, rest = content.split(b"\n", _LINES)
    return b"".join(line + b"\n" for line in lines).decode(), tuple(_entries(rest))


def _entries(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        start = content.index(b"\n", at) + 1
        told = content[at : start - 1]
        at = start + int(told) + 1
        if not told.isdigit() or content[at - 1 : at] != b"\n":
            raise ValueError("an entry does not end where it should")
        yield content[start : at - 1]


@dataclass
class _Lately:
    """Entries of members that were read lately, in so many bytes at most, for all threads."""

    most: int
    _held: OrderedDict[tuple[Path, int], tuple[int, tuple[bytes, ...]]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: Lock = field(default_factory=Lock)

    def get(self, place: tuple[Path, int]) -> tuple[bytes, ...] | None:
        with self._lock:
            if place not in self._held:
                return None
            self._held.move_to_end(place)
            return self._held[place][1]

    def put(self, place: tuple[Path, int], size: int, entries: tuple[bytes, ...]) -> None:
        with self._lock:
            self._bytes += size - self._held.pop(place, (0, ()))[0]
            self._held[place] = size, entries
            while self._bytes > self.most:
                self._bytes -= self._held.popitem(last=False)[1][0]

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0


_lately = _Lately(_KEPT)


def entries_at(path: Path, offset: int, length: int, size: int) -> tuple[bytes, ...]:
    """The entries of the member that lies there; raises one of DAMAGE where none of this size does."""
    entries = _lately.get((path, offset))
    if entries is None:
        with path.open("rb") as file:
            file.seek(offset)
            inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
            content = inflater.decompress(file.read(min(length, _MOST)), min(size, _MOST) + 1)
        if not inflater.eof or inflater.unused_data or len(content) != size:
            raise ValueError("no member of this size lies there")
        entries = _parted(content)[1]
        _lately.put((path, offset), size, entries)
    return entries


def forget_members() -> None:
    """Keep nothing in memory of what was read: a file may have been replaced."""
    _lately.clear()


def _unreadable(path: Path, error: Exception) -> ArchiveUnreadableError:
    return (
        _gone(path, error)
        if isinstance(error, OSError)
        else ArchiveUnreadableError(path, f"is damaged: {error}")
    )


def _gone(path: Path, error: OSError) -> ArchiveUnreadableError:
    missing = isinstance(error, FileNotFoundError)
    return ArchiveUnreadableError(path, "is not there" if missing else f"cannot be read: {error.strerror}")
