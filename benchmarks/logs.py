"""Logging: what a call costs with everything of ours in its path, and how fast entries reach the store.

A call is measured in a process that logs as a worker does: the entry is made, redacted, written to the spool, and
shipped meanwhile by a thread; once with standard error closed, and once with a line written there (here to a file) as
well. What is counted is the processor time of the thread that calls, so that others on the machine do not matter; and, without a
goal, that of the whole process until everything is shipped. Beside it, in turn and in the same process, the same calls with loguru's own file sink, as
`logger.add(path)` makes it; and, where the line is written as well, with two of them. The store takes entries from a
full spool; beside it the same lines by bare pipelined XADD.
"""

import contextlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from loguru import logger
from redis import Redis

from app.logs.layout import prefix_of
from app.logs.shipping import Shipper, shipping
from benchmarks.figure import Figure, compare
from benchmarks.processes import in_own_process
from config.log_entries import LogEntry
from config.settings import Settings

# Many short ones: the machine's own pace changes from second to second.
_PAIRS = 21
_COST_GOAL = 1.5
_AT_ONCE = 500
_CALLS, _ENTRIES = 4_000, 20_000


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Cost per call, and entries shipped a second; `records` is the number of calls and of entries."""
    less = 10 if quick else 1
    costs: list[list[tuple[float, float]]] = in_own_process(_costs, settings, records or _CALLS // less).value
    for at, (what, limit) in enumerate((("shipped", "file sink"), ("shipped and shown", "two file sinks"))):
        yield compare(
            f"logs: processor time of a call that is {what}",
            "us",
            [(times[at][0], times[at + 2][0]) for times in costs],
            limit_name=f"loguru's {limit}",
            goal=f"ratio <= {_COST_GOAL}",
            reached=lambda ratio: ratio <= _COST_GOAL,
        )
    yield compare(
        "logs: the same, with what the shipper spends on it",
        "us",
        [(times[0][1], times[2][1]) for times in costs],
        limit_name="loguru's file sink",
        goal="",
        reached=lambda _ratio: True,
    )
    yield compare(
        "logs: shipped into the store",
        "entries/s",
        in_own_process(_shipped_pairs, settings, records or _ENTRIES // less).value,
        limit_name="bare pipelined XADD",
        goal="",
        reached=lambda _ratio: True,
    )


def _costs(settings: Settings, calls: int) -> list[list[tuple[float, float]]]:
    """Of ours, with standard error closed and open, and of one file sink and two; over and over."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, files = partial(_ours, settings, folder), partial(_files, folder)
        sinks = (partial(ours, shown=False), partial(ours, shown=True), partial(files, 1), partial(files, 2))
        for sink in sinks:
            _cost(sink, calls // 10)
        return [[_cost(sink, calls) for sink in sinks] for _ in range(_PAIRS)]


@contextlib.contextmanager
def _ours(settings: Settings, folder: Path, *, shown: bool) -> Iterator[None]:
    with (folder / "stderr").open("w", buffering=1) as lines, contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stderr(lines if shown else None))
        stack.enter_context(shipping("worker", _own_namespace(settings)))
        yield


@contextlib.contextmanager
def _files(folder: Path, number: int) -> Iterator[None]:
    logger.remove()
    logger.configure(extra={"component": "worker"}, patcher=lambda _record: None)
    for at in range(number):
        logger.add(folder / f"{at}.log")
    yield


def _cost(sink: Callable[[], AbstractContextManager[None]], calls: int) -> tuple[float, float]:
    """Microseconds of a call: of the thread that calls, and of the process until the sink is closed."""
    started = time.process_time()
    with sink():
        begun = time.thread_time()
        for at in range(calls):
            logger.bind(entity="customers", key=str(at), status=200, method="GET").info("request.served")
        own = time.thread_time() - begun
    return own / calls * 1e6, (time.process_time() - started) / calls * 1e6


def _shipped_pairs(settings: Settings, number: int) -> list[tuple[float, float]]:
    entries = [_entry(at) for at in range(1, number + 1)]
    with Redis.from_url(settings.url("logs_url")) as redis:
        return [
            (number / _ship(redis, _own_namespace(settings), entries), number / _add(redis, entries))
            for _ in range(_PAIRS)
        ]


def _ship(redis: Redis, settings: Settings, entries: Sequence[LogEntry]) -> float:
    """Seconds until the store has everything that waits in a spool."""
    shipper, number = Shipper(settings), f"{prefix_of(settings.namespace)}:number"
    for entry in entries:
        shipper.ship(entry)
    started = time.perf_counter()
    shipper.start()
    while int(redis.get(number) or 0) < len(entries):
        time.sleep(0.005)
    seconds = time.perf_counter() - started
    shipper.stop()
    return seconds


def _add(redis: Redis, entries: Sequence[LogEntry]) -> float:
    """Seconds that bare XADDs of the same lines take, pipelined."""
    lines, key = [msgspec.json.encode(entry) for entry in entries], f"bare:{uuid.uuid4().hex}"
    started = time.perf_counter()
    for start in range(0, len(lines), _AT_ONCE):
        with redis.pipeline(transaction=False) as pipeline:
            for line in lines[start : start + _AT_ONCE]:
                pipeline.xadd(key, {"entry": line})
            pipeline.execute()
    return time.perf_counter() - started


def _entry(at: int) -> LogEntry:
    ids = {"request_id": str(uuid.UUID(int=at // 3)), "trace_id": f"{at // 3:032x}"}
    return LogEntry(
        process="benchmark:1:00000000",
        sequence=at,
        time=datetime.now(UTC),
        level="INFO",
        event="request.served",
        component="web",
        actor="operator",
        duration_ms=1.5,
        fields={"method": "GET", "path": "/v1/reconciliation/runs", "status": 200},
        **ids,
    )


def _own_namespace(settings: Settings) -> Settings:
    """Settings under which the store is empty."""
    return settings.model_copy(update={"namespace": f"b{uuid.uuid4().hex[:12]}"})
