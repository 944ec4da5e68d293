"""Circuits of the external notification services."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-23T09:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Circuits of the external notification services"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("circuits.sql"))
    return manager
