"""What is told piece by piece ends when whoever it is told to may not have it any more."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from litestar import Request
from loguru import logger

from app.accounts.admission import Caller, standing
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.errors import ForbiddenError
from app.stores.health import POSTGRES_FAULTS
from web.guards import calling

EVERY_SECONDS = 0.5
"""How often it is asked whether a caller may still be told."""
PATIENCE_SECONDS = 0.5
"""How long the answer may take."""

Piece = TypeVar("Piece")


class CutOffError(ForbiddenError):
    """What is told ends before all of it is told: whoever it is told to may not have the rest."""

    def __init__(self) -> None:
        super().__init__("the right to the rest has ended, or nobody can tell now whether it has")


async def while_standing(
    pieces: AsyncGenerator[Piece], request: Request[Any, Any, Any], needed: Scope, *, whole: bool = False
) -> AsyncGenerator[Piece]:
    """The pieces, until whoever calls has no right to them: within a second of that, also where none comes.

    That it cannot be asked is taken for a no. The pieces are closed. Of what is to be told `whole` or not at all, CutOffError
    is raised in place of an end.
    """
    over = asyncio.create_task(_until_over(request.app.state.accounts, calling(request), needed))
    coming: asyncio.Future[Piece] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(pieces))
            await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                over.result()
                if whole:
                    raise CutOffError
                return
            try:
                piece = coming.result()
            except StopAsyncIteration:
                return
            yield piece
    finally:
        await _end(over, coming)
        await pieces.aclose()


async def _until_over(accounts: Accounts, caller: Caller, needed: Scope) -> None:
    now: Caller | None = caller
    while now is not None and needed in now.scopes:
        await asyncio.sleep(EVERY_SECONDS)
        now = await _standing(accounts, caller)


async def _standing(accounts: Accounts, caller: Caller) -> Caller | None:
    """The caller as they stand; None also where nobody answers in time."""
    asking = asyncio.gather(standing(accounts, caller), return_exceptions=True)
    try:
        # A call that is cancelled goes on until its store has taken note of that, and nobody waits for it here.
        await asyncio.wait((asking,), timeout=PATIENCE_SECONDS)
        (answer,) = asking.result() if asking.done() else (TimeoutError("no answer in time"),)
    finally:
        asking.cancel()
    if isinstance(answer, POSTGRES_FAULTS):
        logger.bind(error=str(answer)).warning("store.failed")
        return None
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _end(*tasks: asyncio.Future[Any] | None) -> None:
    begun = [each for each in tasks if each is not None]
    for each in begun:
        each.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
