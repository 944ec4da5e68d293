"""The core DB as a Piccolo app: its tables and where its migrations lie."""

from pathlib import Path

from piccolo.conf.apps import AppConfig

from app.stores.core import CORE_TABLES

APP_CONFIG = AppConfig(
    app_name="core",
    migrations_folder_path=Path(__file__).with_name("migrations"),
    table_classes=list(CORE_TABLES),
)
