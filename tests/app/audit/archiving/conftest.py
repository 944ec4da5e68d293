from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.settings import Settings
from tests.app.audit.archived import ArchivedStore, open_archived


@pytest.fixture
async def archived(settings_of_test: Settings, tmp_path: Path) -> AsyncIterator[ArchivedStore]:
    """An empty audit store that may be written, sealed, archived, verified and tampered with."""
    async with open_archived(settings_of_test, tmp_path / "archives") as opened:
        yield opened
