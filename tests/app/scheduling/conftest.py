from collections.abc import AsyncIterator

import asyncpg
import pytest

from config.settings import Settings


@pytest.fixture
def core_url(settings_of_test: Settings) -> str:
    return settings_of_test.url("core_database_url")


@pytest.fixture
async def pool(core_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(core_url, min_size=0, max_size=4) as opened:
        yield opened


@pytest.fixture
async def core(core_url: str, pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(core_url)
    yield connection
    await connection.close()
