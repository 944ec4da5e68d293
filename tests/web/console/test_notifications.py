"""Mail in the console: which there is, why one went or did not, and what is done about it."""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.accounts.permissions import Role
from app.clock import now
from app.notifications.addresses import suppressing
from app.notifications.delivering import callbacks, circuits
from app.notifications.delivering.transports.transport import Accepted, Refused, Retry
from app.notifications.ledger.states import State
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.notifications.post import ADA, PEOPLE, Refusing, ask, make_template, room, row
from tests.web.console.conftest import TEXT, Browser

ALL = "/console/notifications"
HOSTILE = "<script>alert(1)</script>"
SAFE = "&lt;script&gt;alert(1)&lt;/script&gt;"
WHY = "the launch was called off"


def links(browser: Browser) -> list[str]:
    return re.findall(rf'href="{ALL}/([0-9a-f-]{{36}})"', browser.page.text)


def forms(browser: Browser) -> set[str]:
    """What the open page lets one do."""
    return set(re.findall(rf'action="{ALL}/[0-9a-f-]{{36}}/(\w+)"', browser.page.text))


async def came_to(stores: Stores, mail: UUID, state: State) -> None:
    """As the workers would leave it."""
    await stores.core.execute(
        "UPDATE notifications SET state = $2, next_at = NULL WHERE id = $1", mail, state
    )


@pytest.fixture
async def booked(stores: Stores) -> Stores:
    await make_template(stores)
    return stores


async def test_mails_are_listed_the_newest_first_and_narrowed_by_a_form(
    operator: Browser, booked: Stores
) -> None:
    assert (await operator.open("/console")).headers["location"] == ALL
    await operator.open(ALL)
    assert "There is no such mail." in operator.text
    first, second = await ask(booked, *PEOPLE[:2])
    (later,) = await ask(booked, send_at=now() + timedelta(days=1))
    await operator.open(ALL)
    assert links(operator) == [str(later), str(second), str(first)]
    assert 'aria-current="page">Mail<' in operator.page.text
    batch = (await row(booked, later))["batch_id"]
    for asked, found in (
        (f"email={ADA.upper()}", [later]),
        ("state=pending&template=&email=", [second, first]),
        ("state=scheduled&template=booking", [later]),
        (f"batch={batch}", [later]),
        ("template=new-launch", []),
        ("schedule=invoices-due", []),
    ):
        await operator.open(f"{ALL}?{asked}")
        assert links(operator) == [str(each) for each in found], asked
    await operator.open(f"{ALL}?state=scheduled&template=booking")
    assert "<option selected>scheduled</option>" in operator.page.text
    assert "<option selected>booking</option>" in operator.page.text


async def test_older_mails_are_on_pages_of_their_own_which_keep_the_filter(
    operator: Browser, booked: Stores
) -> None:
    made = await ask(booked, *PEOPLE, *(f"q{number}@example.com" for number in range(15)))
    await ask(booked, send_at=now() + timedelta(days=1))
    await operator.open(f"{ALL}?state=pending")
    seen = links(operator)
    (more,) = re.findall(
        rf'class="button" href="({ALL}\?state=pending&amp;cursor=[\w-]+)"', operator.page.text
    )
    await operator.open(more.replace("&amp;", "&"))
    assert len(seen) == 50
    assert [UUID(each) for each in seen + links(operator)] == made[::-1]
    assert "Older ones" not in operator.text


async def test_what_is_no_filter_is_told_beside_its_field(operator: Browser, booked: Stores) -> None:
    await ask(booked)
    for asked in (
        "state=lost",
        "email=nobody",
        f"cursor={HOSTILE}",
        "batch=x",
        "recipient=1",
        "template=%00",
    ):
        answer = await operator.open(f"{ALL}?{asked}")
        assert (answer.status_code, links(operator)) == (422, []), asked
        assert 'class="wrong' in answer.text, asked
        assert HOSTILE not in answer.text
    await operator.open(f"{ALL}?email=nobody")
    assert "To is no e-mail address" in operator.text


