"""The first migration of the core DB: the statements of foundation.sql."""

from pathlib import Path

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine.finder import engine_finder

ID = "2026-11-22T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Jobs, runs, findings, suspects, diffs, breakers, schedules, audit outbox"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)

    async def create() -> None:
        engine = engine_finder()
        if engine is None:
            raise RuntimeError("migrations run through app.stores.migrate")
        script = Path(__file__).with_name("foundation.sql").read_text()
        for statement in script.split(";\n"):
            if statement.strip():
                await engine.run_ddl(statement)

    manager.add_raw(create)
    return manager
