"""Work in a process of its own: how long it took, and the greatest memory of that process, libraries included."""

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loguru import logger

_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Measured:
    """`value` is what the work answered; `whole_seconds` begin with the start of the process, and include its imports."""

    value: Any
    seconds: float
    whole_seconds: float
    peak_megabytes: float


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Run a function of a module in a fresh process."""
    started = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        value, seconds, peak = pool.apply(_measured, (work, arguments))
        return Measured(value, seconds, time.perf_counter() - started, peak)


def _measured(work: Callable[..., Any], arguments: Sequence[Any]) -> tuple[Any, float, float]:
    logger.remove()
    started = time.perf_counter()
    value = work(*arguments)
    return value, time.perf_counter() - started, _peak("self")


def command(argv: Sequence[str]) -> Measured:
    """Run a command; its `value` is what it printed, and all of its seconds are whole ones.

    Raises CalledProcessError, with its errors, where it fails.
    """
    started = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        peak = 0.0
        while True:
            # Looked at while it runs: what getrusage tells afterwards includes the process that forked it.
            peak = max(peak, _peak(str(process.pid)))
            try:
                printed, errors = process.communicate(timeout=_SECONDS_BETWEEN_LOOKS)
            except subprocess.TimeoutExpired:
                continue
            break
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, argv, printed, errors)
    seconds = time.perf_counter() - started
    return Measured(printed, seconds, seconds, peak)


def _peak(process: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    _before, found, after = status.partition("VmHWM:")
    return int(after.split()[0]) / 1000 if found else 0.0
