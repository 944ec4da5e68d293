"""Browsers, as far as cookies and forms go, at the console on real stores."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from litestar import Litestar

from app.accounts.bootstrap import ensure_console
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.stores.connections import Stores
from tests.app.accounts.conftest import PASSWORD, Time, accounts, ada, time, user_with  # noqa: F401  (fixtures)
from tests.web.accounts.conftest import web  # noqa: F401  (a fixture)

TEXT = "text/html; charset=utf-8"


class Browser:
    """Keeps cookies, and fills in the forms of the page that it has open."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.page = httpx.Response(204)

    async def open(self, path: str) -> httpx.Response:
        self.page = await self.http.get(path)
        return self.page

    async def open_with(self, secret: str | None, path: str) -> httpx.Response:
        """Open a page with the secret of another one's cookie."""
        self.http.cookies.clear()
        self.page = await self.http.get(path, headers={"Cookie": f"astrocore={secret}"})
        return self.page

    async def submit(self, path: str, *, csrf: str | None = None, **fields: str) -> httpx.Response:
        """Send a form of the open page; `csrf` in place of the token that the page gave."""
        known = re.search(r'name="csrf" value="([^"]+)"', self.page.text)
        given = csrf if csrf is not None else known[1] if known else ""
        self.page = await self.http.post(
            path,
            content=urlencode({"csrf": given, **fields}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        return self.page

    async def sign_in(
        self, email: str = "ada@example.com", password: str = PASSWORD, **more: str
    ) -> httpx.Response:
        await self.open("/console/sign-in")
        return await self.submit("/console/sign-in", email=email, password=password, **more)

    @property
    def text(self) -> str:
        """What the page says, without its tags."""
        return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.page.text)))

    @property
    def secret(self) -> str | None:
        return self.http.cookies.get("astrocore")


@pytest.fixture
async def new_browser(web: Litestar, accounts: Accounts) -> AsyncIterator[Callable[[], Browser]]:  # noqa: F811
    await ensure_console(accounts.stores)
    opened: list[httpx.AsyncClient] = []

    def make() -> Browser:
        http = httpx.AsyncClient(
            transport=httpx.ASGITransport(web, raise_app_exceptions=False),
            base_url="http://core",
            headers={"User-Agent": "a browser"},
        )
        opened.append(http)
        return Browser(http)

    yield make
    for each in opened:
        await each.aclose()


@pytest.fixture
def browser(new_browser: Callable[[], Browser]) -> Browser:
    return new_browser()


@pytest.fixture
async def signed_in_as(
    new_browser: Callable[[], Browser],
    web: Litestar,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    stores: Stores,
    tmp_path: Path,
) -> Callable[[Role], Awaitable[Browser]]:
    """A browser in which somebody with a role has signed in to an embedded system, which asks for no second factor."""
    web.state.accounts = replace(web.state.accounts, strict=False)
    web.state.stores = replace(
        stores, settings=stores.settings.model_copy(update={"environment": "embedded", "data_dir": tmp_path})
    )

    async def sign_in(role: Role) -> Browser:
        browser, email = new_browser(), f"{role}@example.com"
        await user_with(accounts, email, role)
        assert (await browser.sign_in(email)).status_code == 303
        return browser

    return sign_in


@pytest.fixture
async def operator(signed_in_as: Callable[[Role], Awaitable[Browser]]) -> Browser:
    return await signed_in_as(Role.OPERATOR)
