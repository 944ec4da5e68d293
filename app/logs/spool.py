"""Log entries on the disk, between the process that logs them and the store.

Below ``<data_dir>/spool`` each process has a folder, which it holds a lock on while it lives, with numbered segments of
one entry a line. An entry is in the operating system's hands once it is appended: it outlives the process, however
that ends, though not a power cut at once. A folder whose process has died is taken over by another one.
"""

import fcntl
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock

SEGMENT_BYTES = 1_000_000
_SUFFIX = ".ndjson"
_LOCK = "lock"
BLOCK_BYTES = 131_072  # read at once: more than an entry can have, and no more than the store takes in some milliseconds
HELD_BYTES = 4_000_000  # of lines that wait in memory, because the disk did not take them
_SECONDS_BETWEEN_LOOKS_FOR_ROOM = 1.0
# Whoever holds the spool may wait itself for whoever logs: a finalizer may log, in whatever thread and moment it runs.
_LONGEST_WAIT_SECONDS = 0.2


class Folder:
    """The segments of one process. Whoever has this object holds the folder's lock until `release`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def segments(self) -> list[int]:
        """The numbers of the segments that there are, in order."""
        with suppress(FileNotFoundError):
            return sorted(
                int(each.name.removesuffix(_SUFFIX))
                for each in self.path.iterdir()
                if each.name.endswith(_SUFFIX) and each.name.removesuffix(_SUFFIX).isdecimal()
            )
        return []

    def segment(self, number: int) -> Path:
        return self.path / f"{number}{_SUFFIX}"

    def release(self, *, remove: bool) -> None:
        """Give the lock back, and leave nothing behind where `remove` says so and no segment is left."""
        if remove and not self.segments():
            (self.path / _LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                self.path.rmdir()
        os.close(self._lock)


def create_folder(root: Path, name: str) -> Folder:
    """A new folder; may raise OSError. Nobody sees it before it is locked."""
    hidden, path = root / f".{name}", root / name
    hidden.mkdir(parents=True, exist_ok=True)
    lock = _lock(hidden)
    try:
        hidden.rename(path)
    except OSError:
        os.close(lock)  # or this process would find the folder locked, by itself, the next time
        raise
    return Folder(path, lock)


def adopt_folders(root: Path) -> Iterator[Folder]:
    """The folders of processes that live no more, each locked."""
    with suppress(FileNotFoundError):
        for path in sorted(root.iterdir()):
            if not path.name.startswith("."):
                with suppress(OSError):  # its process lives, or another one was faster
                    yield Folder(path, _lock(path))


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


class Spool:
    """Takes the entries of this process.

    The segments of all processes of a data directory together take `limit_bytes` and at most one segment a process
    more. Where there is no room, or the disk refuses, lines wait in memory, up to HELD_BYTES, and go to the disk once
    it takes them, or to whoever asks for them; beyond that they are dropped and counted. The order stays.

    `append` may be called anywhere, in the middle of another call of the same thread too.
    """

    def __init__(self, root: Path, *, limit_bytes: int) -> None:
        self.folder: Folder | None = None
        self.dropped = 0
        self._root, self._limit = root, limit_bytes
        self._process = ""
        self._arrived: deque[bytes] = deque()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._segment: int | None = None
        self._number = self._size = 0
        self._look_again = 0.0
        self._writing = Lock()

    def append(self, process: str, line: bytes) -> None:
        """Keep a line of that process, newline included. It never raises.

        Where it would have to wait for long, the line is kept by whoever comes next; that is the shipper, soon.
        """
        self._process = process
        if not self._writing.acquire(timeout=_LONGEST_WAIT_SECONDS):
            self._arrived.append(line)
            return
        try:
            if self._arrived or self._held or not self._keep(line):
                self._arrived.append(line)
                self._take_in()
        finally:
            self._writing.release()

    def held(self) -> list[bytes]:
        """The first of the lines that wait in memory. Every line that was on the disk by then is older."""
        with self._writing:
            self._take_in()
            lines, size = list[bytes](), 0
            for line in self._held:
                size += len(line)
                if lines and size > BLOCK_BYTES:
                    break
                lines.append(line)
            return lines

    def release(self, lines: list[bytes]) -> None:
        """Forget lines that were `held`, for the store has them."""
        with self._writing:
            for line in lines:
                if self._held and self._held[0] is line:  # or it has gone to the disk meanwhile
                    self._unhold()

    def close(self) -> None:
        """End the segment at hand; the next entry would begin another one."""
        with self._writing:
            self._look_again = 0.0
            self._take_in()
            self._unload()
            self._close_segment()

    def is_empty(self) -> bool:
        """Whether nothing waits, in memory or on the disk."""
        return not self._arrived and not self._held and (self.folder is None or not self.folder.segments())

    def abandon(self) -> None:
        """Count the lines that still wait in memory as dropped, for the process ends."""
        with self._writing:
            self._take_in()
            self.dropped += len(self._held)
            self._held.clear()
            self._held_bytes = 0

    def forget(self) -> None:
        """Remove the folder where nothing is left in it; the next entry would make it anew."""
        with self._writing:
            if self.folder is not None and not self.folder.segments():
                self.folder.release(remove=True)
                self.folder = None

    def _take_in(self) -> None:
        while self._arrived:
            line = self._arrived.popleft()
            if not (self._unload() and self._keep(line)):
                self._hold(line)

    def _hold(self, line: bytes) -> None:
        if self._held_bytes + len(line) > HELD_BYTES:
            self.dropped += 1
        else:
            self._held.append(line)
            self._held_bytes += len(line)

    def _unhold(self) -> None:
        self._held_bytes -= len(self._held.popleft())

    def _unload(self) -> bool:
        """Write what waits in memory; answers whether nothing of it is left."""
        while self._held and self._keep(self._held[0]):
            self._unhold()
        return not self._held

    def _keep(self, line: bytes) -> bool:
        """Write a line; answers whether the disk has taken it."""
        if self._look_again and time.monotonic() < self._look_again:
            return False
        try:
            kept = self._append(line)
        except OSError:
            self._take_back()
            kept = False
        self._look_again = 0.0 if kept else time.monotonic() + _SECONDS_BETWEEN_LOOKS_FOR_ROOM
        return kept

    def _append(self, line: bytes) -> bool:
        if self._segment is not None and self._size + len(line) > SEGMENT_BYTES:
            self._close_segment()
        if self._segment is None and not self._open_segment():
            return False
        assert self._segment is not None
        if os.write(self._segment, line) != len(line):
            raise OSError("the disk took part of a line")
        self._size += len(line)
        return True

    def _take_back(self) -> None:
        """Leave nothing of a line that the disk took in part; the segment goes on where it can."""
        if self._segment is not None:
            try:
                os.ftruncate(self._segment, self._size)
            except OSError:
                self._close_segment()  # whatever got into it ends there

    def _open_segment(self) -> bool:
        if _size_of(self._root) >= self._limit:
            return False
        if self.folder is None:
            self.folder = create_folder(self._root, self._process.replace("/", "-"))
        self._number += 1
        path = self.folder.segment(self._number)
        self._segment = os.open(
            path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._size = 0
        return True

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(OSError):  # a disk that refuses late; the number is free all the same
                os.close(segment)


def _size_of(root: Path) -> int:
    size = 0
    for path in root.glob(f"*/*{_SUFFIX}"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


class Reader:
    """Reads a folder's segments from the first to the last. `live` says that its process may still append."""

    def __init__(self, folder: Folder, *, live: bool) -> None:
        self.folder, self.live = folder, live
        self._number = self._offset = 0
        self._at_end = False

    def read(self) -> bytes:
        """A block of further lines, whole ones; none where there are no more by now.

        What follows the last newline of a segment that nobody writes any more is torn, and is passed over.
        """
        for number in self.folder.segments():
            # A segment is ended before the next one is begun: what is not in it by now never will be.
            if number > self._number:
                self._number, self._offset = number, 0
            if number == self._number and (block := self._block()):
                self._at_end = False
                return block
        self._at_end = True
        return b""

    def rewind(self) -> None:
        """Begin again with the first segment that is still there."""
        self._number = self._offset = 0
        self._at_end = False

    def finished(self) -> list[int]:
        """The segments of which everything was read and to which nothing is added any more."""
        last = self._number if self._at_end and not self.live else self._number - 1
        return [number for number in self.folder.segments() if number <= last]

    def remove(self, numbers: list[int]) -> None:
        for number in numbers:
            self.folder.segment(number).unlink(missing_ok=True)

    def _block(self) -> bytes:
        with self.folder.segment(self._number).open("rb") as segment:
            segment.seek(self._offset)
            block = segment.read(BLOCK_BYTES)
        block = block[: block.rfind(b"\n") + 1]
        self._offset += len(block)
        return block
