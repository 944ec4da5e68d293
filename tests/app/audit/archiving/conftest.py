from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from app.audit.archiving import turn
from app.clock import now
from config.settings import Settings
from tests.app.audit.archived import LATER, ArchivedStore, open_archived


@pytest.fixture
async def archived(settings_of_test: Settings, tmp_path: Path) -> AsyncIterator[ArchivedStore]:
    """An empty audit store that may be written, sealed, archived, verified and tampered with."""
    async with open_archived(settings_of_test, tmp_path / "archives") as opened:
        yield opened


@pytest.fixture
def logged() -> Any:
    seen: list[tuple[str, str]] = []
    sink = logger.add(lambda line: seen.append((line.record["level"].name, line.record["message"])))
    yield seen
    logger.remove(sink)


@pytest.fixture
def tomorrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are taken a day later, so that what was sealed just now is no longer young."""
    monkeypatch.setattr(turn, "now", lambda: now() + LATER)
