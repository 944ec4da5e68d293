import os
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from litestar import Litestar
from loguru import logger

from app.stores.connections import Stores
from config.log_entries import entry_of
from config.settings import settings

# Actors bind their broker when they are imported. Nothing listens there: a test that sends has forgotten to fake it.
with patch.dict(os.environ, {"ASTROCORE_BROKER_URL": "redis://127.0.0.1:1/0?forgot=to_fake_the_wake"}):
    settings.cache_clear()
    from actors import reconciliation as actors
    from web.app import create_app

    settings.cache_clear()

KEY = "key-of-the-operator"
_COMMON = ("event", "level", "request_id", "trace_id", "span_id", "actor", "outcome", "duration_ms")


@pytest.fixture
def app() -> Litestar:
    """The application without its lifespan: its stores are whatever the test puts there."""
    made = create_app()
    made.state.operator_key = KEY.encode()
    made.state.stores = SimpleNamespace()
    return made


@pytest.fixture
async def anyone(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without a key."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
        yield client


@pytest.fixture
async def operator(anyone: httpx.AsyncClient) -> httpx.AsyncClient:
    """A caller with the operator key."""
    anyone.headers["Authorization"] = f"Bearer {KEY}"
    return anyone


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was woken: the ids of runs and undos, and `repairs`."""
    seen: list[Any] = []
    monkeypatch.setattr(actors, "wake_run", seen.append)
    monkeypatch.setattr(actors, "wake_undo", seen.append)
    monkeypatch.setattr(actors, "wake_repairs", lambda: seen.append("repairs"))
    monkeypatch.setattr(actors, "wake_repairs_later", lambda _seconds: seen.append("repairs"))
    return seen


@pytest.fixture
async def real(
    operator: httpx.AsyncClient, app: Litestar, stores: Stores, woken: list[Any]
) -> httpx.AsyncClient:
    """The operator, on real stores."""
    app.state.stores = stores
    return operator


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Every log entry, flat: what is common to entries, and its fields."""
    entries: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        entry = entry_of(message.record, "test", len(entries) + 1)
        entries.append({**entry.fields, **{name: getattr(entry, name) for name in _COMMON}})

    sink = logger.add(keep, level="DEBUG", catch=False)
    yield entries
    logger.remove(sink)
