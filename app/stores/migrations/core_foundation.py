"""The first migration of the core DB."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-22T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Jobs, runs, findings, suspects, diffs, breakers, schedules, audit outbox"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("foundation.sql"))
    return manager
