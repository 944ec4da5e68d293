"""Work that is done together: what arrives while a round is under way goes into the next one, as writes into one commit."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Hands items to `carry_out`, all that wait at once, one round after the other.

    `carry_out` answers a result for each. Whoever adds an item waits for its result, and is raised what the round raised. An async context manager: what is
    still waiting at its end is carried out.
    """

    def __init__(self, carry_out: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._carry_out = carry_out
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._round()

    async def add(self, item: Item) -> Result:
        """Have an item carried out, and wait for what comes of it."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._arrived.set()
        return await done

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            # A round that has begun is brought to its end: nobody knows how far it came otherwise.
            await asyncio.shield(asyncio.ensure_future(self._round()))

    async def _round(self) -> None:
        taken, self._waiting = self._waiting, []
        if not taken:
            return
        try:
            results = await self._carry_out([item for item, _ in taken])
        except Exception as error:  # noqa: BLE001  (whoever waits for it is raised it)
            for _, done in taken:
                if not done.done():
                    done.set_exception(error)
        else:
            for (_, done), result in zip(taken, results, strict=True):
                if not done.done():
                    done.set_result(result)
