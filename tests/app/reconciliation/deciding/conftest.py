from collections.abc import Iterator

import pytest
from redis import Redis

from actors.letters import DeadLetters
from app.stores.connections import Stores


@pytest.fixture
def broker(stores: Stores) -> Iterator[Redis]:
    with Redis.from_url(stores.settings.url("broker_url")) as redis:
        yield redis


@pytest.fixture
def letters(broker: Redis, stores: Stores) -> DeadLetters:
    return DeadLetters(broker, stores.settings.namespace)
