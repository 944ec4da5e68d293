"""Children in the order of their start, signals, and the way down: the last started stop first."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable

from app.embedded.child import Child, Command, spawn
from app.embedded.errors import NotReadyError
from app.embedded.records import Records, end_group
from app.embedded.terminal import Terminal

READY_SECONDS = 30.0
# A store that recovers may refuse a start or two; this many in a row mean that waiting will not help.
EXITS_BEFORE_READY = 5
PROBE_SECONDS = 0.05

Probe = Callable[[], Awaitable[bool]]


class Supervisor:
    """Runs children until a signal asks to stop; a second signal makes the stop immediate."""

    def __init__(self, *, records: Records, terminal: Terminal) -> None:
        self.records = records
        self.terminal = terminal
        # Each group stops together, the groups one after the other.
        self._groups: list[list[Child]] = []
        self._hurry = asyncio.Event()
        self._asked_to_stop = False

    def start(self, *commands: Command) -> list[Child]:
        """Start a group of children; it will be stopped before the groups that were started earlier."""
        group = [Child(command, records=self.records, terminal=self.terminal) for command in commands]
        self._groups.append(group)
        for child in group:
            child.start()
        return group

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work until it ends, fails or a signal arrives; then stop every child.

        Raises what the work raises.
        """
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._on_signal, task)
        try:
            await asyncio.wait({task})
        finally:
            await self._stop()
            for number in signals:
                loop.remove_signal_handler(number)
        if not task.cancelled():
            task.result()

    async def run_guest(self, command: Command, *, stdout: int | None = None) -> int:
        """Run a command to its end, on our terminal or on a file descriptor; answer its exit code."""
        process = await spawn(command, self.records.mark, stdout)
        self.records.add(command.name, process.pid, command.stop_signal)
        try:
            return await process.wait()
        finally:
            end_group(process.pid)
            self.records.remove(command.name)

    def _on_signal(self, task: asyncio.Future[None]) -> None:
        if self._asked_to_stop:
            self._hurry.set()
            return
        self._asked_to_stop = True
        self.terminal.say("stopping; once more to stop at once")
        task.cancel()

    async def _stop(self) -> None:
        self._asked_to_stop = True
        for group in reversed(self._groups):
            await asyncio.gather(*(child.stop(self._hurry) for child in group))


async def wait_ready(child: Child, probe: Probe, *, seconds: float = READY_SECONDS) -> float:
    """Wait until the probe succeeds; answer the seconds that it took.

    Raises NotReadyError with the last lines of the child's output when it takes too long, or when the child
    ends time and again.
    """
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if child.exits >= EXITS_BEFORE_READY:
            raise NotReadyError(_explain(child, f"ended {child.exits} times before it was ready"))
        if child.pid is not None and await probe():
            return time.monotonic() - started
        await asyncio.sleep(PROBE_SECONDS)
    raise NotReadyError(_explain(child, f"was not ready within {seconds:g} s"))


def _explain(child: Child, what: str) -> str:
    return f"{child.name} {what}; the end of {child.command.log}:\n{child.tail()}"
