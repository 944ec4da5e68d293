"""A place for the frames of two sides until their keys can be compared: memory first, then files."""

import fcntl
import io
import math
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import polars as pl

from app.reconciliation.mapping import Side
from app.reconciliation.scanning.canonical import KEY

MEMORY_BYTES = 16 << 20
BUCKET_BYTES = 8 << 20
# Enough for tens of millions of records; more would take longer to write, in tiny parts, than to split once more.
_MOST_BUCKETS = 512
# A bucket this many times larger than wanted is split once more, up to so deep.
_TOO_LARGE = 2
_DEEPEST = 3
_LENGTH = struct.Struct("<Q")
_NAME = "astrocore-scan-"

Pair = tuple[pl.DataFrame, pl.DataFrame]


class Shelf:
    """Takes frames of both sides in any order and gives them back in pairs, each pair holding the same keys.

    At most `memory_bytes` are held; then everything goes to files below `folder`, split by a hash of the key into
    buckets of about `bucket_bytes` for both sides together. `expected_rows` of the greater side decides how many;
    where it was far too low, buckets are split once more. The files vanish when the shelf is closed; those of a process
    that was killed, when `sweep` comes next.
    """

    def __init__(
        self,
        folder: Path,
        expected_rows: int,
        *,
        memory_bytes: int = MEMORY_BYTES,
        bucket_bytes: int = BUCKET_BYTES,
        depth: int = 0,
    ) -> None:
        self._parent = folder
        self._expected_rows = expected_rows
        self._memory_bytes = memory_bytes
        self._bucket_bytes = bucket_bytes
        self._depth = depth
        self._held: dict[Side, list[pl.DataFrame]] = {side: [] for side in Side}
        self._held_bytes = 0
        self._buckets = 0
        self._folder: Path | None = None
        self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._lock)

    def add(self, side: Side, frame: pl.DataFrame) -> None:
        # Many columns hold nothing, in a batch or ever; `_concat` gives them back.
        frame = frame.select(
            each for each in frame.iter_columns() if each.name == KEY or each.null_count() < len(each)
        )
        self._held[side].append(frame)
        self._held_bytes += int(frame.estimated_size())
        if self._held_bytes > self._memory_bytes:
            self._spill()

    def pairs(self, empty: dict[Side, pl.DataFrame]) -> Iterator[Pair]:
        """(document frame, relational frame) of each bucket, once; `empty` is what a side without rows gives."""
        if not self._folder:
            yield from self._pairs_in_memory(empty)
            return
        self._spill()
        for bucket in range(self._buckets):
            yield from self._pairs_of(self._folder, bucket, empty)

    def _pairs_in_memory(self, empty: dict[Side, pl.DataFrame]) -> Iterator[Pair]:
        # Joining everything at once would take several times what is held.
        self._buckets = max(1, math.ceil(self._held_bytes / self._bucket_bytes))
        parts = {side: self._split(side) for side in Side}
        for bucket in range(self._buckets):
            taken = [_concat([empty[side], parts[side].pop(bucket, empty[side])]) for side in Side]
            yield taken[0], taken[1]

    def _pairs_of(self, folder: Path, bucket: int, empty: dict[Side, pl.DataFrame]) -> Iterator[Pair]:
        paths = {side: path for side in Side if (path := folder / f"{side}-{bucket}").exists()}
        size = sum(path.stat().st_size for path in paths.values())
        if size > _TOO_LARGE * self._bucket_bytes and self._depth < _DEEPEST:
            yield from self._split_again(folder, paths, size, empty)
            return
        taken = [_concat([empty[side], *_take(paths.get(side))]) for side in Side]
        yield taken[0], taken[1]

    def _split_again(
        self, folder: Path, paths: dict[Side, Path], size: int, empty: dict[Side, pl.DataFrame]
    ) -> Iterator[Pair]:
        frame = next(_parts(next(iter(paths.values()))))
        width = max(1, frame.estimated_size() // max(1, len(frame)))
        with Shelf(
            folder,
            size // int(width),
            memory_bytes=self._memory_bytes,
            bucket_bytes=self._bucket_bytes,
            depth=self._depth + 1,
        ) as inner:
            for side in Side:
                for part in _take(paths.get(side)):
                    inner.add(side, part)
            yield from inner.pairs(empty)

    def _spill(self) -> None:
        if not self._folder:
            self._folder, self._lock = _make_folder(self._parent)
            self._buckets = self._count_buckets()
        for side in Side:
            for number, part in self._split(side).items():
                _append(self._folder / f"{side}-{number}", part)
        self._held_bytes = 0

    def _count_buckets(self) -> int:
        # One side may arrive whole before the other one begins.
        width = 2 * max(
            sum(frame.estimated_size() for frame in frames) / max(1, sum(map(len, frames)))
            for frames in self._held.values()
        )
        rows = max(self._expected_rows, *(sum(map(len, frames)) for frames in self._held.values()))
        return min(_MOST_BUCKETS, max(2, math.ceil(rows * width / self._bucket_bytes)))

    def _split(self, side: Side) -> dict[int, pl.DataFrame]:
        """What a side holds, by bucket; it holds nothing afterwards."""
        frames, self._held[side] = self._held[side], []
        if not frames:
            return {}
        bucket = (pl.col(KEY).hash(seed=self._depth) % self._buckets).alias("bucket")
        parts = (
            pl.concat(frames, how="diagonal")
            .with_columns(bucket)
            .partition_by("bucket", as_dict=True, include_key=False)
        )
        return {int(number): part for (number,), part in parts.items()}


def sweep(parent: Path) -> None:
    """Remove the folders of shelves whose process lives no more."""
    for left in parent.glob(f"{_NAME}*"):
        with suppress(OSError):  # its process lives, or another one was faster
            lock = _lock(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def _make_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and its lock. Nobody sees it before it is locked."""
    hidden = Path(tempfile.mkdtemp(prefix=f".{_NAME}", dir=parent))
    lock = _lock(hidden)
    return hidden.rename(parent / hidden.name.removeprefix(".")), lock


def _lock(folder: Path) -> int:
    """Raises OSError where somebody else has it; it ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _take(path: Path | None) -> Iterator[pl.DataFrame]:
    """The parts of a file, which vanishes behind them."""
    if path:
        yield from _parts(path)
        path.unlink()


def _append(path: Path, part: pl.DataFrame) -> None:
    """Each part is an Arrow stream of its own, behind its length: not all of them have the same columns."""
    stream = io.BytesIO()
    part.write_ipc_stream(stream)
    with path.open("ab") as file:
        file.write(_LENGTH.pack(stream.tell()))
        file.write(stream.getbuffer())


def _parts(path: Path) -> Iterator[pl.DataFrame]:
    with path.open("rb") as file:
        while length := file.read(_LENGTH.size):
            yield pl.read_ipc_stream(io.BytesIO(file.read(*_LENGTH.unpack(length))))


def _concat(frames: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames, how="diagonal", rechunk=True)
