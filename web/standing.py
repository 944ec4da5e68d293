"""What is told piece by piece ends when whoever it is told to may not have it any more."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from litestar import Request
from loguru import logger

from app.accounts.admission import Caller, standing
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.stores.health import POSTGRES_FAULTS
from web.guards import calling

EVERY_SECONDS = 0.5
"""How often it is asked whether a caller may still be told."""

Piece = TypeVar("Piece")


async def while_standing(
    pieces: AsyncGenerator[Piece], request: Request[Any, Any, Any], needed: Scope
) -> AsyncGenerator[Piece]:
    """The pieces, until whoever calls has no right to them: within a second of that, also where none comes.

    That it cannot be asked is taken for a no. The pieces are closed.
    """
    over = asyncio.create_task(_until_over(request.app.state.accounts, calling(request), needed))
    coming: asyncio.Future[Piece] | None = None
    try:
        while True:
            coming = asyncio.ensure_future(anext(pieces))
            await asyncio.wait((coming, over), return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                over.result()
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
        try:
            now = await standing(accounts, caller)
        except POSTGRES_FAULTS as error:
            logger.bind(error=str(error)).warning("store.failed")
            return


async def _end(*tasks: asyncio.Future[Any] | None) -> None:
    begun = [each for each in tasks if each is not None]
    for each in begun:
        each.cancel()
    await asyncio.gather(*begun, return_exceptions=True)
