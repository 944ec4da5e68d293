"""Moves the entries of a process from its spool to the log store, in a thread of its own.

Whoever logs waits for nothing but the disk's cache. A segment of the spool is deleted once the store has it on its own
disk; after any fault everything that is still in the spool is sent again, and what the store has is not taken twice.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.util import Finalize
from queue import Empty, SimpleQueue
from threading import Event, Thread

import msgspec
from loguru import logger
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError
from redis.retry import Retry

from app.logs.layout import APPEND, prefix_of
from app.logs.spool import BLOCK_BYTES, Reader, Spool, adopt_folders
from config.log_entries import LogEntry
from config.logging import set_up_logging
from config.settings import Settings

STOP_SECONDS = 2.0
_PAUSE_SECONDS = 0.1
# Less than this is shipped with what comes in the next pause: many small blocks would cost whoever logs.
_WORTH_GOING_ON = BLOCK_BYTES // 2
_LONGEST_PAUSE_SECONDS = 2.0
_STORE_SECONDS = 2.0
_SECONDS_BETWEEN_ADOPTIONS = 30.0
_SECONDS_BETWEEN_REPORTS = 10.0
# So many finished segments wait for the store's disk before shipping does.
_UNSETTLED = 16
_LONG_MILLISECONDS = 1500
_LAST_MILLISECONDS = 300
_LAST_SECONDS = 1.0
# A store before Redis 7.2, which cannot be asked; or one without an append-only file.
_NOTHING_TO_WAIT_FOR = ("unknown command", "appendonly is disabled")
_AT_ONCE = frozenset({"ERROR", "CRITICAL"})


_ENCODER = msgspec.json.Encoder()


class Shipper:
    """Ships what `ship` is given. It is started after the process has forked, and stopped when it ends."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.data_dir / "spool"
        self._spool = Spool(self._root, limit_bytes=settings.log_spool_megabytes * 1_000_000)
        self._url, self._prefix = settings.url("logs_url"), prefix_of(settings.namespace)
        self._redis: Redis | None = None
        self._own: Reader | None = None
        self._adopted: list[Reader] = []
        self._adopt_at = self._report_at = 0.0
        self._faults = self._reported = 0
        self._refused = False
        # The one signal that may be given while its lock is held: by a finalizer that logs an error.
        self._awake: SimpleQueue[None] = SimpleQueue()
        self._stopping = Event()
        self._deadline = float("inf")
        self._thread = Thread(target=self._run, name="log-shipper", daemon=True)

    def ship(self, entry: LogEntry) -> None:
        """Take an entry. It neither raises nor waits for the store; ERROR and above are sent at once."""
        self._spool.append(entry.process, _ENCODER.encode(entry) + b"\n")
        if entry.level in _AT_ONCE:
            self._wake()

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Ship what is left for so long at most; the rest stays in the spool for the next process.

        It may be called again, for what was logged meanwhile.
        """
        self._deadline = time.monotonic() + seconds
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(seconds + _STORE_SECONDS)
        elif not self._spool.is_empty():
            self._finish()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                shipped = self._turn()
            except Exception as error:  # noqa: BLE001  (nobody else would ever ship what this thread does not)
                self._back_off(error)
                continue
            if shipped < _WORTH_GOING_ON:
                with suppress(Empty):
                    self._awake.get(timeout=_PAUSE_SECONDS)
        self._finish()

    def _wake(self) -> None:
        if self._awake.empty():
            self._awake.put(None)

    def _turn(self) -> int:
        """Ship a block of every folder; answers how many bytes they were."""
        self._report_drops()
        # Asked before the folder is looked for and read: what is on the disk by then is older.
        held = self._spool.held()
        self._find_folders()
        shipped = self._ship_block(self._own) if self._own else 0
        if held and not shipped:
            shipped = self._ship_held(held)
        shipped += sum(self._ship_block(reader) for reader in self._adopted)
        self._settle()
        if self._faults:
            self._faults = 0
            logger.info("shipping.resumed")
        return shipped

    def _finish(self) -> None:
        self._find_folders()
        self._spool.close()
        if self._own is not None:
            self._own.live = False
        with suppress(Exception):  # what is left is found by the next process
            while time.monotonic() < self._deadline and self._turn():
                pass
            self._settle(milliseconds=_LAST_MILLISECONDS)
        self._spool.abandon()
        self._report_at = 0.0
        self._report_drops()
        self._spool.forget()
        if self._spool.folder is None:
            self._own = None

    def _find_folders(self) -> None:
        if self._own is None and self._spool.folder is not None:
            self._own = Reader(self._spool.folder, live=True)
        if time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + _SECONDS_BETWEEN_ADOPTIONS
            self._adopted += [Reader(folder, live=False) for folder in adopt_folders(self._root)]

    def _readers(self) -> list[Reader]:
        return [*([self._own] if self._own else []), *self._adopted]

    def _ship_block(self, reader: Reader) -> int:
        block = reader.read()
        if block:
            self._send(block)
        return len(block)

    def _ship_held(self, lines: list[bytes]) -> int:
        """Ship lines that are in memory only. They are not kept until the store has them on its disk."""
        block = b"".join(lines)
        self._send(block)
        self._spool.release(lines)
        return len(block)

    def _send(self, block: bytes) -> None:
        self._connection().eval(APPEND, 1, self._prefix, block)

    def _settle(self, *, milliseconds: int = 1) -> None:
        """Delete the segments that the store has on its disk."""
        finished = [(reader, reader.finished()) for reader in self._readers()]
        waiting = sum(len(numbers) for _reader, numbers in finished)
        if waiting and self._is_on_disk(milliseconds if waiting <= _UNSETTLED else _LONG_MILLISECONDS):
            for reader, numbers in finished:
                reader.remove(numbers)
        for reader in [each for each in self._adopted if not each.folder.segments()]:
            reader.folder.release(remove=True)
            self._adopted.remove(reader)

    def _is_on_disk(self, milliseconds: int) -> bool:
        """Whether the store has all that this connection has sent on its own disk, within so many milliseconds."""
        try:
            copies, _replicas = self._connection().waitaof(1, 0, milliseconds)
        except ResponseError as error:
            if any(said in str(error) for said in _NOTHING_TO_WAIT_FOR):
                return True
            self._tell_refusal(error)
            return False
        self._refused = False
        return bool(copies > 0)

    def _tell_refusal(self, error: ResponseError) -> None:
        if not self._refused:
            self._refused = True
            logger.bind(error=str(error)).warning("segments.kept")

    def _connection(self) -> Redis:
        """The one connection. Another one must not slip in: WAITAOF answers for what was sent on the same."""
        if self._redis is None:
            self._redis = Redis.from_url(
                self._url,
                single_connection_client=True,
                socket_timeout=_STORE_SECONDS,
                socket_connect_timeout=_STORE_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
        return self._redis

    def _back_off(self, error: Exception) -> None:
        """Begin again with everything that is still in the spool, a little later."""
        for reader in self._readers():
            reader.rewind()
        if self._redis is not None:
            self._redis.close()
            self._redis = None
        self._faults += 1
        if self._faults == 1:
            logger.bind(error=str(error)).warning("shipping.delayed")
        longest = min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS * 2 ** min(self._faults, 8))
        self._stopping.wait(random.uniform(longest / 2, longest))  # noqa: S311  (spreads, and is no secret)

    def _report_drops(self) -> None:
        """Say how many entries were dropped so far; while there is no room that is dropped too, but seen on stderr."""
        if self._spool.dropped > self._reported and time.monotonic() >= self._report_at:
            self._reported, self._report_at = self._spool.dropped, time.monotonic() + _SECONDS_BETWEEN_REPORTS
            logger.bind(dropped=self._reported).error("entries.dropped")


def start_shipping(component: str, settings: Settings, *, shown: bool = True) -> Shipper:
    """Log as `component` from now on, and ship what is logged until the shipper is stopped; called after the fork.

    What is logged later, by which exception the process ends for one, is shipped when it ends. `shown` is for
    `set_up_logging`.
    """
    shipper = Shipper(settings)
    set_up_logging(component, ship=shipper.ship, shown=shown)
    shipper.start()
    # `atexit` is not asked in a process that `multiprocessing` has forked, which Dramatiq's are; this is in every one.
    Finalize(None, shipper.stop, (_LAST_SECONDS,), exitpriority=0)
    return shipper


@contextmanager
def shipping(component: str, settings: Settings, *, shown: bool = True) -> Iterator[None]:
    """Log as `component`, and ship what is logged until the block ends."""
    shipper = start_shipping(component, settings, shown=shown)
    try:
        yield
    finally:
        shipper.stop()
