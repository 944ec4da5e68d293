"""Following a run: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from app.cli import output
from app.cli.client import Api
from app.cli.errors import UnreachableError
from app.cli.runs import counted
from app.reconciliation.ledger.views import RunView

ENDED = frozenset({"done", "cancelled", "failed", "skipped"})
POLL_SECONDS = 0.25
SLOW_POLL_SECONDS = 1.0
SLOW_AFTER_SECONDS = 10.0
PATIENCE_SECONDS = 60.0  # a run outlives its processes, so a system that is away is waited for
LINE_SECONDS = 5.0

Show = Callable[[RunView], None]


def follow(api: Api, run: RunView, show: Show) -> RunView:
    """Wait until the run has ended, or waits for an operator; raises UnreachableError after a minute of silence."""
    started = heard = time.monotonic()
    while True:
        show(run)
        if run.status in ENDED or waits_for_operator(run):
            return run
        now = time.monotonic()
        time.sleep(POLL_SECONDS if now - started < SLOW_AFTER_SECONDS else SLOW_POLL_SECONDS)
        try:
            run = api.get(("runs", str(run.id)), RunView)
            heard = time.monotonic()
        except UnreachableError:
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise


def waits_for_operator(run: RunView) -> bool:
    """Whether the circuit breaker keeps the run from going on: before its repairs, or among them."""
    return run.status == "held" or (run.status == "repairing" and run.reason is not None)


@contextmanager
def progress(console: Console) -> Iterator[Show]:
    """What shows a run's progress each time it is called with it."""
    if not console.is_terminal:
        yield Lines(console).show
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield Bars(bars).show


class Bars:
    """One bar per run."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, run: RunView) -> None:
        """Move the run's bar."""
        task = self._tasks.get(str(run.id))
        if task is None:
            task = self._tasks[str(run.id)] = self._bars.add_task(f"{run.entity:<10}", total=None, detail="")
        done, total = extent(run)
        detail = output.printable(describe(run))
        self._bars.update(task, completed=done, total=total, detail=detail)


class Lines:
    """A line when a run's status changes, and one every few seconds in between."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: tuple[str, str] | None = None
        self._at = 0.0

    def show(self, run: RunView) -> None:
        """Print a line if it is time for one."""
        saying = (str(run.id), run.status)
        if saying == self._said and time.monotonic() - self._at < LINE_SECONDS:
            return
        self._said, self._at = saying, time.monotonic()
        line = output.printable(f"{run.entity}: {describe(run)}")
        self._console.print(line, soft_wrap=True)


def extent(run: RunView) -> tuple[int, int | None]:
    """How much of the present step is done, and how much there is; None while nobody knows."""
    records = max(run.document_records, run.relational_records)
    if run.status == "repairing":
        return max(run.nominated - run.pending, 0), run.nominated
    if run.status in ENDED:
        return 1, 1
    if records and run.expected_records:
        return min(records, run.expected_records), run.expected_records
    return run.partitions_done, run.partitions or None


def describe(run: RunView) -> str:
    """What the run is at, in one line: the step, how far, how fast, how long still, and what was found."""
    paused = "paused, " if run.paused_at else ""
    match run.status:
        case "queued":
            return f"{paused}waiting for a worker"
        case "comparing":
            records = max(run.document_records, run.relational_records)
            pace = _pace(run, records, "records") if records else "just begun"
            return f"{paused}comparing: {pace}{_found(run)}"
        case "repairing" if not waits_for_operator(run):
            return f"{paused}repairing: {_pace(run, extent(run)[0], 'settled')}{_found(run)}"
        case _:
            reason = f": {run.reason}" if run.reason else ""
            return f"{output.words(run.status)}{reason}{_found(run)}"


def _pace(run: RunView, count: int, what: str) -> str:
    done, total = extent(run)
    text = f"{count:,} of {total:,} {what}" if done == count and total else f"{count:,} {what}"
    if run.rate:
        text += f", {run.rate:,.0f}/s"
    if run.eta_seconds:
        text += f", {duration(run.eta_seconds)} left"
    return text


def _found(run: RunView) -> str:
    return f", {run.findings:,} found{counted(run.kinds)}" if run.findings else ""


def duration(seconds: float) -> str:
    """A span as people say it: `40 s`, `2 min 5 s`, `1 h 2 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
