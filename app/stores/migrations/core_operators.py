"""What operators steer: pauses, throttles, holds, undos; and broken invariants."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-22T18:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Runs that pause and are throttled, holds, undos, invariants"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("operators.sql"))
    return manager
