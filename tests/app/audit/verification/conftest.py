from collections.abc import AsyncIterator

import pytest

from config.settings import Settings
from tests.app.audit.sealed import SealedStore, open_sealed


@pytest.fixture
async def sealed(settings_of_test: Settings) -> AsyncIterator[SealedStore]:
    """An empty audit store, and the means to write, seal, verify and tamper."""
    async with open_sealed(settings_of_test) as opened:
        yield opened
