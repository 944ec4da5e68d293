"""Real stores for every test that needs them: started once, each test with databases to itself."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from piccolo.engine.postgres import PostgresEngine

from app.embedded.launch import EmbeddedStores
from app.reconciliation.mapping import load_mappings
from app.stores.connections import Stores, open_stores
from config.settings import Settings
from tests.databases import Databases
from tests.stories.conftest import System, running_system


async def _known(_: PostgresEngine) -> None:
    """Piccolo warns of an old server, for which each engine connects once more: in a thread, with a loop of its own."""


PostgresEngine.check_version = _known


@pytest.fixture(scope="session")
def stores_environment() -> Iterator[dict[str, str]]:
    """`ASTROCORE_*` values of a running set of embedded stores."""
    stores = EmbeddedStores()
    stores.start()
    yield stores.environment
    stores.stop()


@pytest.fixture(scope="session")
def databases(stores_environment: dict[str, str]) -> Iterator[Databases]:
    made = Databases(stores_environment)
    made.make_templates()
    yield made
    made.close()


@pytest.fixture
def settings_of_test(databases: Databases) -> Iterator[Settings]:
    """Settings that lead to databases without content and to a namespace of this test alone."""
    name = databases.take()
    yield databases.settings(name, f"t{uuid.uuid4().hex[:12]}")
    databases.give_back(name)


@pytest.fixture
async def stores(settings_of_test: Settings) -> AsyncIterator[Stores]:
    load_mappings("")
    async with open_stores(settings_of_test) as opened:
        yield opened


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """A whole running system, for the stories and for browsers."""
    with running_system() as running:
        yield running
