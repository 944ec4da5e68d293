"""My account, page by page."""

import re
from base64 import b32decode
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import unquote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from app.accounts import sessions, users
from app.accounts.service import Accounts
from app.accounts.views import UserView
from tests.app.accounts.conftest import PASSWORD, Time
from tests.web.console.conftest import Browser

ACCOUNT = "/console/account"
NEW = "another long enough secret"


def codes_of(page: str, time: Time) -> str:
    """The code that an app shows that was given the key of the page."""
    (key,) = set(re.findall(r'name="secret" value="([A-Z2-7]{32})"', page))
    return TOTP(b32decode(key), 6, SHA1(), 30).generate(int(time().timestamp())).decode()


async def test_who_changes_their_password_stays_here_and_nowhere_else(
    browser: Browser, new_browser: Callable[[], Browser], ada: UserView
) -> None:
    other = new_browser()
    await other.sign_in()
    await browser.sign_in()
    await browser.open(ACCOUNT)
    form = {"old_password": PASSWORD, "new_password": NEW, "again": NEW}
    for wrong, told in (
        ({"old_password": "wrong"}, "Old password is wrong."),
        ({"again": "x"}, "New password again is not the same."),
        ({"new_password": "", "again": ""}, "New password is required."),
        ({"new_password": "short", "again": "short"}, "It has 5 characters, 15 is the least."),
    ):
        answer = await browser.submit(f"{ACCOUNT}/password", **form | wrong)
        assert answer.status_code == 422
        assert told in browser.text
        assert NEW not in answer.text
    copied = browser.secret
    done = await browser.submit(f"{ACCOUNT}/password", **form)
    assert done.headers["location"] == f"{ACCOUNT}?done=password"
    await browser.open(done.headers["location"])
    assert "Your password is changed." in browser.text
    assert (await other.open(ACCOUNT)).status_code == 303
    assert (await other.open_with(copied, ACCOUNT)).status_code == 303
    assert (await other.sign_in(password=NEW)).status_code == 303


async def test_mails_are_in_the_language_that_one_chooses(
    browser: Browser, accounts: Accounts, ada: UserView
) -> None:
    await browser.sign_in()
    await browser.open(ACCOUNT)
    for wrong in ("Spanish", "e", "xx-YY"):
        answer = await browser.submit(f"{ACCOUNT}/language", locale=wrong)
        assert answer.status_code == 422
        assert "Language of my mails is no locale, as es or es-MX." in browser.text
        assert f'value="{wrong}"' in answer.text
    for chosen in ("es-MX", ""):
        done = await browser.submit(f"{ACCOUNT}/language", locale=chosen)
        assert done.headers["location"] == f"{ACCOUNT}?done=language"
        assert (await users.get_user(accounts.stores, ada.id)).locale == (chosen or None)
        page = await browser.open(done.headers["location"])
        assert "The language of your mails is changed." in browser.text
        assert ('value="es-MX"' in page.text) is bool(chosen)


async def test_a_second_factor_is_set_up_asked_for_and_removed(
    browser: Browser, new_browser: Callable[[], Browser], ada: UserView, time: Time
) -> None:
    await browser.sign_in()
    await browser.open(ACCOUNT)
    shown = await browser.submit(f"{ACCOUNT}/second-factor")
    assert shown.status_code == 200
    (key,) = re.findall(r'name="secret" value="(\w+)"', shown.text)
    assert key in browser.text.replace(" ", "")
    assert "data:image/svg+xml" in shown.text
    assert f"secret={key}" in unquote(shown.text)

    right = codes_of(shown.text, time)
    wrong = await browser.submit(f"{ACCOUNT}/second-factor/confirm", secret=key, code="000000")
    assert wrong.status_code == 422
    assert "Code is wrong." in browser.text
    assert codes_of(wrong.text, time) == right
    odd = await browser.submit(f"{ACCOUNT}/second-factor/confirm", secret="<b>", code="000000")
    assert odd.status_code == 422
    odd = await browser.submit(f"{ACCOUNT}/second-factor/confirm", secret=f"{key}\n", code="000000")
    assert odd.status_code == 422
    await browser.open(ACCOUNT)
    copied = browser.secret
    told = await browser.submit(f"{ACCOUNT}/second-factor/confirm", secret=key, code=right)
    recovery = re.findall(r"<code>([\w-]{29})</code>", told.text)
    assert len(recovery) == 10
    assert (await browser.http.get(ACCOUNT)).status_code == 200
    assert (await new_browser().open_with(copied, ACCOUNT)).status_code == 303

    asked = await browser.sign_in()
    assert asked.status_code == 401
    assert "a code of your second factor" in browser.text
    assert (await browser.sign_in(code=right)).status_code == 401  # no code is good twice
    time.passes(timedelta(minutes=1))
    again = TOTP(b32decode(key), 6, SHA1(), 30).generate(int(time().timestamp())).decode()
    assert (await browser.sign_in(code=again)).status_code == 303
    assert (await browser.sign_in(code=recovery[0])).status_code == 303
    await browser.open(ACCOUNT)
    renewed = await browser.submit(f"{ACCOUNT}/second-factor/recovery-codes")
    assert "The codes of before are good no more." in browser.text
    others = re.findall(r"<code>([\w-]{19,})</code>", renewed.text)
    assert not set(others) & set(recovery)
    assert (await browser.sign_in(code=recovery[1])).status_code == 401
    assert (await browser.sign_in(code=others[0])).status_code == 303
    await browser.open(ACCOUNT)
    gone = await browser.submit(f"{ACCOUNT}/second-factor/remove")
    assert gone.headers["location"] == "/console/sign-in?done=removed"
    assert (await browser.open(ACCOUNT)).status_code == 303
    assert (await browser.sign_in()).status_code == 303


async def test_for_the_second_factor_a_sign_in_has_to_be_fresh(
    browser: Browser, ada: UserView, time: Time
) -> None:
    await browser.sign_in()
    time.passes(timedelta(minutes=11))
    await browser.open(ACCOUNT)
    assert "sign in again" in browser.text
    assert "Set up a second factor" not in browser.text
    for path in ("", "/confirm", "/remove", "/recovery-codes"):
        await browser.open(ACCOUNT)
        answer = await browser.submit(f"{ACCOUNT}/second-factor{path}", code="000000")
        assert answer.headers["location"] == "/console/sign-in?done=again"
    await browser.open("/console/sign-in?done=again")
    assert "more than ten minutes ago" in browser.text


async def test_signing_out_everywhere_ends_this_session_too(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    await browser.sign_in()
    await browser.open(ACCOUNT)
    done = await browser.submit(f"{ACCOUNT}/sessions/end")
    assert done.headers["location"] == "/console/sign-in?done=everywhere"
    assert await sessions.list_sessions(accounts.stores, ada.id) == []
