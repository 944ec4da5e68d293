"""Ports to whose calls something happens: an owner or an operator comes in between, a worker dies, an answer gets lost."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from app.reconciliation.sides.records import EntitySides

# Given the real call first, then its arguments.
Way = Callable[..., Awaitable[Any]]


class KilledError(BaseException):
    """Stands for a worker that dies here: nothing of the repair path may catch it."""


class Interposed:
    """A port of which the named calls go another way, and all the others straight through."""

    def __init__(self, port: Any, **ways: Way) -> None:
        self._port = port
        self._ways = ways

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        return partial(self._ways[name], real) if name in self._ways else real


def interpose(every: dict[str, EntitySides], entity: str, side: str, **ways: Way) -> None:
    """Have calls to one side of an entity, "document" or "relational", go another way."""
    sides = every[entity]
    every[entity] = replace(sides, **{side: Interposed(getattr(sides, side), **ways)})


def dying(*, after: bool) -> Way:
    """A write whose writer dies just before or just after it took effect."""

    async def write(real: Way, *arguments: Any, **options: Any) -> None:
        if after:
            await real(*arguments, **options)
        raise KilledError

    return write


def before(happens: Callable[[], Awaitable[None]]) -> Way:
    """A call before which something happens, each time."""

    async def call(real: Way, *arguments: Any, **options: Any) -> Any:
        await happens()
        return await real(*arguments, **options)

    return call


def after_first(happens: Callable[[], Awaitable[None]]) -> Way:
    """A call after which something happens, the first time."""
    left = [happens]

    async def call(real: Way, *arguments: Any, **options: Any) -> Any:
        answer = await real(*arguments, **options)
        if left:
            await left.pop()()
        return answer

    return call


async def unanswered(real: Way, writes: Sequence[Any], **options: Any) -> list[None]:
    """Writes that take effect without an answer."""
    await real(writes, **options)
    return [None] * len(writes)
