"""Databases for tests. Making them takes longer than most tests do, so clean ones are handed out again."""

import asyncio
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from pymongo import MongoClient
from pymongo.database import Database

from app.stores.migrate import create_foreign_schemas, migrate
from config.settings import Settings, parse_settings

CORE = "ASTROCORE_CORE_DATABASE_URL"
ADMIN = "ASTROCORE_ADMIN_DATABASE_URL"
CUSTOMER = "ASTROCORE_CUSTOMER_DATABASE_URL"

_KINDS = {"core": CORE, "admin": ADMIN}
_OURS = "NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"
# Whatever a test may have changed, but for rows: a database in which this is another one is not handed out again.
_SHAPE = f"""
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT concat_ws(' ', nspname, nspacl) AS line FROM pg_namespace WHERE nspname NOT LIKE 'pg_%temp_%'
        UNION ALL SELECT concat_ws(' ', oid::regclass, relkind, relacl, reloptions, relrowsecurity) FROM pg_class
            WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname {_OURS})
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid::regtype, atttypmod, attnotnull,
                attcollation::regcollation, atthasdef, attgenerated, attacl)
            FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped AND attrelid IN (SELECT oid FROM pg_class
            WHERE relnamespace IN (SELECT oid FROM pg_namespace WHERE nspname {_OURS}))
        UNION ALL SELECT concat_ws(' ', conname, conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
        UNION ALL SELECT concat_ws(' ', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index WHERE indexrelid > 16383
        UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger
        UNION ALL SELECT concat_ws(' ', oid::regprocedure, prosrc) FROM pg_proc WHERE oid > 16383
        UNION ALL SELECT concat_ws(' ', oid::regtype, typtype) FROM pg_type WHERE oid > 16383
        UNION ALL SELECT concat_ws(' ', rulename, ev_class::regclass) FROM pg_rewrite WHERE oid > 16383
        UNION ALL SELECT collname FROM pg_collation WHERE oid > 16383
        UNION ALL SELECT 'analyzed ' || starelid::regclass FROM pg_statistic WHERE starelid > 16383
        UNION ALL SELECT array_to_string(setconfig, ' ') FROM pg_db_role_setting JOIN pg_database ON oid = setdatabase
            WHERE datname = current_database()
    ) AS lines
"""
_USED = """
    SELECT oid::regclass::text FROM pg_class
    WHERE relkind = 'r' AND oid > 16383 AND (pg_relation_size(oid) > 0 OR reltuples >= 0)
"""


@dataclass(frozen=True)
class Shape:
    """What a database is like before a test has used it; `kept` are tables that hold something then."""

    described: str
    kept: frozenset[str]


@dataclass
class Databases:
    """Makes databases for one test at a time, on running stores whose `ASTROCORE_*` values are `environment`."""

    environment: dict[str, str]
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _collections: Any = None
    _spare: list[str] = field(default_factory=list)

    def make_templates(self) -> None:
        for kind in _KINDS:
            asyncio.run(self._on_server(f"CREATE DATABASE template_{kind}"))
        made = self.settings("template", "t")
        asyncio.run(migrate(made))
        asyncio.run(create_foreign_schemas(made))
        self._shapes = {kind: asyncio.run(self._shape("template", kind)) for kind in _KINDS}
        self._collections = _describe(self._mongo["template"])

    def take(self) -> str:
        """The name of databases that hold nothing yet."""
        if self._spare:
            return self._spare.pop()
        name = f"t{uuid.uuid4().hex[:12]}"
        for kind in _KINDS:
            asyncio.run(self._on_server(f"CREATE DATABASE {name}_{kind} TEMPLATE template_{kind}"))
        asyncio.run(create_foreign_schemas(self.settings(name, name)))
        return name

    def give_back(self, name: str) -> None:
        clean = asyncio.run(self._clean_all(name))
        if all([*clean, self._clean_collections(self._mongo[name])]):
            self._spare.append(name)
            return
        for kind in _KINDS:
            asyncio.run(self._on_server(f"DROP DATABASE IF EXISTS {name}_{kind} WITH (FORCE)"))
        self._mongo.drop_database(name)

    def close(self) -> None:
        self._mongo.close()

    @cached_property
    def _mongo(self) -> MongoClient[Any]:
        return MongoClient(self.environment[CUSTOMER])

    async def _clean_all(self, name: str) -> list[bool]:
        return await asyncio.gather(*(self._clean(name, kind) for kind in _KINDS))

    def settings(self, name: str, namespace: str) -> Settings:
        """Settings that lead to databases."""
        # The demo's room to play is not for tests: they see the limits of a real system.
        values = {key: value for key, value in self.environment.items() if "_BREAKER_" not in key}
        for key, database in ((CORE, f"{name}_core"), (ADMIN, f"{name}_admin"), (CUSTOMER, name)):
            values[key] = urlunsplit(urlsplit(values[key])._replace(path=f"/{database}"))
        return parse_settings(values | {"ASTROCORE_NAMESPACE": namespace})

    async def _shape(self, name: str, kind: str) -> Shape:
        connection = await asyncpg.connect(self.settings(name, name).url(f"{kind}_database_url"))
        try:
            used = await connection.fetch(_USED)
            return Shape(await connection.fetchval(_SHAPE), frozenset(row[0] for row in used))
        finally:
            await connection.close()

    async def _clean(self, name: str, kind: str) -> bool:
        """Empty a database; False where that is not enough to make it as it was."""
        try:
            connection = await asyncpg.connect(self.settings(name, name).url(f"{kind}_database_url"))
        except asyncpg.InvalidCatalogNameError:
            return False
        try:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            if await connection.fetchval(_SHAPE) != self._shapes[kind].described:
                return False
            if used := {row[0] for row in await connection.fetch(_USED)} - self._shapes[kind].kept:
                await connection.execute(f"TRUNCATE {', '.join(used)} RESTART IDENTITY CASCADE")
            return bool(await connection.fetchval(others) == 1)
        finally:
            await connection.close()

    def _clean_collections(self, database: Database[Any]) -> bool:
        if _describe(database) != self._collections:
            return False
        for name in database.list_collection_names():
            database[name].delete_many({})
        return True

    async def _on_server(self, statement: str) -> None:
        connection = await asyncpg.connect(
            urlunsplit(urlsplit(self.environment[CORE])._replace(path="/postgres"))
        )
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def _describe(database: Database[Any]) -> Any:
    """Collections with their options and indexes."""
    return {
        each["name"]: (each.get("options"), database[each["name"]].index_information())
        for each in database.list_collections()
    }
