"""Notifications: what is to be mailed to whom, every attempt to do so, and what became of it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-23T09:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Notifications, attempts, callbacks, suppressions, idempotency keys"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("notifications.sql"))
    return manager
