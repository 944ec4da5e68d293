import os
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from litestar import Litestar
from loguru import logger

from app.accounts.admission import Caller
from app.accounts.permissions import Scope
from app.accounts.tokens import TokenRefusedError
from app.stores.connections import Stores
from config.log_entries import entry_of
from config.settings import Settings, settings

# Actors bind their broker when they are imported. Nothing listens there: a test that sends has forgotten to fake it.
with patch.dict(os.environ, {"ASTROCORE_BROKER_URL": "redis://127.0.0.1:1/0?forgot=to_fake_the_wake"}):
    settings.cache_clear()
    from actors import notifications
    from actors import reconciliation as actors
    from web.app import app as application

    settings.cache_clear()

OPERATOR = Caller("client:operator", "operator", frozenset(Scope))
TOKEN = "token-of-the-operator"
_COMMON = ("event", "level", "request_id", "trace_id", "span_id", "actor", "outcome", "duration_ms")


@pytest.fixture
def callers() -> dict[str, Caller]:
    """Who calls with which token. What tokens say is tested with those that are issued, in tests/web/accounts."""
    return {TOKEN: OPERATOR}


@pytest.fixture
def app(callers: dict[str, Caller]) -> Litestar:
    """The application without its lifespan: its stores are whatever the test puts there.

    It is made once, which takes longer than a test does; what a test puts there is all that may differ.
    """

    async def admit(token: str) -> Caller:
        if token not in callers:
            raise TokenRefusedError("no token of a test")
        return callers[token]

    application.state.clear()
    application.state.admit = admit
    application.state.accounts = SimpleNamespace()
    application.state.stores = SimpleNamespace(settings=Settings(environment="embedded"))
    return application


@pytest.fixture
async def anyone(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without a token."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://core") as client:
        yield client


@pytest.fixture
async def operator(anyone: httpx.AsyncClient) -> httpx.AsyncClient:
    """A caller who may do everything."""
    anyone.headers["Authorization"] = f"Bearer {TOKEN}"
    return anyone


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was woken: the ids of runs and undos, `repairs` and `delivery`."""
    seen: list[Any] = []
    monkeypatch.setattr(actors, "wake_run", seen.append)
    monkeypatch.setattr(actors, "wake_undo", seen.append)
    monkeypatch.setattr(actors, "wake_repairs", lambda: seen.append("repairs"))
    monkeypatch.setattr(actors, "wake_repairs_later", lambda _seconds: seen.append("repairs"))
    monkeypatch.setattr(notifications, "wake_delivery", lambda: seen.append("delivery"))
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
