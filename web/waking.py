"""Messages that follow a write which has succeeded."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec

from loguru import logger

from actors.broker import BROKER_FAULTS

P = ParamSpec("P")


async def wake(send: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Send off the event loop. A broker that is away is logged and nothing worse.

    What was written is the truth; a sweep finds it within a minute.
    """
    try:
        await asyncio.to_thread(send, *args, **kwargs)
    except BROKER_FAULTS as error:
        logger.bind(error=repr(error)).warning("wake.failed")
