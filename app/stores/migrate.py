"""Bring the core DB to the schema that this code needs; shape the two other databases where they are embedded."""

import contextlib
import io
import sys
from types import ModuleType
from typing import Any

from piccolo.apps.migrations.commands.forwards import run_forwards
from piccolo.apps.migrations.tables import Migration
from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import create_db_tables

from app.stores.admin import ADMIN_TABLES
from app.stores.connections import open_customer_client
from app.stores.customer import bind_documents
from config.settings import Settings

# Any constant will do, as long as every migrating process takes the same one.
MIGRATION_LOCK = 4_205_501


async def migrate(settings: Settings) -> list[str]:
    """Apply every migration of the core DB that is missing, all or none; answer their names.

    Safe when several run at once: they queue behind one advisory lock, and the later ones find nothing to do.
    """
    engine = PostgresEngine(config={"dsn": settings.url("core_database_url")}, extensions=())
    _publish_configuration(engine)
    Migration._meta.db = engine  # noqa: SLF001  (Piccolo's own way to bind a table)
    applied: list[str] = []  # mypy cannot know that a transaction lets every exception pass
    async with engine.transaction():
        await Migration.raw("SELECT pg_advisory_xact_lock({})", MIGRATION_LOCK)
        before = await _applied()
        chatter = io.StringIO()
        with contextlib.redirect_stdout(chatter):
            outcome = await run_forwards(app_name="core")
        if not outcome.success:
            raise RuntimeError(f"migration failed: {outcome.message}; {chatter.getvalue()}")
        applied += [name for name in await _applied() if name not in before]
    return applied


async def _applied() -> list[str]:
    if not await Migration.table_exists().run():
        return []
    return await Migration.get_migrations_which_ran(app_name="core")


def _publish_configuration(engine: PostgresEngine) -> None:
    module: Any = ModuleType("piccolo_conf")
    module.DB = engine
    module.APP_REGISTRY = AppRegistry(apps=["app.stores.piccolo_app"])
    sys.modules["piccolo_conf"] = module


async def create_foreign_schemas(settings: Settings) -> None:
    """Create the admin DB's tables and the customer DB's indexes: for embedded stores only.

    Elsewhere those two databases belong to other services.
    """
    engine = PostgresEngine(config={"dsn": settings.url("admin_database_url")}, extensions=())
    for table in ADMIN_TABLES:
        table._meta.db = engine  # noqa: SLF001  (Piccolo's own way to bind a table)
    # One by one: Piccolo adds a table's constraints again even where the table exists.
    missing = [table for table in ADMIN_TABLES if not await table.table_exists()]
    if missing:
        await create_db_tables(*missing)
    client, database = open_customer_client(settings)
    async with client:
        await bind_documents(database, create_indexes=True)
