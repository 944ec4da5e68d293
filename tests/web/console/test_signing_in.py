"""The door of the console."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from http.cookies import SimpleCookie

import httpx
import pytest
from litestar import Litestar
from redis.asyncio import Redis

from app.accounts import clients, credentials, sessions, users
from app.accounts.limits import SignInLimits
from app.accounts.service import Accounts
from app.accounts.sessions import ABSOLUTE, IDLE
from app.accounts.views import Status, UserView
from app.errors import ConflictError
from tests.app.accounts.conftest import EVERY, PASSWORD, Time, facts, user_with
from tests.web.console.conftest import Browser
from web.console.pages import inside

SIGN_IN, ACCOUNT = "/console/sign-in", "/console/account"


async def signed_in(browser: Browser) -> bool:
    return (await browser.http.get(ACCOUNT)).status_code == 200


async def test_who_signs_in_sees_their_account_and_who_signs_out_does_not(
    browser: Browser, ada: UserView
) -> None:
    first = await browser.open("/console")
    assert (first.status_code, first.headers["location"]) == (303, SIGN_IN)
    led = await browser.sign_in()
    assert (led.status_code, led.headers["location"]) == (303, "/console")
    await browser.open(ACCOUNT)
    assert "ada@example.com" in browser.text
    left = await browser.submit("/console/sign-out")
    assert (left.status_code, left.headers["location"]) == (303, f"{SIGN_IN}?done=signed-out")
    assert not await signed_in(browser)
    await browser.open(left.headers["location"])
    assert "You are signed out." in browser.text


async def test_the_cookie_is_for_this_host_over_tls_and_no_script_sees_it(
    browser: Browser, web: Litestar
) -> None:
    stores = web.state.stores
    for changed, name in (
        ({}, "astrocore"),
        ({"web_host": "localhost"}, "astrocore"),
        ({"web_host": "0.0.0.0"}, "__Host-astrocore"),
        ({"environment": "development"}, "__Host-astrocore"),
        ({"environment": "development", "web_host": "0.0.0.0"}, "__Host-astrocore"),
    ):
        web.state.stores = replace(stores, settings=stores.settings.model_copy(update=changed))
        answer = await browser.open(SIGN_IN)
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert (cookie.key, cookie["path"], cookie["domain"]) == (name, "/", "")
        assert cookie["httponly"]
        assert cookie["samesite"] == "lax"
        strict = name.startswith("__Host-")
        assert (bool(cookie["secure"]), "strict-transport-security" in answer.headers) == (strict, strict)
        browser.http.cookies.clear()


async def test_every_sign_in_gives_another_secret_and_ends_what_the_old_one_stood_for(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    await browser.open(SIGN_IN)
    secrets = [browser.secret]
    for _ in range(2):
        await browser.sign_in()
        secrets.append(browser.secret)
    assert len({*secrets, None}) == 4
    assert len(await sessions.list_sessions(accounts.stores, ada.id)) == 1
    for old in secrets[:2]:
        assert (await browser.open_with(old, ACCOUNT)).status_code == 303


async def test_no_secret_is_kept_in_clear(browser: Browser, ada: UserView, accounts: Accounts) -> None:
    await browser.sign_in()
    tables = ("sessions", "refresh_tokens", "audit_outbox")
    kept = [
        await accounts.stores.core.fetchval(f"SELECT string_agg(t::text, ' ') FROM {each} t")
        for each in tables
    ]
    assert browser.secret
    assert browser.secret not in " ".join(kept)


async def test_whatever_is_wrong_the_page_is_the_same(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    bob = await user_with(accounts, "bob@example.com")
    await users.move_user(accounts.stores, bob.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY)
    pages = set()
    for email, password, code in (
        ("ada@example.com", "wrong", ""),
        ("bob@example.com", PASSWORD, ""),
        ("nobody@example.com", PASSWORD, ""),
        ("ada@example.com", "wrong", "123456"),
    ):
        answer = await browser.sign_in(email, password, code=code)
        assert answer.status_code == 401
        pages.add(answer.text.replace(email, "ADDRESS"))
    assert len(pages) == 1
    assert "The address, the password or the code is wrong." in browser.text
    assert not await signed_in(browser)


async def test_the_page_keeps_the_address_and_never_the_password(browser: Browser, ada: UserView) -> None:
    answer = await browser.sign_in(password="my wrong secret", next="/console/account")
    assert 'value="ada@example.com"' in answer.text
    assert 'value="/console/account"' in answer.text
    assert "my wrong secret" not in answer.text
    missing = await browser.submit(SIGN_IN, email='"><script>alert(1)</script>', password="")
    assert missing.status_code == 422
    assert "Password is required." in browser.text
    assert "<script>" not in missing.text
    assert 'aria-invalid="true"' in missing.text


async def test_too_many_tries_and_stores_that_are_away_say_when_to_come_again(
    browser: Browser, web: Litestar, accounts: Accounts
) -> None:
    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, accounts.hashing.pseudonym
    )
    web.state.accounts = replace(accounts, limits=limits)
    codes = [(await browser.sign_in(password="wrong")).status_code for _ in range(5)]
    assert codes == [401] * 4 + [429]
    assert int(browser.page.headers["retry-after"]) >= 1
    assert f"You can try again in {browser.page.headers['retry-after']} second" in browser.text
    away = Redis.from_url("redis://127.0.0.1:1/0", retry=None)
    web.state.accounts = replace(accounts, limits=SignInLimits(away, "t", accounts.hashing.pseudonym))
    closed = await browser.sign_in()
    assert (closed.status_code, closed.headers["retry-after"]) == (503, "5")
    await away.aclose()


@pytest.mark.parametrize(
    ("given", "led"),
    [
        ("/console/account", "/console/account"),
        ("/console/runs/0193-a?status=done&limit=5", "/console/runs/0193-a?status=done&limit=5"),
        ("https://evil.example/console", "/console"),
        ("//evil.example/console", "/console"),
        ("/console/../v1/me", "/console"),
        ("/console/%2e%2e/v1/me", "/console"),
        ("/console//evil.example", "/console"),
        ("/console\\@evil.example", "/console"),
        ("/consoles", "/console"),
        ("/console/account\r\nX: y", "/console"),
        ("javascript:alert(1)", "/console"),
        ("", "/console"),
    ],
)
def test_nobody_is_led_out_of_the_console(given: str, led: str) -> None:
    assert inside(given) == led


async def test_who_looked_at_a_page_comes_back_to_it(browser: Browser, ada: UserView) -> None:
    asked = (await browser.open(f"{ACCOUNT}?x=1")).headers["location"]
    assert asked == f"{SIGN_IN}?next=/console/account%3Fx%3D1"
    await browser.open(asked)
    assert f'name="next" value="{ACCOUNT}?x=1"' in browser.page.text
    assert (await browser.sign_in(next=f"{ACCOUNT}?x=1")).headers["location"] == f"{ACCOUNT}?x=1"
    assert (await browser.sign_in(next="//evil.example")).headers["location"] == "/console"


@pytest.mark.parametrize(
    "what", ["disabled", "deleted", "password", "everywhere", "console", "idle", "a day"]
)
async def test_what_ends_a_session_ends_it_here_at_once(
    browser: Browser, ada: UserView, accounts: Accounts, time: Time, what: str
) -> None:
    await browser.sign_in()
    assert await signed_in(browser)
    stores = accounts.stores
    match what:
        case "disabled":
            await users.move_user(stores, ada.id, Status.DISABLED, by="test", reason="x", may_grant=EVERY)
        case "deleted":
            await users.delete_user(accounts, ada.id, by="test", reason="x", may_grant=EVERY)
        case "password":
            await credentials.change_password(
                accounts, ada.id, PASSWORD, "another long enough secret", keep=None, by="test"
            )
        case "everywhere":
            await sessions.sign_out_everywhere(stores, ada.id, by="test", may_grant=EVERY)
        case "console":
            await clients.enable_client(stores, "console", enabled=False, by="test", reason="x")
            assert (await browser.sign_in()).status_code == 403
            assert "An admin has switched the console off." in browser.text
        case "idle":
            time.passes(IDLE)
        case _:
            for _ in range(int(ABSOLUTE / (IDLE / 2))):
                time.passes(IDLE / 2)
                await signed_in(browser)
    assert not await signed_in(browser)


async def test_who_is_there_stays_and_that_is_written_once_a_minute(
    browser: Browser, ada: UserView, accounts: Accounts, time: Time
) -> None:
    await browser.sign_in()
    versions = []
    for _ in range(4):
        time.passes(timedelta(seconds=31))
        assert await signed_in(browser)
        versions.append(await accounts.stores.core.fetchval("SELECT xmin::text FROM sessions"))
    assert len(set(versions)) == 3  # the first is from before
    time.passes(IDLE - timedelta(minutes=2))
    assert await signed_in(browser)
    time.passes(IDLE - timedelta(minutes=2))
    assert await signed_in(browser)


async def test_what_roles_come_to_is_looked_up_with_every_page(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    await browser.sign_in()
    assert "For more you need the role" in (await browser.open(ACCOUNT), browser.text)[1]
    await accounts.stores.core.execute("UPDATE users SET roles = '{operator}'")
    await browser.open(ACCOUNT)
    assert "Your role operator will count once you have set up a second factor." in browser.text
    assert "reconciliation:operate" not in browser.text
    await accounts.stores.core.execute("UPDATE sessions SET methods = '{pwd,otp,mfa}'")
    await browser.open(ACCOUNT)
    assert "reconciliation:operate" in browser.text
    assert "clients:admin" not in browser.text


async def test_a_session_is_noted_with_where_it_came_from(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    browser.http.headers["User-Agent"] = "x" * 1000
    await browser.sign_in()
    (session,) = await sessions.list_sessions(accounts.stores, ada.id)
    assert (session.client, session.client_ip, session.device) == ("console", "127.0.0.1", "x" * 200)
    assert "session:start" in await facts(accounts.stores)


@pytest.mark.parametrize(
    ("trusted", "passed", "noted"),
    [
        (0, ["198.51.100.1"], "127.0.0.1"),
        (1, ["198.51.100.1"], "198.51.100.1"),
        (1, ["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        (2, ["203.0.113.9", "2001:DB8::1, 10.0.0.1"], "2001:db8::1"),
        (1, [], "127.0.0.1"),
        (2, ["198.51.100.1"], "127.0.0.1"),
        (1, ["203.0.113.9, unknown"], "127.0.0.1"),
    ],
)
async def test_behind_proxies_of_ours_it_is_the_address_that_the_outermost_was_called_from(
    browser: Browser,
    ada: UserView,
    accounts: Accounts,
    web: Litestar,
    *,
    trusted: int,
    passed: list[str],
    noted: str,
) -> None:
    stores = web.state.stores
    settings = stores.settings.model_copy(update={"trusted_proxies": trusted})
    web.state.stores = replace(stores, settings=settings)
    browser.http.headers = httpx.Headers(
        [*browser.http.headers.multi_items(), *(("X-Forwarded-For", each) for each in passed)]
    )
    await browser.sign_in()
    (session,) = await sessions.list_sessions(accounts.stores, ada.id)
    assert session.client_ip == noted


async def test_the_console_is_no_client_that_anybody_calls_as(accounts: Accounts, browser: Browser) -> None:
    with pytest.raises(ConflictError):
        await clients.create_client(accounts.stores, "console", [], by="test")
    with pytest.raises(ConflictError, match="no credential"):
        await clients.add_credential(accounts.stores, "console", by="test")
    console = await clients.get_client(accounts.stores, "console")
    assert {"logs:read", "users:write", "clients:admin"} <= set(console.scopes)
    assert "users:authenticate" not in console.scopes


async def test_the_secret_of_a_session_is_good_for_nothing_but_the_console(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    await browser.sign_in()
    assert browser.secret
    as_bearer = await browser.http.get("/v1/me", headers={"Authorization": f"Bearer {browser.secret}"})
    assert as_bearer.status_code == 401
    with pytest.raises(sessions.RefreshRefusedError):
        await sessions.refresh(accounts, browser.secret, "shop", [])
    assert not await signed_in(browser)  # it was in the wrong hands


async def test_a_token_of_another_client_opens_no_console(
    browser: Browser, ada: UserView, accounts: Accounts
) -> None:
    from app.accounts.signing_in import Credentials, sign_in
    from tests.app.accounts.conftest import SHOP

    shop = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    assert (await browser.open_with(shop.refresh_token, ACCOUNT)).status_code == 303


async def test_what_is_no_secret_of_ours_is_nobody(browser: Browser) -> None:
    for cookie in ("", "x", "acv_x", "a" * 200, "\xff" * 50, "acv_" + "A" * 43):
        answer = await browser.http.get(
            ACCOUNT, headers=[(b"cookie", b"astrocore=" + cookie.encode("latin-1"))]
        )
        assert answer.status_code == 303, cookie


async def test_a_session_elsewhere_is_ended_from_here(
    browser: Browser, new_browser: Callable[[], Browser], ada: UserView
) -> None:
    other = new_browser()
    await browser.sign_in()
    await other.sign_in()
    await browser.open(ACCOUNT)
    ends = re.findall(r"/console/account/sessions/[0-9a-f-]{36}/end", browser.page.text)
    assert len(ends) == 1  # its own is left with "Sign out"
    done = await browser.submit(ends[0])
    assert done.headers["location"] == f"{ACCOUNT}?done=session"
    assert (await signed_in(browser), await signed_in(other)) == (True, False)
