"""Real stores for every test that needs them: started once, with databases and a namespace of its own for each test."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from pymongo import MongoClient

from app.embedded.launch import EmbeddedStores
from app.reconciliation.mapping import load_mappings
from app.stores.connections import Stores, open_stores
from app.stores.migrate import create_foreign_schemas, migrate
from config.settings import Settings, parse_settings

CORE = "ASTROCORE_CORE_DATABASE_URL"
ADMIN = "ASTROCORE_ADMIN_DATABASE_URL"
CUSTOMER = "ASTROCORE_CUSTOMER_DATABASE_URL"


@pytest.fixture(scope="session")
def stores_environment() -> Iterator[dict[str, str]]:
    """`ASTROCORE_*` values of a running set of embedded stores."""
    stores = EmbeddedStores()
    stores.start()
    yield stores.environment
    stores.stop()


@dataclass(frozen=True)
class Templates:
    """Databases that are copied for each test, which is quicker than migrating them."""

    core: str
    admin: str
    core_url: str


@pytest.fixture(scope="session")
def templates(stores_environment: dict[str, str]) -> Templates:
    core_url = urlunsplit(urlsplit(stores_environment[CORE])._replace(path="/template_core"))
    made = Templates("template_core", "template_admin", core_url)

    async def make() -> None:
        for name in (made.core, made.admin):
            await _on_server(stores_environment, f"CREATE DATABASE {name}")
        chosen = _settings(
            stores_environment, core=made.core, admin=made.admin, customer="template", namespace="t"
        )
        await migrate(chosen)
        await create_foreign_schemas(chosen)

    asyncio.run(make())
    return made


@pytest.fixture
def settings_of_test(stores_environment: dict[str, str], templates: Templates) -> Iterator[Settings]:
    """Settings that lead to fresh databases and a namespace of this test alone."""
    name = f"t{uuid.uuid4().hex[:12]}"
    chosen = _settings(
        stores_environment, core=f"{name}_core", admin=f"{name}_admin", customer=name, namespace=name
    )

    async def create() -> None:
        await _on_server(stores_environment, f"CREATE DATABASE {name}_core TEMPLATE {templates.core}")
        await _on_server(stores_environment, f"CREATE DATABASE {name}_admin TEMPLATE {templates.admin}")
        await create_foreign_schemas(chosen)

    async def drop() -> None:
        for kind in ("core", "admin"):
            await _on_server(stores_environment, f"DROP DATABASE {name}_{kind} WITH (FORCE)")

    asyncio.run(create())
    yield chosen
    asyncio.run(drop())
    with MongoClient(stores_environment[CUSTOMER]) as client:
        client.drop_database(name)


@pytest.fixture
async def stores(settings_of_test: Settings) -> AsyncIterator[Stores]:
    load_mappings("")
    async with open_stores(settings_of_test) as opened:
        yield opened


def _settings(
    environment: dict[str, str], *, core: str, admin: str, customer: str, namespace: str
) -> Settings:
    # The demo's room to play is not for tests: they see the limits of a real system.
    values = {name: value for name, value in environment.items() if "_BREAKER_" not in name}
    for name, database in ((CORE, core), (ADMIN, admin), (CUSTOMER, customer)):
        values[name] = urlunsplit(urlsplit(environment[name])._replace(path=f"/{database}"))
    return parse_settings(values | {"ASTROCORE_NAMESPACE": namespace})


async def _on_server(environment: dict[str, str], statement: str) -> None:
    url = urlunsplit(urlsplit(environment[CORE])._replace(path="/postgres"))
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
