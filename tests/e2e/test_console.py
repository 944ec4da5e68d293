"""The console as an operator uses it: by keyboard, in a real browser, without scripts."""

import time
from base64 import b32decode
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.embedded.operator import EMAIL, FILE
from tests.stories.conftest import System

PASSWORD = "a song about seven small ships"
SIGN_IN, ACCOUNT = "/console/sign-in", "/console/account"


@pytest.fixture
def email(system: System) -> str:
    """An operator of this test alone."""
    address = f"op-{uuid4().hex[:8]}@example.com"
    body = {"email": address, "password": PASSWORD, "roles": ["operator"]}
    assert system.api.post("/v1/users", json=body).status_code == 201
    return address


def type_in(page: Page, *fields: str) -> None:
    """Type what goes into one field after the other, and send it, without a mouse."""
    for number, each in enumerate(fields):
        if number:
            page.keyboard.press("Tab")
        page.keyboard.type(each)
    page.keyboard.press("Enter")


def tab_to(page: Page, name: str) -> None:
    """Go on by keyboard to what has this name."""
    named = "document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"
    for _ in range(40):
        page.keyboard.press("Tab")
        if name in str(page.evaluate(named)):
            return
    raise AssertionError(f"nothing that the keyboard reaches is called {name}")


def sign_in(page: Page, email: str, password: str = PASSWORD, *code: str) -> None:
    page.goto(SIGN_IN)
    expect(page.get_by_label("E-mail address")).to_be_focused()
    type_in(page, email, password, *code)


def is_inside(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("My account")


def test_the_operator_of_the_banner_signs_in_by_keyboard_and_out_again(
    page: Page, context: BrowserContext, system: System
) -> None:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.goto("/console")
    expect(page).to_have_title("Sign in · AstroBookings Core")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    type_in(page, EMAIL, (system.data_dir / FILE).read_text())
    is_inside(page)
    expect(page.get_by_text(EMAIL)).to_be_visible()
    expect(page.get_by_text("reconciliation:operate")).to_be_visible()

    (cookie,) = context.cookies()
    assert (cookie["name"], cookie["path"], cookie["httpOnly"]) == ("astrocore", "/", True)
    assert (cookie["sameSite"], cookie["expires"]) == ("Lax", -1)

    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert EMAIL not in page.content()
    assert faults == []  # such as of a policy that something on a page breaks


def test_a_wrong_password_is_told_and_the_address_kept(page: Page, email: str) -> None:
    sign_in(page, email, "wrong")
    expect(page.get_by_role("alert")).to_have_text("The address, the password or the code is wrong.")
    expect(page.get_by_label("E-mail address")).to_have_value(email)
    expect(page.get_by_label("Password")).to_have_value("")
    expect(page.get_by_label("Password")).to_be_focused()
    type_in(page, PASSWORD)
    is_inside(page)


def test_a_second_factor_is_set_up_and_asked_for(page: Page, email: str) -> None:
    sign_in(page, email)
    is_inside(page)
    tab_to(page, "Set up a second factor")
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    assert page.get_by_role("img", name="QR code").evaluate("image => image.naturalWidth") > 100
    totp = TOTP(b32decode(page.locator("[name=secret]").input_value()), 6, SHA1(), 30)
    expect(page.get_by_label("Code")).to_be_focused()
    moment = int(time.time())
    type_in(page, totp.generate(moment).decode())
    expect(page.get_by_role("heading", level=1)).to_have_text("Recovery codes")
    recovery = page.locator(".codes code").first.inner_text()
    assert page.locator(".codes code").count() == 10

    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    sign_in(page, email)
    expect(page.get_by_role("alert")).to_contain_text("a code of your second factor")
    expect(page.get_by_label("Password")).to_be_focused()
    type_in(page, PASSWORD, totp.generate(moment + 30).decode())
    is_inside(page)
    sign_in(page, email, PASSWORD, recovery)
    is_inside(page)


def test_a_session_elsewhere_is_ended_from_here(
    page: Page, chromium: Browser, system: System, email: str
) -> None:
    sign_in(page, email)
    is_inside(page)
    with chromium.new_context(base_url=str(system.api.base_url)) as elsewhere:
        other = elsewhere.new_page()
        sign_in(other, email)
        is_inside(other)
        page.goto(ACCOUNT)
        tab_to(page, "End the session")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_have_text("That session has ended.")
        other.goto(ACCOUNT)
        expect(other.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.reload()
    is_inside(page)
