"""Connections to the stores: opened once per process, closed with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.errors import StoreUnavailableError
from app.stores.admin import ADMIN_TABLES
from app.stores.core import CORE_TABLES
from config.settings import Settings

Document = dict[str, Any]


@dataclass(frozen=True)
class Stores:
    """Every store that the service works on. `core` and `admin` are asyncpg pools; Piccolo's tables share them."""

    settings: Settings
    core: asyncpg.Pool
    admin: asyncpg.Pool
    customer: AsyncDatabase[Document]
    audit: Redis
    logs: Redis
    broker: Redis
    scanning: asyncio.Lock = field(default_factory=asyncio.Lock, compare=False)
    """Held by the one scan that a process has under way: its memory is bounded, and so the process's."""


def open_customer_client(settings: Settings) -> tuple[AsyncMongoClient[Document], AsyncDatabase[Document]]:
    """A client of the customer DB and the database that its URL names.

    It never sends a write twice: what became of one that was not answered is for its sender to find out.
    """
    url = settings.url("customer_database_url")
    milliseconds = int(settings.store_timeout_seconds * 1000)
    client: AsyncMongoClient[Document] = AsyncMongoClient(
        url,
        uuidRepresentation="standard",
        tz_aware=True,
        timeoutMS=milliseconds,
        serverSelectionTimeoutMS=min(milliseconds, 5000),
        retryWrites=False,
        appname="astrobookings-core",
    )
    return client, client[database_name(url)]


def database_name(url: str) -> str:
    """The database that a mongodb:// URL names; `customer` where it names none."""
    return urlsplit(url).path.lstrip("/") or "customer"


async def customer_clock(database: AsyncDatabase[Document]) -> datetime:
    """What time it is by the customer DB's own clock."""
    told: datetime = (await database.client.admin.command("hello"))["localTime"]
    return told.replace(tzinfo=UTC)  # commands answer without a zone, whatever the client is set to


def open_redis(url: str, *, encoding_errors: str = "strict") -> Redis:
    """A client that fails within 2 s and never repeats a command by itself.

    A repeated command might be applied twice; whoever may safely repeat it does so. `encoding_errors` is what becomes
    of an answer that is no UTF-8, as `bytes.decode` names it.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors=encoding_errors,
        socket_timeout=2,
        socket_connect_timeout=2,
        retry=Retry(NoBackoff(), 0),
    )


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Open every store; raises StoreUnavailableError, naming the store, where one does not answer."""
    core = await _open_engine(settings, "core_database_url", CORE_TABLES)
    admin = await _open_engine(settings, "admin_database_url", ADMIN_TABLES)
    client, customer = open_customer_client(settings)
    audit = open_redis(settings.url("audit_url"))
    logs = open_redis(
        settings.url("logs_url"), encoding_errors="replace"
    )  # one bad line must not hide a page
    broker = open_redis(settings.url("broker_url"))
    try:
        yield Stores(
            settings=settings,
            core=core.pool,
            admin=admin.pool,
            customer=customer,
            audit=audit,
            logs=logs,
            broker=broker,
        )
    finally:
        await broker.aclose()
        await logs.aclose()
        await audit.aclose()
        await client.close()
        await admin.close_connection_pool()
        await core.close_connection_pool()


async def _open_engine(settings: Settings, name: str, tables: tuple[Any, ...]) -> Any:
    engine = PostgresEngine(config={"dsn": settings.url(name)}, extensions=())
    try:
        await engine.start_connection_pool(
            min_size=1,
            max_size=settings.pool_size,
            command_timeout=settings.store_timeout_seconds,
            timeout=settings.store_timeout_seconds,
            server_settings={
                "timezone": "UTC",
                "application_name": "astrobookings-core",
                # The server gives up too: a write whose sender has died must not take effect much later.
                "statement_timeout": str(int(settings.store_timeout_seconds * 1000)),
            },
        )
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise StoreUnavailableError(
            f"{name.removesuffix('_url').replace('_', ' ')} does not answer"
        ) from error
    for table in tables:
        table._meta.db = engine  # noqa: SLF001  (Piccolo's own way to bind a table)
    return engine
