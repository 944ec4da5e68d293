"""Work that is done together: what arrives while a round is under way goes into the next one, as writes into one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Hands items to `carry_out`, all that wait at once, one round after the other; it answers a result for each, or an exception.

    Whoever adds an item waits for its result, and is raised its exception, or what the round raised. Whoever is cancelled while waiting takes an
    item back that no round has begun with; the others do not notice. A round waits so many seconds for others to come along,
    and takes `most` of them, all where that is not said. An async context manager: no round outlives it.
    """

    def __init__(
        self,
        carry_out: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        seconds: float = 0.0,
        most: int | None = None,
    ) -> None:
        self._carry_out = carry_out
        self._seconds = seconds
        self._most = most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._rounds: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rounds is not None:
            await self._rounds

    async def add(self, item: Item) -> Result:
        """Have an item carried out, and wait for what comes of it."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._rounds is None or self._rounds.done():
            # A task of its own: a round that has begun is brought to its end, whoever stops waiting for it.
            self._rounds = asyncio.create_task(self._carry_all_out())
        return await done

    async def _carry_all_out(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._seconds)
            wanted = [(item, done) for item, done in self._waiting if not done.done()]
            most = self._most or len(wanted)
            taken, self._waiting = wanted[:most], wanted[most:]
            if taken:
                await self._round(taken)

    async def _round(self, taken: Sequence[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._carry_out([item for item, _ in taken])
        except BaseException as error:
            for _, done in taken:
                _raise_to(done, error)
            if not isinstance(error, Exception):
                for _, done in self._waiting:
                    _raise_to(done, error)
                raise
        else:
            for (_, done), result in zip(taken, results, strict=True):
                if isinstance(result, Exception):
                    _raise_to(done, result)
                elif not done.done():
                    done.set_result(result)


def _raise_to(waiter: "asyncio.Future[Result]", error: BaseException) -> None:
    """Whoever was to be told is told, whatever it is; nobody waits for a round that is over."""
    if waiter.done():
        return
    if isinstance(error, asyncio.CancelledError):
        waiter.cancel()
    else:
        waiter.set_exception(error)
