"""Whether the stores answer."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
from pymongo.errors import PyMongoError
from redis.exceptions import RedisError

from app.stores.connections import Stores, open_redis
from config.settings import Settings

# A connection that broke off shows as any of these, and as OSError or TimeoutError.
_BROKEN = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# What PostgreSQL and its driver raise for a moment's trouble: it is away, reads only (a standby), is short of something,
# busy, stopping or broken; a cached statement is outdated by a change of the schema. It says nothing for good.
POSTGRES_PASSING = (
    *_BROKEN,
    asyncpg.PostgresConnectionError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InvalidTransactionStateError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.ObjectInUseError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
)
# Or because it lets nobody in, its schema is not there (yet), or it is at fault itself. What it answers to a value or a
# row that it does not take is none of these: another try would end the same way.
POSTGRES_UNAVAILABLE = (
    *POSTGRES_PASSING,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.SyntaxOrAccessError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InternalServerError,
)
# What the drivers raise when a store is away or refuses.
FAULTS = (*POSTGRES_UNAVAILABLE, PyMongoError, RedisError)
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
