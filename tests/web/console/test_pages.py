"""What every answer of the console is like, whatever went wrong."""

from collections.abc import Callable

import asyncpg
import pytest
from litestar import Litestar

from app.accounts import users
from app.accounts.views import UserView
from tests.web.console.conftest import TEXT, Browser
from web.console.pages import NOTICES, sentence

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def test_every_answer_is_a_page_that_browsers_neither_keep_nor_mix_with_others(
    browser: Browser, ada: UserView
) -> None:
    answers = [
        await browser.open("/console/sign-in"),
        await browser.open("/console/account"),
        await browser.open("/console/nothing/here"),
        await browser.http.post("/console/account"),
        await browser.http.delete("/console/sign-in"),
        await browser.sign_in(password="wrong"),
        await browser.sign_in(),
        await browser.open("/console/account"),
        await browser.submit("/console/account/password"),
        await browser.submit("/console/account/second-factor/remove"),
        await browser.submit("/console/account/sessions/01938f6e-0000-7000-8000-000000000000/end"),
        await browser.submit("/console/account/sessions/x/end"),
    ]
    codes = [200, 303, 404, 405, 405, 401, 303, 200, 422, 409, 404, 404]
    assert [each.status_code for each in answers] == codes
    for each in answers:
        assert {name: each.headers.get(name) for name in HEADERS} == HEADERS
        assert each.status_code == 303 or each.headers["content-type"] == TEXT
        assert "<script" not in each.text
        assert " style=" not in each.text


async def test_pages_need_nothing_from_elsewhere(browser: Browser) -> None:
    import re

    page = await browser.open("/console/sign-in")
    links = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert all(each.startswith(("/console", "#", "data:")) for each in links)
    (style,) = (each for each in links if ".css" in each)
    answer = await browser.http.get(style)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "url(" not in answer.text
    assert "@import" not in answer.text
    assert "immutable" in answer.headers["cache-control"]


async def test_what_nobody_expected_is_a_page_that_tells_no_more_than_needed(
    browser: Browser, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.sign_in()
    for error, status in (
        (ZeroDivisionError("planted"), 500),
        (asyncpg.CannotConnectNowError("planted"), 503),
    ):

        async def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(users, "get_user", fail)
        answer = await browser.open("/console/account")
        assert (answer.status_code, answer.headers["content-type"]) == (status, TEXT)
        assert "planted" not in answer.text
        assert answer.headers["x-request-id"] in browser.text


async def test_outside_of_the_console_errors_stay_problem_documents(browser: Browser) -> None:
    for path in ("/consoles", "/v1/console", "/"):
        answer = await browser.http.post(path)
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_notice_is_one_of_ours(browser: Browser) -> None:
    await browser.open("/console/sign-in?done=signed-out")
    assert NOTICES["signed-out"] in browser.text
    await browser.open("/console/sign-in?done=<b>Call%20us</b>")
    assert "Call us" not in browser.text


def test_what_is_wrong_is_told_in_a_sentence() -> None:
    assert sentence("is wrong", "Code") == "Code is wrong."
    assert sentence("it has 3 characters, 15 is the least", "Code") == "It has 3 characters, 15 is the least."


async def test_a_console_page_may_need_a_scope_as_a_call_of_the_api_does(
    new_browser: Callable[[], Browser], web: Litestar, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.accounts.permissions import Scope
    from web.guards import needs

    browser = new_browser()
    await browser.sign_in()
    for route in web.routes:
        if route.path == "/console/account":
            for handler in route.route_handlers:
                monkeypatch.setattr(handler, "opt", needs(Scope.AUDIT_READ))
    assert (await browser.open("/console/account")).status_code == 403
    assert "Your roles do not let you do this." in browser.text
