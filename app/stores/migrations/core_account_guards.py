"""What guards accounts: proposals of devices that end, links to addresses, tries counted under keyed hashes."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from app.stores.migrations import statements_of

ID = "2026-11-23T09:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Guards of accounts"


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="core", description=DESCRIPTION)
    manager.add_raw(statements_of("account_guards.sql"))
    return manager
