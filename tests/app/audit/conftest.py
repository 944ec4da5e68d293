from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from app.audit.store import AuditStore
from app.stores.connections import Stores, open_redis


@pytest.fixture
def audit(stores: Stores) -> AuditStore:
    return AuditStore.of(stores)


@pytest.fixture
def prefix(stores: Stores) -> str:
    """Of every key of the audit store."""
    return f"{stores.settings.namespace}:audit:"


@pytest.fixture
async def retention(stores: Stores) -> AsyncIterator[Redis]:
    """The audit store as the user that may remove entries."""
    async with open_redis(stores.settings.url("audit_retention_url")) as redis:
        yield redis
