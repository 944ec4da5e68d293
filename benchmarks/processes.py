"""Work in a process of its own: how long it took, and the greatest memory of that process, libraries included."""

import multiprocessing
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True)
class Measured:
    """`value` is what the work answered; `seconds` leave out the start of the process and its imports."""

    value: Any
    seconds: float
    peak_megabytes: float


def in_own_process(work: Callable[..., Any], *arguments: Any) -> Measured:
    """Run a function of a module in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, arguments))


def _measured(work: Callable[..., Any], arguments: Sequence[Any]) -> Measured:
    started = time.perf_counter()
    value = work(*arguments)
    seconds = time.perf_counter() - started
    return Measured(value, seconds, _peak("self"))


def command(argv: Sequence[str]) -> Measured:
    """Run a command; its `value` is what it printed. Raises CalledProcessError, with its errors, where it fails."""
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
    return Measured(printed, time.perf_counter() - started, peak)


def _peak(process: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    _before, found, after = status.partition("VmHWM:")
    return int(after.split()[0]) / 1000 if found else 0.0
