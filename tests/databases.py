"""Databases for tests. Making them takes longer than most tests do, so they are cleaned and handed out again."""

import asyncio
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pymongo import MongoClient
from pymongo.database import Database

from app.stores.migrate import create_foreign_schemas, migrate
from config.settings import Settings, parse_settings
from tests.database_shapes import Shape, empty, shape_of

CORE = "ASTROCORE_CORE_DATABASE_URL"
ADMIN = "ASTROCORE_ADMIN_DATABASE_URL"
CUSTOMER = "ASTROCORE_CUSTOMER_DATABASE_URL"

_KINDS = {"core": CORE, "admin": ADMIN}
T = TypeVar("T")


@dataclass
class Databases:
    """Makes databases for one test at a time, on running stores whose `ASTROCORE_*` values are `environment`.

    It keeps one connection to each: a fresh one reads the catalogues first, which takes longer than what it is for.
    """

    environment: dict[str, str]
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _connections: dict[tuple[str, str], asyncpg.Connection] = field(default_factory=dict)
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _versions: dict[tuple[str, str], str] = field(default_factory=dict)
    _collections: Any = None
    _spare: list[str] = field(default_factory=list)

    def make_templates(self) -> None:
        # A machine that stops ends the tests too. What servers keep that are killed is tested on servers of their own.
        self._run(self._on_server("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
        for kind in _KINDS:
            self._run(self._on_server(f"CREATE DATABASE template_{kind}"))
        made = self.settings("template", "t")
        asyncio.run(migrate(made))
        asyncio.run(create_foreign_schemas(made))
        self._shapes = {kind: self._run(self._shape("template", kind)) for kind in _KINDS}
        self._collections = _describe(self._mongo["template"])

    def take(self) -> str:
        """The name of databases that hold nothing yet."""
        if self._spare:
            return self._spare.pop()
        name = f"t{uuid.uuid4().hex[:12]}"
        self._run(self._make_all(name))
        self._clean_collections(self._mongo[name])
        return name

    def give_back(self, name: str) -> None:
        self._run(self._clean_all(name))
        self._clean_collections(self._mongo[name])
        self._spare.append(name)

    def close(self) -> None:
        self._run(self._disconnect_all())
        self._loop.close()
        self._mongo.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    @cached_property
    def _mongo(self) -> MongoClient[Any]:
        return MongoClient(self.environment[CUSTOMER])

    async def _make_all(self, name: str) -> None:
        await asyncio.gather(*(self._make(name, kind) for kind in _KINDS))

    async def _clean_all(self, name: str) -> None:
        await asyncio.gather(*(self._clean(name, kind) for kind in _KINDS))

    async def _disconnect_all(self) -> None:
        for connection in self._connections.values():
            await connection.close()

    def settings(self, name: str, namespace: str) -> Settings:
        """Settings that lead to databases."""
        # The demo's room to play is not for tests: they see the limits of a real system.
        values = {key: value for key, value in self.environment.items() if "_BREAKER_" not in key}
        for key, database in ((CORE, f"{name}_core"), (ADMIN, f"{name}_admin"), (CUSTOMER, name)):
            values[key] = urlunsplit(urlsplit(values[key])._replace(path=f"/{database}"))
        return parse_settings(values | {"ASTROCORE_NAMESPACE": namespace})

    async def _shape(self, name: str, kind: str) -> Shape:
        connection = await self._connect(name, kind)
        try:
            return await shape_of(connection)
        finally:
            await connection.close()

    async def _connect(self, name: str, kind: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.settings(name, name).url(f"{kind}_database_url"))

    async def _make(self, name: str, kind: str) -> None:
        await self._on_server(
            f"DROP DATABASE IF EXISTS {name}_{kind} WITH (FORCE)",
            f"CREATE DATABASE {name}_{kind} TEMPLATE template_{kind} STRATEGY file_copy",
        )
        self._connections[name, kind] = await self._connect(name, kind)

    async def _clean(self, name: str, kind: str) -> None:
        """Make a database as it was: by emptying its tables, or where that is not enough by making it anew."""
        connection, before = self._connections[name, kind], self._versions.pop((name, kind), None)
        try:
            version = await empty(connection, self._shapes[kind], before)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            version = None  # the test has cut connections off, or the database is not there any more
        if version is None:
            connection.terminate()
            await self._make(name, kind)
        else:
            self._versions[name, kind] = version

    def _clean_collections(self, database: Database[Any]) -> None:
        found = _describe(database)
        for name in found:
            # Before it is dropped too: the embedded store drops what holds many documents ten times as slowly.
            database[name].delete_many({})
        for name in found.keys() | self._collections.keys():
            if found.get(name) != self._collections.get(name):
                database.drop_collection(name)
                if name in self._collections:
                    _make_collection(database, name, *self._collections[name])

    async def _on_server(self, *statements: str) -> None:
        connection = await asyncpg.connect(
            urlunsplit(urlsplit(self.environment[CORE])._replace(path="/postgres"))
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()


def _make_collection(
    database: Database[Any], name: str, options: dict[str, Any], indexes: dict[str, Any]
) -> None:
    made = database.create_collection(name, **options)
    for index, told in indexes.items():
        if index != "_id_":
            made.create_index(
                told["key"], name=index, **{each: told[each] for each in told.keys() - {"key", "v"}}
            )


def _describe(database: Database[Any]) -> Any:
    """Collections with their options and indexes."""
    return {
        each["name"]: (each.get("options"), database[each["name"]].index_information())
        for each in database.list_collections()
    }
