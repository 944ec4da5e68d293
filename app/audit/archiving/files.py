"""Archive files: gzip (RFC 1952), one member for each seal, so that one seal can be read without the others.

A member holds the text of the seal, then its entries in order, each as its length in bytes, a line feed, its bytes as they
were stored, and a line feed. `zcat` shows them.
"""

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from app.audit.sealing.merkle import leaf_data, leaf_of, root_of
from app.audit.sealing.seals import Seal
from app.errors import StoreUnavailableError

PARTIAL = ".partial"
"""What the name of a file ends with that is not whole yet."""

_LINES = 9  # of a seal
_MEMBERS_KEPT = 16  # in the memory of a process, about a megabyte each


class ArchiveUnreadableError(StoreUnavailableError):
    """An archive file is gone, or is not what was written; the message names it and says what to do."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"archive {path.name} {what} (in {path.parent}); `astrocore audit restore` takes it back from a backup"
        )


@dataclass(frozen=True)
class Member:
    """One seal of a file, with its entries; `offset` and `length` say where its bytes lie in the file."""

    text: str
    seal: Seal
    entries: tuple[bytes, ...]
    offset: int
    length: int

    @property
    def holds(self) -> bool:
        """Whether the entries are those that were sealed."""
        leaves = [
            leaf_of(leaf_data(sequence, each)) for sequence, each in enumerate(self.entries, self.seal.first)
        ]
        return root_of(leaves) == self.seal.root


def packed(text: str, entries: Iterable[bytes]) -> bytes:
    """The member of a seal. The same seal always gives the same bytes with the same zlib."""
    pieces = [text.encode()]
    for each in entries:
        pieces += [b"%d\n" % len(each), each, b"\n"]
    return gzip.compress(b"".join(pieces), mtime=0)


def name_of(first: int, last: int, digest: bytes) -> str:
    """The name of a file: no other content can have it."""
    return f"audit-{first:012}-{last:012}-{digest.hex()[:16]}.gz"


@contextmanager
def new_file(folder: Path) -> Iterator[IO[bytes]]:
    """A file that is not whole yet, on the disk at the end; removed where the block fails."""
    folder.mkdir(parents=True, exist_ok=True)
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def digest_of(path: Path) -> bytes:
    """The SHA-256 of a file as it is on the disk."""
    try:
        with path.open("rb") as file:
            return file_digest(file, sha256).digest()
    except OSError as error:
        raise _gone(path, error) from error


def members_of(path: Path) -> Iterator[Member]:
    """Every seal of a file, one after the other; raises ArchiveUnreadableError."""
    try:
        with path.open("rb") as file:
            offset, rest = 0, b""
            while data := rest or file.read(1 << 16):
                unpacked, length, rest = _unpacked(data, file)
                yield _member(unpacked, offset, length)
                offset += length
    except (ValueError, zlib.error, EOFError) as error:
        raise ArchiveUnreadableError(path, f"is damaged: {error}") from error
    except OSError as error:
        raise _gone(path, error) from error


def _unpacked(data: bytes, file: IO[bytes]) -> tuple[bytes, int, bytes]:
    """What a member holds that begins with `data` and goes on in `file`, its length there, and what lies behind."""
    inflater, pieces, length = zlib.decompressobj(zlib.MAX_WBITS | 16), list[bytes](), 0
    while True:
        pieces.append(inflater.decompress(data))
        length += len(data) - len(inflater.unused_data)
        if inflater.eof:
            return b"".join(pieces), length, inflater.unused_data
        if not (data := file.read(1 << 16)):
            raise EOFError("it ends in the middle of a seal")


@lru_cache(maxsize=_MEMBERS_KEPT)
def member_at(path: Path, offset: int, length: int) -> Member:
    """The seal at this place of a file; raises ArchiveUnreadableError."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return _member(gzip.decompress(file.read(length)), offset, length)
    except (ValueError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise ArchiveUnreadableError(path, f"is damaged: {error}") from error
    except OSError as error:
        raise _gone(path, error) from error


def _member(content: bytes, offset: int, length: int) -> Member:
    *lines, rest = content.split(b"\n", _LINES)
    text = b"".join(line + b"\n" for line in lines).decode()
    seal = Seal.read(text)
    entries = tuple(_entries(rest))
    if len(entries) != seal.last - seal.first + 1:
        raise ValueError(f"seal {seal.number} has {len(entries)} entries there")
    return Member(text, seal, entries, offset, length)


def _entries(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        start = content.index(b"\n", at) + 1
        told = content[at : start - 1]
        at = start + int(told) + 1
        if not told.isdigit() or content[at - 1 : at] != b"\n":
            raise ValueError("an entry does not end where it should")
        yield content[start : at - 1]


def _gone(path: Path, error: OSError) -> ArchiveUnreadableError:
    missing = isinstance(error, FileNotFoundError)
    return ArchiveUnreadableError(path, "is not there" if missing else f"cannot be read: {error.strerror}")
