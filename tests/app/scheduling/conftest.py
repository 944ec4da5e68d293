from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.app.scheduling.servers import SCHEMA, Server, postgres


@pytest.fixture(scope="session")
def database() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
async def pool(database: Server) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database.url, min_size=0, max_size=4) as opened:
        await opened.execute("DROP TABLE IF EXISTS ticks, schedules, leases")
        await opened.execute(SCHEMA)
        yield opened


@pytest.fixture
async def core(database: Server, pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.url)
    yield connection
    await connection.close()
