from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import Templates


@pytest.fixture
def core_url(templates: Templates) -> str:
    """The template itself: nothing else looks at it while these tests run, and each one empties its tables."""
    return templates.core_url


@pytest.fixture
async def pool(core_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(core_url, min_size=0, max_size=4) as opened:
        await opened.execute("TRUNCATE schedules, ticks, leases")
        yield opened
        await opened.execute("TRUNCATE schedules, ticks, leases")


@pytest.fixture
async def core(core_url: str, pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(core_url)
    yield connection
    await connection.close()
