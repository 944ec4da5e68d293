"""The console as an operator uses it: by keyboard, in a real browser, without scripts."""

import time
from base64 import b32decode
from datetime import timedelta
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.clock import now
from app.embedded.mailbox import Mailbox
from app.embedded.operator import EMAIL, FILE
from tests.stories.conftest import System, wait_for
from tests.web.notifications.orders import ALL, order

PASSWORD = "a song about seven small ships"
NEW = "nine lanterns under a slow river"
SIGN_IN, ACCOUNT, MAILS = "/console/sign-in", "/console/account", "/console/notifications"


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
    # The body has the focus where nothing on the page has it.
    focused = "(document.activeElement === document.body ? null : document.activeElement)"
    named = f"{focused}?.getAttribute('aria-label') || {focused}?.innerText"
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
    """An operator is led to the mail first."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Mail")


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
    tab_to(page, "My account")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("My account")
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
    page.goto(ACCOUNT)
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
    expect(page.get_by_role("heading", level=1)).to_have_text("My account")


def go_to(page: Page, name: str) -> None:
    """Follow a link, or press a button, by keyboard."""
    tab_to(page, name)
    page.keyboard.press("Enter")


def test_an_operator_looks_at_why_a_mail_went_and_takes_another_back(
    page: Page, system: System, email: str
) -> None:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    address = f"ada-{uuid4().hex[:8]}@example.com"
    tomorrow = (now() + timedelta(days=1)).isoformat()
    for more in ({"send_at": tomorrow}, {}):
        wanted = order(recipients=[{"email": address}], metadata={"booking": "AB-7K2Q9"}, **more)
        assert system.api.post(ALL, json=wanted, headers={"Idempotency-Key": str(uuid4())}).status_code == 202
    listed = f"{ALL}?status=sent&email={address}"
    wait_for(lambda: system.api.get(listed).json()["items"], bool)

    sign_in(page, email)
    is_inside(page)
    page.goto(f"{MAILS}?state=sent&email={address}")
    go_to(page, f"booking-confirmation to {address}, sent")
    expect(page.get_by_text("It went: the provider has taken it (smtp).")).to_be_visible()
    expect(page.get_by_role("row", name="handed over: from here on the provider may have it")).to_be_visible()
    expect(page.get_by_text("AB-7K2Q9").first).to_be_visible()
    framed = page.frame_locator("iframe")
    expect(framed.get_by_role("heading", name="You are going to the Moon")).to_be_visible()
    before = page.url
    framed.get_by_role("link").first.click()
    assert (page.url, len(page.context.pages)) == (before, 1)  # links in it lead nowhere
    expect(framed.get_by_role("heading", name="You are going to the Moon")).to_be_visible()

    go_to(page, "Mailbox")
    expect(page.get_by_role("heading", level=1)).to_have_text("Mailbox")
    page.get_by_role("row", name=address).get_by_role("link").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Booking confirmed: 2 seats to the Moon")
    expect(page.frame_locator("iframe").get_by_text("AB-7K2Q9").first).to_be_visible()

    page.goto(f"{MAILS}?state=scheduled&email={address}")
    go_to(page, f"booking-confirmation to {address}, scheduled")
    expect(page.get_by_text("It has not gone yet: it waits for")).to_be_visible()
    go_to(page, "Take it back")
    page.keyboard.press("Tab")
    type_in(page, "booked twice")
    expect(page.get_by_role("status")).to_have_text("The mail is taken back.")
    expect(page.get_by_text("It did not go: booked twice.")).to_be_visible()
    assert [each.partition(" '")[0] for each in faults] == ["Blocked opening"]  # of the link


def test_who_forgot_a_password_sets_another_by_the_link_out_of_the_mailbox(
    page: Page, chromium: Browser, system: System, email: str
) -> None:
    page.goto(SIGN_IN)
    go_to(page, "Forgot your password?")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    type_in(page, email)
    expect(page.get_by_role("status")).to_contain_text("a mail is on its way to it")
    wait_for(lambda: [each for each in Mailbox.below(system.data_dir).latest(20) if email in each.to], bool)

    with chromium.new_context(base_url=str(system.api.base_url)) as elsewhere:
        operator = elsewhere.new_page()
        sign_in(operator, EMAIL, (system.data_dir / FILE).read_text())
        is_inside(operator)
        operator.goto("/console/mailbox")
        operator.get_by_role("row", name=email).get_by_role("link").focus()
        operator.keyboard.press("Enter")
        link = operator.get_by_role("link", name="/console/reset?token=").get_attribute("href")
    assert link
    page.goto(link)
    expect(page.get_by_text(f"For {email}")).to_be_visible()
    expect(page.get_by_label("New password", exact=True)).to_be_focused()
    type_in(page, "too short", "too short")
    expect(page.get_by_text("15 is the least")).to_be_visible()
    expect(page.get_by_label("New password", exact=True)).to_be_focused()
    assert "token=" not in page.url
    type_in(page, NEW, NEW)
    expect(page.get_by_role("status")).to_contain_text("Your new password is set")
    go_to(page, "Sign in here")
    expect(page.get_by_label("E-mail address")).to_be_focused()
    type_in(page, email, NEW)
    is_inside(page)
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("This link is not good any more")
