"""Whether the stores answer."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.stores.connections import Stores, open_redis
from config.settings import Settings

# What the drivers raise when a store is away or refuses.
FAULTS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, PyMongoError, RedisError)
_PATIENCE_SECONDS = 3.0


async def readiness(stores: Stores) -> dict[str, str]:
    """Each store with "ok" or what is wrong; answers within three seconds."""
    probes: dict[str, Callable[[], Awaitable[object]]] = {
        "core": lambda: stores.core.fetchval("SELECT 1"),
        "admin": lambda: stores.admin.fetchval("SELECT 1"),
        "customer": lambda: stores.customer.client.admin.command("ping"),
        "broker": lambda: _ping(stores.settings, "broker_url"),
        "audit": stores.audit.ping,
        "logs": lambda: _ping(stores.settings, "logs_url"),
    }
    answers = await asyncio.gather(*(_probe(probe) for probe in probes.values()))
    return dict(zip(probes, answers, strict=True))


async def _probe(probe: Callable[[], Awaitable[object]]) -> str:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await probe()
    except FAULTS as error:
        return f"does not answer ({type(error).__name__})"
    return "ok"


async def _ping(settings: Settings, name: str) -> None:
    async with open_redis(settings.url(name)) as redis:
        await redis.ping()
