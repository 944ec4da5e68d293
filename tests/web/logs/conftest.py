"""A log store of its own for each test, and no other store."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
from litestar import Litestar

from app.logs.store import LogStore
from app.stores.connections import open_redis
from config.log_entries import LogEntry
from config.settings import parse_settings

LOGS = "/v1/logs"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def entry(sequence: int, **changes: Any) -> LogEntry:
    values: dict[str, Any] = {
        "process": "core-1:1:0000000a",
        "sequence": sequence,
        "time": START + timedelta(minutes=sequence),
        "level": "INFO",
        "event": "tick.fired",
        "component": "scheduler",
    }
    return LogEntry(**values | changes)


@pytest.fixture
async def logs(stores_environment: dict[str, str]) -> AsyncIterator[SimpleNamespace]:
    """What the handlers of the logs need of the open stores."""
    settings = parse_settings(stores_environment | {"ASTROCORE_NAMESPACE": f"t{uuid4().hex[:12]}"})
    redis = open_redis(settings.url("logs_url"))
    yield SimpleNamespace(logs=redis, settings=settings)
    await redis.aclose()


@pytest.fixture
def store(logs: SimpleNamespace) -> LogStore:
    return LogStore(logs.logs, logs.settings.namespace)


@pytest.fixture
async def reader(operator: httpx.AsyncClient, app: Litestar, logs: SimpleNamespace) -> httpx.AsyncClient:
    """The operator, on a real log store."""
    app.state.stores = logs
    return operator


@asynccontextmanager
async def away(logs: SimpleNamespace) -> AsyncIterator[None]:
    """Nothing answers where the log store is looked for."""
    pool = logs.logs.connection_pool
    for port in (1, pool.connection_kwargs["port"]):
        await pool.disconnect()
        pool.reset()
        pool.connection_kwargs["port"] = port
        if port == 1:
            yield
