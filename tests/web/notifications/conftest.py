"""The application with templates, on real stores."""

from types import SimpleNamespace

import httpx
import pytest
from litestar import Litestar
from pydantic import SecretStr

from app.clock import now
from app.notifications.templates.installing import ensure_shipped
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.accounts.conftest import SAFE

CALLBACK_SECRET = "a secret that the provider knows as well"


@pytest.fixture
def settings_of_test(settings_of_test: Settings) -> Settings:
    secret = SecretStr(CALLBACK_SECRET)
    return settings_of_test.model_copy(update={"notification_callback_secrets": secret})


@pytest.fixture
async def mails(real: httpx.AsyncClient, app: Litestar, stores: Stores) -> httpx.AsyncClient:
    """A caller who may do everything."""
    await ensure_shipped(stores.settings)
    app.state.accounts = SimpleNamespace(safe=SAFE, clock=now)
    return real
