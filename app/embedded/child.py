"""One child process: started, watched, restarted after a pause, stopped with all that it started."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from app.embedded.records import MARK_VARIABLE, Records, end_group
from app.embedded.terminal import Terminal
from config.processes import die_with_parent

TAIL_LINES = 15
TAIL_BYTES = 8_192
LONGEST_LINE_BYTES = 65_536


@dataclass(frozen=True)
class Account:
    """The user and group that a child runs as, where that is not our own."""

    uid: int
    gid: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """How to run a child process.

    Its output goes to `log`, and with `echo` to the terminal as well. `grace_seconds` after `stop_signal`
    it is killed.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    echo: bool = False
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_seconds: float = 3.0


class Backoff:
    """How long to wait before a restart, in seconds: twice as long each time, forgotten after a healthy life."""

    def __init__(self, *, first: float = 0.25, longest: float = 10.0, healthy: float = 30.0) -> None:
        self._first = self._next = first
        self._longest = longest
        self._healthy = healthy

    def delay(self, lived: float) -> float:
        if lived >= self._healthy:
            self._next = self._first
        delay = self._next
        self._next = min(2 * delay, self._longest)
        return delay


async def spawn(
    command: Command, mark: str, stdout: BinaryIO | int | None, environment: Mapping[str, str] | None = None
) -> Process:
    """Start the process in a session of its own, so that Ctrl-C at the terminal reaches the supervisor alone.

    It dies with the thread that calls this, which therefore has to be the main one.
    """
    account = command.account
    return await asyncio.create_subprocess_exec(
        *command.argv,
        env={**(environment or command.environment), MARK_VARIABLE: mark},
        cwd=command.directory,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=stdout,
        stderr=asyncio.subprocess.STDOUT if stdout is not None else None,
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        # Runs after the change of user, which would cancel it. It allocates nothing and takes no lock.
        preexec_fn=partial(die_with_parent, os.getpid()),
    )


class Child:
    """A process that is kept running from `start` until `stop`."""

    def __init__(self, command: Command, *, records: Records, terminal: Terminal) -> None:
        self.command = command
        self.exits = 0
        self._records = records
        self._terminal = terminal
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def name(self) -> str:
        return self.command.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_running(), name=f"keep {self.name} running")

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the process and its group: at once when `hurry` is set, and in `grace_seconds` at the latest."""
        if self._task is None:
            return
        self._stopping.set()
        if self.pid is None:
            # It waits for its next start, or is just being started: both end with the task.
            self._task.cancel()
        else:
            self._signal(self.command.stop_signal)
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait(
            {self._task, hurried}, timeout=self.command.grace_seconds, return_when=asyncio.FIRST_COMPLETED
        )
        hurried.cancel()
        self._signal(signal.SIGKILL)
        await asyncio.wait({self._task})

    def tail(self) -> str:
        """The last lines that it wrote."""
        if self.command.echo:
            return "\n".join(self._last_lines)
        with suppress(OSError), self.command.log.open("rb") as log:
            log.seek(-min(TAIL_BYTES, log.seek(0, os.SEEK_END)), os.SEEK_END)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-TAIL_LINES:])
        return ""

    async def _keep_running(self) -> None:
        backoff = Backoff()
        while True:
            started = time.monotonic()
            ending = await self._run_once()
            if self._stopping.is_set():
                return
            self.exits += 1
            delay = backoff.delay(time.monotonic() - started)
            self._terminal.say(f"{self.name} {ending}; it is started again in {delay:g} s")
            logger.bind(child=self.name, ending=ending, delay_seconds=delay).warning("child.ended")
            if not self.command.echo:
                self._terminal.say(f"the end of {self.command.log}:\n{self.tail()}")
            await asyncio.sleep(delay)

    async def _run_once(self) -> str:
        """Run the process to its end; answer how it ended."""
        with self.command.log.open("ab") as log:
            try:
                code = await (self._run_echoed(log) if self.command.echo else self._run(log))
            except OSError as error:
                return f"could not be started ({error})"
            finally:
                self._records.remove(self.name)
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"

    async def _run_echoed(self, log: BinaryIO) -> int:
        reading_end, writing_end = os.pipe()
        reader = asyncio.create_task(self._relay(os.fdopen(reading_end, "rb", buffering=0), log))
        try:
            with os.fdopen(writing_end, "wb", buffering=0) as output:
                code = await self._run(output)
        finally:
            await asyncio.wait({reader}, timeout=1.0)
            reader.cancel()
        return code

    async def _run(self, output: BinaryIO) -> int:
        process = self._process = await spawn(self.command, self._records.mark, output)
        output.close()
        try:
            self._records.add(self.name, process.pid, self.command.stop_signal)
            return await process.wait()
        finally:
            end_group(process.pid)

    async def _relay(self, source: BinaryIO, log: BinaryIO) -> None:
        reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
        transport, _protocol = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), source
        )
        try:
            rest = b""
            while chunk := await reader.read(LONGEST_LINE_BYTES):
                log.write(chunk)
                log.flush()
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LONGEST_LINE_BYTES:
                    lines, rest = [*lines, rest], b""
                self._show(lines)
            self._show([rest] if rest else [])
        finally:
            transport.close()

    def _show(self, lines: list[bytes]) -> None:
        for line in lines:
            text = line.decode(errors="replace").rstrip("\r")
            self._last_lines.append(text)
            self._terminal.line(self.name, text)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
