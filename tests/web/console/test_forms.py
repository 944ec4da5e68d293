"""Forms change something only where a page of ours was made for the browser that sends them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlencode
from uuid import uuid4

from litestar import Litestar

from app.accounts.service import Accounts
from app.accounts.views import UserView
from tests.web.console.conftest import TEXT, Browser
from web.console.cookie import form_token, fresh_secret

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def posts(app: Litestar) -> Iterator[str]:
    for route in app.routes:
        if route.path.startswith("/console") and "POST" in route.methods:
            yield re.sub(r"\{\w+:uuid\}", str(uuid4()), route.path).replace("{name:str}", "x")


async def state_of(accounts: Accounts) -> list[str]:
    tables = ("users", "sessions", "sign_in_failures", "audit_outbox", "recovery_codes")
    return [
        await accounts.stores.core.fetchval(f"SELECT string_agg(t::text, ' ' ORDER BY t::text) FROM {each} t")
        for each in tables
    ]


async def test_no_form_is_taken_without_the_token_of_a_page(
    browser: Browser, new_browser: Callable[[], Browser], web: Litestar, ada: UserView, accounts: Accounts
) -> None:
    web.state.accounts = replace(accounts, strict=False)
    await accounts.stores.core.execute(
        "UPDATE users SET roles = $2 WHERE id = $1", ada.id, ["operator"]
    )  # who may do all of it
    other = new_browser()
    await other.sign_in()
    await browser.sign_in()
    assert browser.secret
    assert other.secret
    before, paths = await state_of(accounts), list(posts(web))
    assert len(paths) >= 19
    for path in paths:
        for token in (
            "",
            "x",
            "ключ",
            browser.secret,
            form_token(other.secret),
            form_token(browser.secret)[:-1],
        ):
            answer = await browser.submit(path, csrf=token, email="x", password="x", code="x", secret="x")
            assert (answer.status_code, answer.headers["content-type"]) == (403, TEXT), path
            assert "nothing was changed" in browser.text
            assert "set-cookie" not in answer.headers
    assert await state_of(accounts) == before


async def test_a_planted_token_is_refused_where_no_cookie_came_along(browser: Browser, ada: UserView) -> None:
    for cookie in ("", "astrocore=", "astrocore=short"):
        for secret in ("", "short", fresh_secret()):
            content = urlencode({"csrf": form_token(secret), "email": "a", "password": "b"})
            answer = await browser.http.post(
                "/console/sign-in",
                content=content,
                headers={**FORM, **({"Cookie": cookie} if cookie else {})},
            )
            assert answer.status_code == 403


async def test_what_is_no_form_is_told_so_on_a_page(browser: Browser) -> None:
    await browser.open("/console/sign-in")
    known = form_token(browser.secret or "")
    for kind, content, status in (
        ("application/json", b"{}", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        (FORM["Content-Type"], b"csrf=\xff", 400),
        (FORM["Content-Type"], b"csrf=%ff", 400),
        (FORM["Content-Type"], b"&".join([b"a=1"] * 60), 400),
        (FORM["Content-Type"], b"csrf=bad&csrf=" + known.encode(), 400),
        (FORM["Content-Type"], b"x" * 1_000_001, 413),
        (FORM["Content-Type"], b"", 403),
    ):
        answer = await browser.http.post("/console/sign-in", content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT), content[:20]
