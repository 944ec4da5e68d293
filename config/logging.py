"""Logging of every process, through loguru: a constant event name, the data as fields.

The standard library's loggers arrive there too. Every entry is made once (`config.log_entries`), and goes to standard
error as a line, where the supervisor prefixes it, and to whoever ships entries to the log store.
"""

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, TextIO, cast

from loguru import logger

from config.log_entries import LogEntry, entry_of, level_of, without_secrets
from config.log_lines import line_of
from config.logged_values import parts_of, text_of, unprintable
from config.redaction import REDACTED, hides, know, redact_template, secrets_of
from config.settings import settings

if TYPE_CHECKING:
    from loguru import Message, Record, RecordException

# Chatty below WARNING; or said by an entry of ours (`message.failed`, `message.died`) with more to it.
_LEAST_LEVELS = {
    **dict.fromkeys(
        ("pymongo", "piccolo", "asyncio", "granian", "_granian", "httpx", "httpcore", "faker"),
        logging.WARNING,
    ),
    "dramatiq.worker.WorkerThread": logging.CRITICAL,
    "dramatiq.middleware.retries.Retries": logging.ERROR,
}

Ship = Callable[[LogEntry], None]


class _Intercept(logging.Handler):
    """Hands records of the standard library to loguru: one event, what was said as a field."""

    def createLock(self) -> None:  # noqa: N802  (the name that `logging` calls)
        # loguru has a lock of its own. Of two, a finalizer that logs may take the second first.
        self.lock = None

    def emit(self, record: logging.LogRecord) -> None:
        # loguru refuses what a finalizer says in the middle of the writing of an entry; and a library may give what is
        # no exception for one.
        with suppress(Exception):
            bound = logger.bind(logger=record.name, message=_said(record))
            bound.opt(exception=record.exc_info).log(level_of(record.levelno), "library.reported")


class _Sink:
    """Makes the entry of every record and hands it on. loguru calls it under a lock, so `sequence` has no gap."""

    def __init__(self, ship: Ship | None, stream: TextIO | None) -> None:
        self._process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._sequence = 0
        self._ship = ship
        self._stream = stream
        self._coloured = bool(stream and stream.isatty()) and "NO_COLOR" not in os.environ

    def __call__(self, message: "Message") -> None:
        self._sequence += 1
        # Whoever logs must not fail by it, be it at the end of its stack; the store finds the gap in the numbering.
        with suppress(Exception):
            entry = entry_of(message.record, self._process, self._sequence)
            self._show(entry)
            if self._ship is not None:
                self._ship(entry)

    def _show(self, entry: LogEntry) -> None:
        if self._stream is not None:
            # A terminal that went away must not take the process down.
            with suppress(Exception):
                self._stream.write(line_of(entry, coloured=self._coloured) + "\n")


def set_up_logging(component: str, *, ship: Ship | None = None, shown: bool = True) -> None:
    """Log as `component` from now on; called once per process, after it has forked.

    `ship` is given every entry at or above the log level, in the order of their sequence. It must be quick and must
    neither raise nor log. Without `shown` there are no lines on standard error, for a process that tells whoever
    watches in its own way.
    """
    know(secrets_of(settings()))
    logger.remove()
    logger.configure(extra={"component": component}, patcher=_leave_unformatted)
    # Where loguru catches what a sink raises it prints the record as it is, secrets and all.
    # Standard error is None where the process was started with it closed.
    sink = _Sink(ship, sys.stderr if shown else None)
    logger.add(sink, level=settings().log_level, format="", catch=False)
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    logging.captureWarnings(capture=True)
    for name, level in _LEAST_LEVELS.items():
        own = logging.getLogger(name)
        own.setLevel(level)
        # granian gives its loggers sinks of their own, which would write what is not redacted.
        own.handlers.clear()
        own.propagate = True
    sys.excepthook = _on_uncaught
    sys.unraisablehook = _on_ignored
    threading.excepthook = _on_uncaught_in_thread


class _Unformatted(NamedTuple):
    """An exception that loguru does not format, because it takes it for none: the entry has its own form of it."""

    type: type[BaseException] | None
    value: BaseException | None
    traceback: TracebackType | None

    def __bool__(self) -> bool:
        return False


def _leave_unformatted(record: "Record") -> None:
    if record["exception"] is not None:
        record["exception"] = cast("RecordException", _Unformatted(*record["exception"]))


def _said(record: logging.LogRecord) -> str:
    """The message of a library, or that it cannot be told."""
    try:
        return _filled_in(record)
    except Exception:  # noqa: BLE001  (whatever it was given)
        return unprintable(record.msg)


def _filled_in(record: logging.LogRecord) -> str:
    """The message; what the words around a placeholder call secret is not put in."""
    template, given = redact_template(str(record.msg)), record.args
    if not given:
        return str(record.msg)
    if isinstance(given, Mapping):
        given = {name: REDACTED if hides(name, value) else _argument(value) for name, value in given.items()}
    else:
        given = tuple(map(_argument, given))
    try:
        return template % given
    except Exception:  # noqa: BLE001  (arguments that do not fit, or that cannot be told)
        return f"{template} {text_of(given)}"


def _argument(value: object) -> object:
    """Looked into, unless it has words of its own for what it is."""
    if hides(None, value):
        return REDACTED
    own_words = type(value).__str__ is not object.__str__
    return value if own_words or parts_of(value) is None else without_secrets(value)


def _on_uncaught(raised: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(raised, KeyboardInterrupt):
        logger.info("process.interrupted")
    else:
        logger.opt(exception=(raised, value, traceback)).critical("process.failed")


def _on_ignored(ignored: "sys.UnraisableHookArgs") -> None:
    raised = (ignored.exc_type, ignored.exc_value, ignored.exc_traceback)
    # It may have come up while an entry is written, where loguru refuses another one.
    with suppress(RuntimeError):
        logger.bind(object=text_of(ignored.object)).opt(exception=raised).error("exception.ignored")


def _on_uncaught_in_thread(failure: threading.ExceptHookArgs) -> None:
    if not issubclass(failure.exc_type, SystemExit):
        raised = (failure.exc_type, failure.exc_value, failure.exc_traceback)
        name = failure.thread.name if failure.thread else None
        logger.bind(thread=name).opt(exception=raised).error("thread.failed")


def log_start() -> None:
    """Say that this process has started, and which version it is."""
    logger.bind(version=version("astrobookings-core"), pid=os.getpid()).info("process.started")


def log_stop() -> None:
    """Say that this process stops of its own accord; one that was killed does not get to say it."""
    logger.bind(version=version("astrobookings-core"), pid=os.getpid()).info("process.stopped")
