"""Who may take the next step: every call of a port waits for its turn, and the schedule gives turns."""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any


class KilledError(BaseException):
    """Stands for a process that dies here: nothing of the repair path may catch it."""


class BrokenPromiseError(BaseException):
    """What must never happen has happened. No Exception: the repair path takes those for faults of a record."""


class Clock:
    """Simulated time, the same for all stores."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 6, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.instant

    def advance(self, seconds: float) -> None:
        self.instant += timedelta(seconds=seconds)


@dataclass(eq=False)
class Actor:
    """A process that calls ports; `waiting` are its calls that wait for their turn."""

    name: str
    waiting: list["asyncio.Future[str]"] = field(default_factory=list)
    dead: bool = False
    task: "asyncio.Task[Any] | None" = None

    @property
    def is_over(self) -> bool:
        return self.task is not None and self.task.done()


_current: ContextVar[Actor | None] = ContextVar("actor", default=None)


def current() -> Actor | None:
    """Whoever is at work, None for who never waits."""
    return _current.get()


async def turn() -> str:
    """Wait for a turn; answers the fault that is to happen in it, or nothing. Who is no actor never waits."""
    actor = _current.get()
    if actor is None:
        return ""
    if actor.dead:
        raise KilledError
    given: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    actor.waiting.append(given)
    return await given


async def start(name: str, work: Coroutine[Any, Any, Any]) -> Actor:
    """An actor that does `work`, as far as its first call."""
    actor = Actor(name)
    token = _current.set(actor)
    actor.task = asyncio.create_task(work)
    _current.reset(token)
    await _settle()
    return actor


async def step(actor: Actor, fault: str = "") -> None:
    """Give an actor its next turn."""
    if actor.waiting:
        actor.waiting.pop(0).set_result(fault)
    await _settle()
    if actor.task is not None and actor.task.done():
        actor.task.result()


async def kill(actor: Actor) -> None:
    """Let an actor die: what it has not done yet, it never does."""
    actor.dead = True
    while actor.waiting:
        actor.waiting.pop().set_exception(KilledError())
    await _settle()


async def _settle() -> None:
    """Let everything run that can, without a turn."""
    ready = asyncio.get_running_loop()._ready
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110  (no event tells that nobody can go on)
        await asyncio.sleep(0)
