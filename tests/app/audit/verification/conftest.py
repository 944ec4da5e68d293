from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from config.settings import Settings
from tests.app.audit.archived import ArchivedStore, archiver_module, open_archived
from tests.app.audit.sealed import SealedStore, open_sealed


@pytest.fixture
async def sealed(settings_of_test: Settings) -> AsyncIterator[SealedStore]:
    """An empty audit store, and the means to write, seal, verify and tamper."""
    async with open_sealed(settings_of_test) as opened:
        yield opened


@pytest.fixture
async def archived(
    settings_of_test: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ArchivedStore]:
    """Seals 1 to 6 cover five entries each; the first four are archived, two to a file: 1 to 10, and 11 to 20.

    The entries 21 to 30 are sealed, 31 and 32 are not. The facts of the archives wait in the outbox.
    """
    monkeypatch.setattr(archiver_module, "FILE_ENTRIES", 10)
    async with open_archived(settings_of_test, tmp_path / "archives") as opened:
        for _ in range(5):
            await opened.seal(5)
        assert [await opened.archive(), await opened.archive()] == [10, 10]
        await opened.seal(5)
        await opened.append(2)
        yield opened
