"""Logging of every process, through loguru: a constant event name, the data as fields.

The standard library's loggers arrive there too. Lines go to standard error, where the supervisor prefixes them.
"""

import logging
import sys
from typing import TYPE_CHECKING

from loguru import logger

from config.settings import settings

if TYPE_CHECKING:
    from loguru import Record

_QUIET = ("pymongo", "asyncio", "granian", "_granian", "httpx", "httpcore", "faker")


class _Intercept(logging.Handler):
    """Hands records of the standard library to loguru, under the logger's own name."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        # The message is data, never a template: braces in it must not be read as fields.
        logger.bind(logger=record.name).opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def set_up_logging(component: str) -> None:
    """Log as `component` from now on; called once per process, after it has forked."""
    logger.remove()
    logger.configure(extra={"component": component})
    logger.add(sys.stderr, level=settings().log_level, format=_line, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[_Intercept()], level=logging.INFO, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def _line(record: "Record") -> str:
    fields = {name: value for name, value in record["extra"].items() if name != "component"}
    record["extra"]["shown"] = " ".join(
        f"{name}={value!r}" for name, value in fields.items() if name != "shown"
    )
    return "{time:HH:mm:ss.SSS!UTC} {level: <7} {message} {extra[shown]}\n{exception}"
