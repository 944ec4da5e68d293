from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from app.reconciliation import mapping as registry
from config.settings import Settings
from tests.app.reconciliation.scanning.world import SEATS, TABLES, World


@pytest.fixture
def world(settings_of_test: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setitem(registry._registry, "scan_seats", SEATS)
    settings = settings_of_test.model_copy(update={"data_dir": tmp_path})
    with MongoClient[Any](settings.url("customer_database_url"), uuidRepresentation="standard") as client:
        made = World(settings, client)
        made.sql(*TABLES.split(";"))
        yield made
