"""What took the place of a refresh token is known by its hash; in clear it can be told only for a moment."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-23T09:10:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Successors of refresh tokens by their hash"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("successors.sql"))
    return manager
