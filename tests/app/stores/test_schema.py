"""The core DB's tables and its migrations say the same; migrating is safe to repeat and to run twice at once."""

import asyncio
from pathlib import Path

from app.stores import core
from app.stores.core import CORE_TABLES
from app.stores.migrate import create_foreign_schemas, migrate
from config.settings import Settings


async def test_tables_and_migrations_agree(stores) -> None:
    rows = await stores.core.fetch(
        "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name <> 'migration'"
    )
    migrated = {(row["table_name"], row["column_name"], row["is_nullable"] == "YES") for row in rows}
    declared = {
        (table._meta.tablename, column._meta.db_column_name, column._meta.null)
        for table in CORE_TABLES
        for column in table._meta.columns
    }
    assert declared == migrated


async def test_a_second_migration_finds_nothing_to_do(settings_of_test: Settings) -> None:
    assert await migrate(settings_of_test) == []
    await create_foreign_schemas(settings_of_test)


async def test_two_migrations_at_once_apply_everything_once(settings_of_test: Settings, stores) -> None:
    names = [
        row["tablename"]
        for row in await stores.core.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    ]
    await stores.core.execute(f"DROP TABLE {', '.join(names)}")
    script = "import asyncio\nfrom app.stores.migrate import migrate\nfrom config.settings import settings\nprint(len(asyncio.run(migrate(settings()))))"
    environment = {f"ASTROCORE_{name.upper()}": settings_of_test.url(name) for name in ("core_database_url",)}
    processes = [await _python(script, environment) for _ in range(2)]
    counts = [int((await process.communicate())[0]) for process in processes]
    migrations = list(Path(core.__file__).with_name("migrations").glob("core_*.py"))
    assert sorted(counts) == [0, len(migrations)], "all of them, by one of the two"


async def _python(script: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
    import os
    import sys

    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, env={**os.environ, **environment}, stdout=asyncio.subprocess.PIPE
    )
