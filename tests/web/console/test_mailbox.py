"""The mailbox of an embedded system in the console."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path

import pytest
from litestar import Litestar

from app.accounts.permissions import Role
from app.clock import now
from app.embedded.mailbox import Mailbox
from tests.web.console.conftest import TEXT, Browser

ALL = "/console/mailbox"
HOSTILE = "<script>alert(1)</script>"
LINK = "http://core/console/reset?token=acl_x&y=1"


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    made = Mailbox.below(tmp_path)
    made.folder.mkdir()
    return made


def kept(mailbox: Mailbox, *, html: str | None = None) -> str:
    message = EmailMessage()
    message["Delivered-To"], message["To"] = "ada@example.com", "ada@example.com"
    message["From"], message["Subject"], message["X-Odd"] = "no-reply@example.com", HOSTILE, HOSTILE
    message.set_content(f"{HOSTILE}\n\n{LINK}\n")
    if html:
        message.add_alternative(html, subtype="html")
    return mailbox.keep(message.as_bytes(), now())


async def test_messages_are_listed_and_shown_and_can_do_nothing(operator: Browser, mailbox: Mailbox) -> None:
    await operator.open(ALL)
    assert "Nothing yet." in operator.text
    first, second = kept(mailbox), kept(mailbox, html=f"<p>{HOSTILE}</p>")
    await operator.open(ALL)
    assert operator.page.text.index(second) < operator.page.text.index(first)
    assert 'aria-current="page">Mailbox<' in operator.page.text

    shown = await operator.open(f"{ALL}/{second}")
    assert HOSTILE not in shown.text
    assert shown.text.count("&lt;script&gt;") >= 4
    # Its text leads somewhere, as in a mail program.
    assert f'<a href="{LINK.replace("&", "&amp;")}" rel="' in shown.text
    assert f'<iframe sandbox src="{ALL}/{second}/html"' in shown.text
    framed = await operator.http.get(f"{ALL}/{second}/html")
    assert framed.headers["content-type"] == TEXT
    assert framed.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert framed.text.startswith(f'<base target="_blank"><p>{HOSTILE}')

    plain = await operator.open(f"{ALL}/{first}")
    assert "<iframe" not in plain.text
    assert (await operator.http.get(f"{ALL}/{first}/html")).status_code == 404


async def test_what_is_no_message_is_not_found(operator: Browser, mailbox: Mailbox) -> None:
    (mailbox.folder.parent / "secret.eml").write_text("Subject: x\n\ny")
    for name in ("x", "..%2Fsecret", "%00", "20260101T000000000000-00000000"):
        for path in (f"{ALL}/{name}", f"{ALL}/{name}/html"):
            assert (await operator.open(path)).status_code == 404, path


async def test_whoever_may_not_operate_sees_none_of_it_for_links_to_set_passwords_lie_there(
    signed_in_as: Callable[[Role], Awaitable[Browser]], mailbox: Mailbox
) -> None:
    message = kept(mailbox)
    auditor = await signed_in_as(Role.AUDITOR)
    for path in (ALL, f"{ALL}/{message}", f"{ALL}/{message}/html"):
        assert (await auditor.open(path)).status_code == 403
    await auditor.open("/console/account")
    assert ALL not in auditor.page.text


@pytest.mark.parametrize("where", ["production", "elsewhere"])
async def test_there_is_no_mailbox_where_mail_goes_to_people(
    operator: Browser, web: Litestar, mailbox: Mailbox, where: str
) -> None:
    message = kept(mailbox)
    changed = {"environment": "development"} if where == "production" else {"data_dir": mailbox.folder}
    stores = web.state.stores
    web.state.stores = replace(stores, settings=stores.settings.model_copy(update=changed))
    if where == "production":
        operator.http.cookies.set("__Host-astrocore", operator.secret or "")
    for path in (ALL, f"{ALL}/{message}", f"{ALL}/{message}/html"):
        assert (await operator.open(path)).status_code == 404
    await operator.open("/console/account")
    assert "My account" in operator.text
    assert ALL not in operator.page.text
