"""The application with accounts on real stores, and clients with tokens that it has issued."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import httpx
import pytest
from litestar import Litestar

from app.accounts import clients
from app.accounts.admission import admit
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.notifications.asking.account_mails import AccountMails
from app.notifications.templates.installing import ensure_shipped
from app.stores.connections import Stores
from tests.app.accounts.conftest import SAFE, Time, accounts, ada, time  # noqa: F401  (fixtures)

Client = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def web(app: Litestar, accounts: Accounts, stores: Stores, woken: list[Any]) -> Litestar:  # noqa: F811
    await ensure_shipped(stores.settings)
    app.state.stores = stores
    app.state.accounts = replace(accounts, mails=AccountMails(stores.settings, SAFE, accounts.clock))
    app.state.admit = partial(admit, accounts)
    return app


@pytest.fixture
async def caller(web: Litestar, accounts: Accounts) -> AsyncIterator[Client]:  # noqa: F811
    """A caller with a token: `await caller(token)`, or of a client with scopes: `await caller(name, *scopes)`."""
    opened: list[httpx.AsyncClient] = []

    async def call(name: str | None = None, *scopes: Scope, token: str | None = None) -> httpx.AsyncClient:
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(web, raise_app_exceptions=False), base_url="http://core"
        )
        opened.append(http)
        if name is not None and name != "shop":
            await clients.create_client(accounts.stores, name, scopes, by="test")
        if name is not None:
            made = await clients.add_credential(accounts.stores, name, by="test")
            issued = await accounts.tokens.for_client(name, made.credential.id, scopes or list(Scope))
            token = issued.token
        if token:
            http.headers["Authorization"] = f"Bearer {token}"
        return http

    yield call
    for each in opened:
        await each.aclose()


@pytest.fixture
async def shop(caller: Client) -> httpx.AsyncClient:
    """A service that may do everything."""
    return await caller("shop")
