"""Where links in mails about accounts lead."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from litestar import Litestar

from app.accounts import clients, emails, sessions
from app.accounts.limits import Limit, SignInLimits
from app.accounts.service import Accounts
from app.accounts.views import UserView
from tests.app.accounts.conftest import PASSWORD, Mailbox, Time
from tests.web.console.conftest import Browser

FORGOT = "/console/forgot"
NEW = "another long enough secret"


@pytest.fixture
def mails(web: Litestar) -> Mailbox:
    """What the application has had sent."""
    mails = Mailbox()
    web.state.accounts = replace(web.state.accounts, mails=mails)
    return mails


async def asked(browser: Browser, mails: Mailbox, email: str = "ada@example.com") -> str:
    """The token of a link to set a password."""
    await browser.open(FORGOT)
    await browser.submit(FORGOT, email=email)
    return mails.links[-1].token


async def links(accounts: Accounts) -> list[bool]:
    """Whether each link was used."""
    rows = await accounts.stores.core.fetch("SELECT used_at FROM account_links ORDER BY created_at")
    return [row["used_at"] is not None for row in rows]


async def test_who_forgot_a_password_sets_another_by_the_link_of_a_mail(
    *,
    browser: Browser,
    new_browser: Callable[[], Browser],
    ada: UserView,
    accounts: Accounts,
    mails: Mailbox,
    woken: list[Any],
    logged: list[dict[str, Any]],
) -> None:
    other = new_browser()
    await other.sign_in()
    await browser.open("/console/sign-in")
    assert f'href="{FORGOT}"' in browser.page.text
    token = await asked(browser, mails, "ADA@example.com")
    assert woken == ["delivery"]
    shown = await browser.open(f"/console/reset?token={token}")
    assert "For ada@example.com" in browser.text
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert await links(accounts) == [False]  # looking uses nothing up
    for wrong, said in (
        ({"password": "short", "again": "short"}, "It has 5 characters, 15 is the least."),
        ({"password": NEW, "again": "x"}, "New password again is not the same."),
        ({"password": NEW, "again": ""}, "New password again is required."),
    ):
        answer = await browser.submit("/console/reset", token=token, **wrong)
        assert (answer.status_code, said in browser.text) == (422, True), said
        assert f'name="token" value="{token}"' in answer.text
        assert NEW not in answer.text
    done = await browser.submit("/console/reset", token=token, password=NEW, again=NEW)
    assert (done.status_code, done.headers["location"]) == (303, "/console/reset?done=reset")
    await browser.open(done.headers["location"])
    assert "Your new password is set" in browser.text
    assert 'href="/console/sign-in"' in browser.page.text
    assert await sessions.list_sessions(accounts.stores, ada.id) == []
    assert (await browser.sign_in(password=PASSWORD)).status_code == 401
    assert (await browser.sign_in(password=NEW)).status_code == 303
    assert token not in str(logged)
    rows = await accounts.stores.core.fetch("SELECT entry ->> 'actor' AS actor FROM audit_outbox")
    assert [row["actor"] for row in rows].count("client:console") >= 2


async def test_nobody_learns_whether_an_address_is_known(
    browser: Browser, ada: UserView, mails: Mailbox, accounts: Accounts
) -> None:
    pages = set()
    for email in ("ada@example.com", "nobody@example.com", "no address"):
        await browser.open(FORGOT)
        done = await browser.submit(FORGOT, email=email)
        pages.add((done.status_code, done.headers.get("location")))
        pages.add((await browser.open(f"{FORGOT}?done=asked")).text)
    assert len(mails.links) == 1
    (redirect, page) = sorted(pages, key=str)
    assert redirect == (303, f"{FORGOT}?done=asked")
    assert "If a user has this address, a mail is on its way" in str(page)


async def test_asking_for_links_is_limited(
    browser: Browser, web: Litestar, ada: UserView, mails: Mailbox, accounts: Accounts
) -> None:
    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, accounts.hashing.pseudonym,
        address=Limit(failures=2, free=2),
    )  # fmt: skip
    web.state.accounts = replace(web.state.accounts, limits=limits)
    codes = []
    for name in ("ada", "eve", "bob"):
        await browser.open(FORGOT)
        codes.append((await browser.submit(FORGOT, email=f"{name}@example.com")).status_code)
    assert codes == [303, 303, 429]
    assert "You can try again in" in browser.text
    assert 'value="bob@example.com"' in browser.page.text
    assert (await browser.submit(FORGOT, email="")).status_code == 422
    assert "E-mail address is required." in browser.text


@pytest.mark.parametrize("purpose", ["reset", "verify", "change"])
async def test_a_link_that_is_not_good_says_so_and_how_to_get_another(
    browser: Browser, ada: UserView, mails: Mailbox, time: Time, purpose: str
) -> None:
    good = await asked(browser, mails)
    if purpose == "reset":
        time.passes(timedelta(minutes=11))
    for token in (good, "", "x", "%00", "%ff", "a" * 300):
        answer = await browser.open(f"/console/{purpose}?token={token}")
        assert answer.status_code == 422
        assert "This link is not good any more" in browser.text
        assert (FORGOT in answer.text) is (purpose == "reset")
    await browser.open("/console/sign-in")
    refused = await browser.submit(f"/console/{purpose}", token=good, password=NEW, again=NEW)
    assert (refused.status_code, "is not good any more" in browser.text) == (422, True)


async def test_an_address_is_proven_by_a_button_and_not_by_looking(
    browser: Browser, ada: UserView, web: Litestar, accounts: Accounts, mails: Mailbox
) -> None:
    await emails.send_verification(web.state.accounts, ada.id, by="test")
    token = mails.links[-1].token
    await browser.open(f"/console/verify?token={token}")
    await browser.http.head(f"/console/verify?token={token}")
    assert "ada@example.com is theirs" in browser.text
    assert await links(accounts) == [False]
    done = await browser.submit("/console/verify", token=token)
    await browser.open(done.headers["location"])
    assert "Thank you: the address is yours." in browser.text
    verified = "SELECT email_verified_at FROM users WHERE id = $1"
    assert await accounts.stores.core.fetchval(verified, ada.id)
    assert (await browser.open(f"/console/verify?token={token}")).status_code == 422


async def test_an_address_is_changed_by_a_button(
    *,
    browser: Browser,
    new_browser: Callable[[], Browser],
    ada: UserView,
    web: Litestar,
    mails: Mailbox,
    accounts: Accounts,
) -> None:
    other = new_browser()
    await other.sign_in()
    await emails.ask_change(web.state.accounts, ada.id, "new@example.com", PASSWORD, session=None, by="test")
    token = mails.links[-1].token
    await browser.open(f"/console/change?token={token}")
    assert "you sign in with new@example.com" in browser.text
    assert await links(accounts) == [False]
    done = await browser.submit("/console/change", token=token)
    await browser.open(done.headers["location"])
    assert "The address is yours now." in browser.text
    assert (await other.open("/console/account")).status_code == 303
    assert (await browser.sign_in("new@example.com")).status_code == 303
    assert [each.email for each in mails.notices] == ["ada@example.com"]


async def test_a_console_that_is_switched_off_takes_no_links(
    browser: Browser, ada: UserView, mails: Mailbox, accounts: Accounts
) -> None:
    token = await asked(browser, mails)
    await clients.enable_client(accounts.stores, "console", enabled=False, by="test", reason="x")
    await browser.open(f"/console/reset?token={token}")
    refused = await browser.submit("/console/reset", token=token, password=NEW, again=NEW)
    assert (refused.status_code, await links(accounts)) == (403, [False])
    assert "An admin has switched the console off." in browser.text
    await browser.open(FORGOT)
    assert (await browser.submit(FORGOT, email="ada@example.com")).status_code == 403
    assert len(mails.links) == 1


async def test_no_link_is_used_without_the_token_of_its_page(
    browser: Browser, ada: UserView, mails: Mailbox, accounts: Accounts
) -> None:
    token = await asked(browser, mails)
    for csrf in ("", "x"):
        answer = await browser.submit("/console/reset", csrf=csrf, token=token, password=NEW, again=NEW)
        assert answer.status_code == 403
    page = (await browser.open(f"/console/reset?token={token}")).text
    (csrf,) = set(re.findall(r'name="csrf" value="([^"]+)"', page))
    browser.http.cookies.clear()
    answer = await browser.submit("/console/reset", csrf=csrf, token=token, password=NEW, again=NEW)
    assert (answer.status_code, await links(accounts)) == (403, [False])
