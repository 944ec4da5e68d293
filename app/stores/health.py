"""Whether the stores answer."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.stores.connections import Stores, open_redis
from config.settings import Settings

# What PostgreSQL answers when it is away, busy, short of something, or lets nobody in, or its schema is not there (yet).
# What it answers to a value or a row that it does not take is none of these: another try would end the same way.
_REFUSALS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.TransactionRollbackError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)
# A connection that broke off shows as any of these, and as OSError or TimeoutError.
_BROKEN = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# What the drivers raise when a store is away or refuses.
FAULTS = (*_BROKEN, *_REFUSALS, PyMongoError, RedisError)
# Whatever PostgreSQL and its driver may raise, for who does not care why.
POSTGRES_FAULTS = (*_BROKEN, asyncpg.PostgresError)
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