async def test_a_page_tells_why_a_mail_went(operator: Browser, booked: Stores) -> None:
    (mail,) = await ask(booked, metadata={"booking": "AB-7"}, moment=now())
    answers = iter([Retry("451", "busy", of_service=False), Accepted(provider_id="p-1")])
    smtp = Refusing(lambda _: next(answers))
    await room(booked, smtp).run_due()
    await operator.open(f"{ALL}/{mail}")
    assert "It has not gone yet: retry: 451 busy. It is tried again at" in operator.text
    await booked.core.execute("UPDATE notifications SET next_at = now()")
    await room(booked, smtp).run_due()
    await callbacks.take(
        booked, callbacks.Callback("e1", mail, "deferred", now(), detail="greylisted"), moment=now()
    )
    answer = await operator.open(f"{ALL}/{mail}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, TEXT)
    for told in (
        "It went: the provider has taken it (smtp).", "By shop", "booking AB-7", "booking, version 1 (booking, en)",
        "Provider's id p-1", "by shop", "attempt 1 by smtp", "retry: 451 busy; again at", "attempt 2 accepted", "told: deferred greylisted",
        "handed over: from here on the provider may have it", "no end", '"name": "Ada"', "Hello Ada",
    ):  # fmt: skip
        assert told in operator.text, told
    assert forms(operator) == set()


async def test_and_why_one_did_not(operator: Browser, booked: Stores) -> None:
    first, second = await ask(booked), await ask(booked)
    await room(booked, Refusing(lambda _: Refused("550", "gone", hard_bounce=True)), at_once=1).run_due()
    await operator.open(f"{ALL}/{first[0]}")
    assert "It did not go: 550 gone." in operator.text
    assert "The address gets no such mail: hard bounce." in operator.text
    await operator.open(f"{ALL}/{second[0]}")
    assert "It did not go: the address is blocked: hard_bounce." in operator.text
    await operator.open(f"{ALL}?state=suppressed")
    assert "the address is blocked: hard_bounce" in operator.text


async def test_a_mail_that_waits_for_a_service_that_fails_says_so(operator: Browser, booked: Stores) -> None:
    (mail,) = await ask(booked)
    for _ in range(circuits.FAILURES):
        admission = await circuits.admit(booked.core, "smtp")
        await circuits.settle(booked.core, "smtp", admission, Retry("421", "closing", of_service=True))
    await operator.open(f"{ALL}/{mail}")
    assert (
        f"The way that it goes (smtp) has failed {circuits.FAILURES} times in a row, the last time with: 421 closing; "
        "it is tried again at"
    ) in operator.text
    await booked.core.execute("UPDATE notification_templates SET enabled = false, disabled_because = 'wrong'")
    await operator.open(f"{ALL}/{mail}")
    assert "But its template is disabled: wrong." in operator.text
    await booked.core.execute("UPDATE notifications SET state = 'cancelled', next_at = NULL")
    await operator.open(f"{ALL}/{mail}")
    assert "in a row" not in operator.text
    assert "is disabled" not in operator.text


async def test_what_a_mail_says_is_shown_and_can_do_nothing(operator: Browser, booked: Stores) -> None:
    (mail,) = await ask(booked, data={"name": HOSTILE}, metadata={HOSTILE: HOSTILE})
    await booked.core.execute(
        "UPDATE notifications SET subject = $1, body_text = $1, body_html = $2, because = $1",
        HOSTILE,
        f"<html><head lang=en><title>x</title></head><body><base target='_top'>{HOSTILE}</body></html>",
    )
    answer = await operator.open(f"{ALL}/{mail}")
    assert HOSTILE not in answer.text
    assert answer.text.count(SAFE) >= 5
    assert f'<iframe sandbox src="{ALL}/{mail}/html"' in answer.text
    assert answer.headers["content-security-policy"].endswith("; frame-src 'self'")
    framed = await operator.http.get(f"{ALL}/{mail}/html")
    policy = set(framed.headers["content-security-policy"].split("; "))
    assert policy == {
        "sandbox", "default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "form-action 'none'",
        "base-uri 'none'", "frame-ancestors 'self'",
    }  # fmt: skip
    assert framed.headers["content-type"] == TEXT
    assert framed.text.startswith('<html><head lang=en><base target="_blank"><title>')
    assert framed.headers["cache-control"] == "no-store"


async def test_what_a_mail_about_an_account_says_is_shown_to_nobody(
    operator: Browser, stores: Stores
) -> None:
    await make_template(stores, Kind.SECURITY)
    (mail,) = await ask(stores, kind=Kind.SECURITY, data={"name": "a-token"})
    await room(stores, Refusing()).run_due()
    answer = await operator.open(f"{ALL}/{mail}")
    assert "It is not shown: it holds a secret of its reader" in operator.text
    assert "a-token" not in answer.text
    assert "<iframe" not in answer.text
    assert (await operator.http.get(f"{ALL}/{mail}/html")).status_code == 404


async def test_a_mail_is_sent_at_another_time_and_taken_back(
    operator: Browser, booked: Stores, woken: list[Any]
) -> None:
    (mail,) = await ask(booked, send_at=now() + timedelta(days=1))
    here = f"{ALL}/{mail}"
    await operator.open(here)
    assert forms(operator) == {"cancel", "reschedule"}
    wrong = await operator.submit(f"{here}/reschedule", send_at="soon")
    assert wrong.status_code == 422
    assert "When is an instant, as 2027-03-14T15:30:00Z" in operator.text
    assert 'value="soon"' in wrong.text
    await booked.core.execute("UPDATE notifications SET not_after = send_at + interval '1 day'")
    late = (now() + timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await operator.submit(f"{here}/reschedule", send_at=late)).status_code == 422
    assert "When must lie before " in operator.text
    done = await operator.submit(f"{here}/reschedule", send_at="2020-01-01T00:00:00Z")
    assert (done.status_code, done.headers["location"]) == (303, f"{here}?done=rescheduled")
    assert woken == ["delivery"]

    await operator.open(here)
    silent = await operator.submit(f"{here}/cancel")
    assert silent.status_code == 422
    assert "Reason is required." in operator.text
    assert re.search(r'<details class="action" open>\s*<summary>Take it back', silent.text)
    done = await operator.submit(f"{here}/cancel", reason=WHY)
    await operator.open(done.headers["location"])
    assert "The mail is taken back." in operator.text
    assert f"It did not go: {WHY}." in operator.text
    again = await operator.submit(f"{here}/cancel", reason=WHY)
    assert again.status_code == 409
    assert "The notification is cancelled" in operator.text


async def test_a_mail_that_did_not_go_is_sent_again_as_another_one(
    operator: Browser, booked: Stores, woken: list[Any]
) -> None:
    (mail,) = await ask(booked)
    await came_to(booked, mail, State.FAILED)
    await operator.open(f"{ALL}/{mail}")
    assert forms(operator) == {"retry"}
    done = await operator.submit(f"{ALL}/{mail}/retry", reason=WHY)
    assert woken == ["delivery"]
    await operator.open(done.headers["location"])
    assert f'href="{ALL}/{mail}">the mail that it repeats' in operator.page.text
    other = done.headers["location"].removesuffix("?done=retried")
    await operator.open(f"{ALL}/{mail}")
    assert f'href="{other}">the mail that followed' in operator.page.text
    assert forms(operator) == set()
    again = await operator.submit(f"{ALL}/{mail}/retry", reason=WHY)
    assert (again.status_code, "it was retried before" in operator.text) == (409, True)


async def test_of_a_mail_that_may_have_gone_it_is_said_whether_it_has(
    operator: Browser, booked: Stores
) -> None:
    (mail,) = await ask(booked)
    await came_to(booked, mail, State.UNKNOWN)
    await operator.open(f"{ALL}/{mail}")
    assert forms(operator) == {"retry", "resolve"}
    assert "its recipient may get it twice" in operator.text
    silent = await operator.submit(f"{ALL}/{mail}/resolve", reason=WHY)
    assert silent.status_code == 422
    assert "Say which." in operator.text
    done = await operator.submit(f"{ALL}/{mail}/resolve", reason=WHY, state="failed")
    assert done.headers["location"] == f"{ALL}/{mail}?done=resolved"
    assert (await row(booked, mail))["state"] == "failed"


async def test_whoever_may_only_look_is_offered_nothing_and_others_do_not_even_look(
    signed_in_as: Callable[[Role], Awaitable[Browser]], booked: Stores
) -> None:
    (mail,) = await ask(booked)
    auditor, customer = await signed_in_as(Role.AUDITOR), await signed_in_as(Role.CUSTOMER)
    assert (await auditor.open(f"{ALL}/{mail}")).status_code == 200
    assert forms(auditor) == set()
    for what in ("cancel", "reschedule", "retry", "resolve"):
        assert (await auditor.submit(f"{ALL}/{mail}/{what}", reason=WHY)).status_code == 403
    assert (await row(booked, mail))["state"] == "pending"
    for path in (ALL, f"{ALL}/{mail}", f"{ALL}/{mail}/html"):
        assert (await customer.open(path)).status_code == 403
    assert (await customer.open("/console")).headers["location"] == "/console/account"
    await customer.open("/console/account")
    assert ALL not in customer.page.text


async def test_whoever_is_no_operator_decides_about_what_was_asked_for_through_the_console(
    operator: Browser, booked: Stores
) -> None:
    (ours,), (others,) = await ask(booked), await ask(booked)
    mine = "UPDATE notification_batches SET client = 'console' WHERE id = $1"
    await booked.core.execute(mine, (await row(booked, ours))["batch_id"])
    await booked.core.execute("UPDATE clients SET scopes = array_remove(scopes, 'queues:operate')")
    for mail, offered in ((ours, {"cancel", "reschedule"}), (others, set())):
        await operator.open(f"{ALL}/{mail}")
        assert forms(operator) == offered
    for what in ({"reschedule": {"send_at": "2020-01-01T00:00:00Z"}}, {"cancel": {"reason": WHY}}):
        ((name, given),) = what.items()
        assert (await operator.submit(f"{ALL}/{others}/{name}", **given)).status_code == 403
        assert (await operator.submit(f"{ALL}/{ours}/{name}", **given)).status_code == 303
    await came_to(booked, others, State.FAILED)
    assert (await operator.submit(f"{ALL}/{others}/retry", reason=WHY)).status_code == 403


async def test_lists_name_users_and_not_their_addresses(operator: Browser, stores: Stores) -> None:
    await make_template(stores, Kind.SECURITY)
    (mail,) = await ask(stores, kind=Kind.SECURITY, data={"name": "a-token"})
    user = uuid4()
    await stores.core.execute("UPDATE notifications SET recipient_kind = 'user', recipient_id = $1", user)
    await operator.open(ALL)
    assert f"to user {user}, pending" in operator.page.text
    assert ADA not in operator.page.text
    assert ADA in (await operator.open(f"{ALL}/{mail}")).text


async def test_a_mail_to_nobody_and_one_whose_address_is_erased_are_told_apart(
    operator: Browser, booked: Stores
) -> None:
    (mail,) = await ask(booked)
    for email, told in (("", "to nobody, pending"), (None, "to an address that is erased, pending")):
        await booked.core.execute("UPDATE notifications SET email = $1", email)
        assert told in (await operator.open(ALL)).text
        assert told.split(",")[0].removeprefix("to ") in (await operator.open(f"{ALL}/{mail}")).text


async def test_what_is_not_there_is_not_found(operator: Browser) -> None:
    await operator.open(ALL)
    nobody = f"{ALL}/{uuid4()}"
    asked = [await operator.http.get(nobody), await operator.http.get(f"{nobody}/html")]
    asked += [await operator.submit(f"{nobody}/{what}", reason=WHY) for what in ("cancel", "retry")]
    assert [each.status_code for each in asked] == [404] * 4


async def test_an_address_that_gets_no_more_of_a_kind_is_told(operator: Browser, stores: Stores) -> None:
    await make_template(stores, Kind.DIGEST)
    (mail,) = await ask(stores, kind=Kind.DIGEST)
    async with stores.core.acquire() as connection:
        await suppressing.suppress(connection, ADA, "digest", "unsubscribe", by="test", moment=now())
    await operator.open(f"{ALL}/{mail}")
    assert "It is about to go. But its address is blocked: unsubscribe." in operator.text
