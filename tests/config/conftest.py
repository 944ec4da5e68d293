"""Logging as a process sets it up, put back afterwards: loguru, the standard library's loggers and the hooks."""

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from loguru import logger

from config import redaction
from config.log_entries import LogEntry
from config.logging import set_up_logging
from config.settings import settings

CLIENT_SECRET = "correct-horse-battery-staple"


class Terminal(io.StringIO):
    """Standard error, which may claim to be a terminal."""

    def __init__(self, *, tty: bool) -> None:
        super().__init__()
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@dataclass
class Logged:
    """What came out: the lines, and the entries that were to be shipped."""

    stream: Terminal
    entries: list[LogEntry]

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


SetUp = Callable[..., Logged]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[SetUp]:
    """Set logging up as a process does; answers what comes out from then on."""
    root, levels = logging.getLogger(), {}
    handlers, root_level = root.handlers[:], root.level
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    for name, each in logging.Logger.manager.loggerDict.items():
        if isinstance(each, logging.Logger):
            levels[name] = each.level

    def start(
        component: str = "worker", *, tty: bool = False, level: str = "DEBUG", shown: bool = True
    ) -> Logged:
        logged = Logged(Terminal(tty=tty), [])
        monkeypatch.setattr(sys, "stderr", logged.stream)
        monkeypatch.setenv("ASTROCORE_LOG_LEVEL", level)
        monkeypatch.setenv("ASTROCORE_CLIENT_SECRET", CLIENT_SECRET)
        settings.cache_clear()
        set_up_logging(component, ship=logged.entries.append, shown=shown)
        return logged

    yield start
    logger.remove()
    logger.configure(extra={}, patcher=lambda _record: None)
    logger.add(sys.__stderr__)
    root.handlers[:] = handlers
    root.setLevel(root_level)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(capture=False)
    redaction.know(())
    settings.cache_clear()
