"""Entries that have left Redis, from the archive files: read from their beginning to their end, in constant memory."""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import file_digest, sha256
from io import SEEK_END, BufferedReader
from pathlib import Path
from typing import IO

from app.audit.verification.report import Finding, Wrong
from app.audit.verification.seals import Keys, SealRead
from app.audit.verification.stores import Evidence, Stored
from app.audit.verification.tombstones import Standing, TombstoneChain, TombstoneRead

_TITLE = b"astrocore audit seal 1\n"
_SEAL_BYTES = 1000  # its text has less
_LENGTH_BYTES = 12
_BUFFER = 1 << 17
_MOST = 2**29  # bytes that Redis takes in one value
FOREIGN_BYTES = 2**24
"""The entries of one seal that are read of a file that is not what was signed: it may be made to inflate without end."""

_DAMAGE = (OSError, EOFError, ValueError, zlib.error)


@dataclass
class _File:
    """The archive file that is being read, behind the last seal that was taken; None where it cannot be read on."""

    tombstone: TombstoneRead
    content: IO[bytes] | None
    title: bytes = b""
    signed: bool = False
    """Whether it is, to the byte, what its tombstone names."""
    skipped: int = 0
    """Seals to pass over: they were read from Redis before they were archived."""


@dataclass
class Archives:
    """What the stores say was archived, and the files below a folder."""

    evidence: Evidence
    keys: Keys
    folder: Path
    entries: int = 0
    """Read from files."""
    unread: int = 0
    """Sealed and archived, and nothing could be read in their place."""
    chain: TombstoneChain = field(init=False)
    _file: _File | None = None
    _opened: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.chain = TombstoneChain(self.keys)

    async def refresh(self) -> bool:
        """See what was archived since; answers whether something was."""
        return self.chain.follow(await self.evidence.tombstones(self.chain.number))

    def take(self, seal: SealRead, tombstone: TombstoneRead) -> list[Stored] | None:
        """What stands in its file in the place of a seal's entries, one more where there are more; None where none can be read.

        What keeps it from being read is noted.
        """
        if self._file is None or self._file.tombstone.number != tombstone.number:
            self._open(tombstone, skipped=seal.number - tombstone.begin)
        assert self._file is not None
        if not tombstone.fits(seal):
            self._note(Wrong.TOMBSTONE_UNCHAINED, seal, "its tombstone does not begin and end with its seals")
        if self._file.content is None:
            return None
        try:
            found = list(self._read(self._file, self._file.content, seal))
        except _DAMAGE as error:
            self._file.content = None
            self._note(Wrong.ARCHIVE_DIFFERS, seal, f"it cannot be read from seal {seal.number} on: {error}")
            return None
        if seal.number == tombstone.end and self._file.title:
            self._note(Wrong.ARCHIVE_DIFFERS, seal, f"it goes on behind seal {seal.number}, its last one")
        self.entries += len(found)
        return found

    def close(self) -> None:
        self._opened.close()

    async def findings(self, last: SealRead | None, *, whole: bool) -> list[Finding]:
        """What is wrong. `last` is the last seal that holds, `whole` whether the walk got to the end."""
        reach = self.chain.last
        if whole and reach and reach.end > (last.number if last else 0):
            what = f"its tombstone says that seal {reach.end} is archived, and the chain does not reach it"
            self.chain.note(Wrong.TOMBSTONE_UNCHAINED, reach.number, what)
        archived = self.evidence.archived()
        # An archiver may be at work: what has left Redis had its tombstone in both stores before that.
        before = await self.evidence.tombstones(0)
        self.chain.follow([each for each in before if each.number > self.chain.number])
        standing = Standing(self.evidence.archived(), self.evidence.first_sequence())
        trimmed = {each.number for each in before if each.columns and each.columns.trimmed}
        self.chain.judge_copies(
            await self.evidence.tombstones(0), standing, trimmed=trimmed, instant=datetime.now(UTC)
        )
        found = list(dict.fromkeys(self.chain.findings))
        miscounted = self._miscounted(archived) if whole else None
        return [*found, miscounted] if miscounted else found

    def _miscounted(self, archived: int) -> Finding | None:
        """Whether Redis begins behind what it says is archived, and an archive ends there.

        Entries may leave meanwhile: the first one lies between two looks at what is archived, one of which is given.
        """
        first, later = self.evidence.first_sequence(), self.evidence.archived()
        goes_on = first is None or archived < first <= later + 1
        if goes_on and archived in {0, *(each.last for each in self.chain.held)}:
            return None
        return Finding(
            wrong=Wrong.ARCHIVE_MISCOUNTED,
            message=f"Redis says that entries up to {archived} have left it; its first one is {first}, and the tombstones go up to "
            f"{self.chain.reach}: queries pass entries over, or find none",
        )

    def _open(self, tombstone: TombstoneRead, *, skipped: int) -> None:
        self._opened.close()
        self._file = _File(tombstone, None, skipped=skipped)
        path = self.folder / tombstone.file
        try:
            file = self._opened.enter_context(path.open("rb"))
            self._file.signed = file_digest(file, sha256).digest() == tombstone.digest
            size = file.seek(0, SEEK_END)
            file.seek(0)
            content = BufferedReader(self._opened.enter_context(gzip.GzipFile(fileobj=file)), _BUFFER)
            self._file.title = content.readline(_SEAL_BYTES)
            self._file.content = content
        except FileNotFoundError:
            self.chain.note(Wrong.ARCHIVE_MISSING, tombstone.number, f"there is no {path}", tombstone.begin)
            return
        except _DAMAGE as error:
            self.chain.note(
                Wrong.ARCHIVE_DIFFERS, tombstone.number, f"{path} cannot be read: {error}", tombstone.begin
            )
            return
        self._compare(self._file, path, size)

    def _compare(self, file: _File, path: Path, size: int) -> None:
        tombstone = file.tombstone
        columns = self.chain.columns.get(tombstone.number)
        if not file.signed:
            what = f"the SHA-256 of {path} is not that of its tombstone"
            self.chain.note(Wrong.ARCHIVE_DIFFERS, tombstone.number, what, tombstone.begin)
        elif columns is not None and columns.size != size:
            self.chain.differ(tombstone, f"bytes {columns.size}", f"bytes {size}")

    def _read(self, file: _File, content: IO[bytes], seal: SealRead) -> Iterator[Stored]:
        """A seal's entries, up to the title of the next seal or the end, and no more than one too many."""
        for _ in range(file.skipped):
            _header(file, content)
            deque(_entries(file, content), maxlen=0)
        file.skipped = 0
        if _header(file, content) != seal.text:
            self._note(Wrong.ARCHIVE_DIFFERS, seal, f"it has another text for seal {seal.number}")
        for sequence, body in zip(range(seal.first, seal.last + 2), _entries(file, content), strict=False):
            yield b"%d-0" % sequence, [b"entry", body]

    def _note(self, wrong: Wrong, seal: SealRead, what: str) -> None:
        assert self._file is not None
        tombstone = self._file.tombstone
        self.chain.note(wrong, tombstone.number, f"{what} ({self.folder / tombstone.file})", seal.number)


def _header(file: _File, content: IO[bytes]) -> bytes:
    if not file.title:
        raise EOFError("it ends there")
    return file.title + b"".join(content.readline(_SEAL_BYTES) for _ in range(8))


def _entries(file: _File, content: IO[bytes]) -> Iterator[bytes]:
    read = 0
    while (line := content.readline(_SEAL_BYTES)) not in {_TITLE, b""}:
        length = _length(line)
        read += length
        if read > FOREIGN_BYTES and not file.signed:
            raise ValueError(f"a seal has more than {FOREIGN_BYTES:,} bytes there")
        body = content.read(length)
        if content.read(1) != b"\n":
            raise ValueError("an entry does not end where it should")
        yield body
    file.title = line


def _length(line: bytes) -> int:
    if not line[:-1].isdigit() or len(line) > _LENGTH_BYTES or int(line) > _MOST:
        raise ValueError("the length of an entry is none")
    return int(line)
