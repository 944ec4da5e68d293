"""What `astrocore audit` needs to read stores itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from app.cli.errors import CommandError
from app.errors import StoreUnavailableError
from config.settings import SettingsError, settings

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")


class StoreUnreadableError(CommandError):
    """A store cannot be read, so there is no verdict."""

    code = 3


def read(work: Callable[[], Awaitable[T]]) -> T:
    """Run what reads the stores."""
    from app.stores.health import FAULTS

    async def run() -> T:
        return await work()

    try:
        return asyncio.run(run())
    except (StoreUnavailableError, SettingsError) as error:
        raise StoreUnreadableError(str(error), "`astrocore doctor` shows whether a store is away") from error
    except FAULTS as error:
        raise StoreUnreadableError(f"a store cannot be read: {error}", "see `astrocore doctor`") from error


@asynccontextmanager
async def open_core() -> "AsyncIterator[asyncpg.Connection]":
    """A connection to the core DB."""
    import asyncpg

    seconds = settings().store_timeout_seconds
    core: Any = await asyncpg.connect(
        settings().url("core_database_url"), timeout=seconds, command_timeout=seconds
    )
    try:
        yield core
    finally:
        await core.close()
