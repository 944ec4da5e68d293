import pytest

from app.logs.store import LogStore
from app.stores.connections import Stores


@pytest.fixture
def store(stores: Stores) -> LogStore:
    return LogStore(stores.logs, stores.settings.namespace)
