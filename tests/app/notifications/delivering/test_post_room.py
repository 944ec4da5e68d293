"""Delivery on a real core DB and Redis, to a real mail server and a real receiver of HTTP."""

import asyncio
import re
from dataclasses import replace
from datetime import timedelta

import pytest

from app.accounts.encryption import Safe
from app.notifications.delivering.transports.transport import (
    Mail,
    MailUnfitError,
    Refused,
    Retry,
)
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.delivering.transports.http_receiver import receiving
from tests.app.notifications.delivering.transports.mail_servers import running
from tests.app.notifications.post import (
    ADA,
    PEOPLE,
    Refusing,
    Wire,
    ask,
    attempts,
    events,
    let_claims_run_out,
    letters,
    make_template,
    room,
    row,
    states,
    transport,
)

BUSY = Retry("451", "come again", of_service=False)


async def test_a_mail_goes_once_as_it_was_asked_for(booked: Stores) -> None:
    (asked,) = await ask(booked, data={"name": "Ñandú"})
    async with running() as server, transport(server.settings()) as smtp:
        assert await room(booked, smtp).run_due() is None
        assert await room(booked, smtp).run_due() is None
    message = server.message
    assert (message["To"], message["Subject"]) == (ADA, "Hello Ñandú")
    assert message["Message-ID"] == f"<{asked}@astrobookings.example>"
    sent = await row(booked, asked)
    assert (sent["state"], sent["attempts"], sent["next_at"], sent["claimed_by"]) == ("sent", 1, None, None)
    assert "Hello Ñandú" in sent["body_text"]
    assert await attempts(booked, asked) == [("accepted", None)]
    assert await events(booked, asked) == ["pending", "sending", "sent"]


async def test_two_workers_at_once_send_each_mail_once(booked: Stores) -> None:
    await ask(booked, *PEOPLE)
    async with running() as server, transport(server.settings()) as one, transport(server.settings()) as two:
        await asyncio.gather(room(booked, one).run_due(), room(booked, two).run_due())
    assert sorted(each.rcpt_tos[0] for each in server.taken) == sorted(PEOPLE)
    assert await states(booked) == {"sent": len(PEOPLE)}


async def test_mails_go_by_priority_and_then_by_time(booked: Stores) -> None:
    for number, priority in enumerate((3, 1, 5, 2, 1)):
        await ask(booked, f"p{number}@example.com", priority=priority)
    smtp = Refusing()
    await room(booked, smtp, at_once=1).run_due()
    assert [each.to[:2] for each in smtp.taken] == ["p1", "p4", "p3", "p0", "p2"]


async def test_a_mail_that_is_not_due_waits_and_its_time_is_told(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, send_at=time() + timedelta(minutes=10), moment=time())
    smtp = Refusing()
    assert await room(booked, smtp, time=time).run_due() == pytest.approx(600, abs=1)
    time.passes(timedelta(minutes=11))
    assert await room(booked, smtp, time=time).run_due() is None
    assert await events(booked, asked) == ["scheduled", "sending", "sent"]


async def test_what_is_refused_now_is_tried_again_later_and_ends_in_one_mail(
    booked: Stores, time: Time
) -> None:
    (asked,) = await ask(booked, moment=time())
    async with running() as server, transport(server.settings()) as smtp:
        server.dot = "451 4.2.0 come again"
        assert await room(booked, smtp, time=time).run_due() == pytest.approx(5, abs=0.1)
        assert await room(booked, smtp, time=time).run_due() == pytest.approx(5, abs=0.1)
        assert (await row(booked, asked))["state"] == "sending"
        time.passes(timedelta(seconds=6))
        server.dot = "250 ok"
        assert await room(booked, smtp, time=time).run_due() is None
    assert server.message["Message-ID"] == f"<{asked}@astrobookings.example>"
    assert await attempts(booked, asked) == [("retry", "451"), ("accepted", None)]


async def test_retry_after_is_kept(booked: Stores, time: Time) -> None:
    await ask(booked, transport="http", moment=time())
    async with receiving() as receiver, transport(receiver.settings()) as http:
        receiver.status, receiver.headers = 429, {"Retry-After": "900"}
        assert await room(booked, http, time=time).run_due() == pytest.approx(900, abs=10)
        time.passes(timedelta(seconds=910))
        await booked.core.execute("UPDATE transport_circuits SET trial_at = now()")
        receiver.status, receiver.headers = 202, {}
        assert await room(booked, http, time=time).run_due() is None
    assert len({each["idempotency-key"] for each in receiver.asked}) == 1
    assert receiver.bodies[0] == receiver.bodies[1]


async def test_a_mail_is_given_up_after_hours_and_not_before(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, moment=time())
    began, smtp = time(), Refusing(lambda _: BUSY)
    while (waits := await room(booked, smtp, time=time).run_due()) is not None:
        time.passes(timedelta(seconds=waits + 0.01))
    assert time() - began > timedelta(hours=4)
    ended = await row(booked, asked)
    assert (ended["state"], ended["because"]) == ("failed", "tried too often: 451 come again")
    assert len(smtp.taken) == ended["attempts"] == ended["tries"] + 1


async def test_a_mail_that_may_have_gone_is_not_given_up_as_failed(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, transport="http", moment=time())
    doubtful = iter([Retry("connection", "no answer", of_service=False, doubtful=True)])
    http = Refusing(lambda _: next(doubtful, BUSY), name="http", dedupes=True)
    while (waits := await room(booked, http, time=time).run_due()) is not None:
        time.passes(timedelta(seconds=waits + 0.01))
    assert (await row(booked, asked))["state"] == "unknown"


async def test_a_refusal_is_final_and_an_address_that_is_gone_is_written_to_no_more(booked: Stores) -> None:
    first, second = [(await ask(booked))[0] for _ in range(2)]
    (other,) = await ask(booked, "bob@example.com")
    async with running() as server, transport(server.settings()) as smtp:
        server.rcpt = "550 5.1.1 no such user ada@example.com"
        await room(booked, smtp, at_once=1).run_due()
    assert [(await row(booked, each))["state"] for each in (first, second)] == ["failed", "suppressed"]
    assert await attempts(booked, first) == [("refused", "550")]
    assert await attempts(booked, second) == []
    assert "ada" not in (await row(booked, first))["because"]
    assert (
        await booked.core.fetchval("SELECT reason FROM suppressions WHERE email_key = $1", ADA)
        == "hard_bounce"
    )
    assert (await row(booked, other))["state"] == "failed"


async def test_only_what_may_have_gone_and_would_go_twice_is_parked(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with running() as server, transport(server.settings()) as smtp:
        server.dot = None
        assert await room(booked, smtp).run_due() is None
    assert (await row(booked, asked))["state"] == "unknown"
    assert await attempts(booked, asked) == [("unknown", "connection")]


async def test_without_an_answer_a_service_that_dedupes_is_asked_again_under_the_same_key(
    booked: Stores, time: Time
) -> None:
    (asked,) = await ask(booked, transport="http", moment=time())
    async with receiving() as receiver, transport(receiver.settings()) as http:
        receiver.status = None
        assert await room(booked, http, time=time).run_due() == pytest.approx(5, abs=0.1)
        time.passes(timedelta(seconds=6))
        receiver.status = 202
        assert await room(booked, http, time=time).run_due() is None
    assert [each["idempotency-key"] for each in receiver.asked] == [f'"{asked}"'] * 2
    assert await attempts(booked, asked) == [("unknown", "connection"), ("accepted", None)]


# What must not go any more.


async def test_a_mail_whose_time_is_over_is_not_sent(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, not_after=time() + timedelta(minutes=5), moment=time())
    smtp = Refusing()
    time.passes(timedelta(minutes=5))
    assert await room(booked, smtp, time=time).run_due() is None
    assert (smtp.taken, (await row(booked, asked))["state"]) == ([], "expired")


async def test_a_mail_whose_time_ends_between_the_claim_and_the_wire_is_not_sent(
    booked: Stores, time: Time
) -> None:
    (asked,) = await ask(booked, not_after=time() + timedelta(minutes=5), moment=time())

    async def dawdle(_: object) -> None:
        time.passes(timedelta(minutes=5))

    async with running() as server, transport(server.settings()) as smtp:
        assert await room(booked, Wire(smtp, before=dawdle), time=time).run_due() is None
    assert server.taken == []
    assert await events(booked, asked) == ["pending", "sending", "expired"]
    assert (await row(booked, asked))["attempts"] == 0


async def test_what_is_blocked_between_the_claim_and_the_wire_is_not_sent(booked: Stores) -> None:
    await ask(booked, *PEOPLE[:3])

    async def switch_off(_: object) -> None:
        await booked.core.execute(
            "UPDATE notification_templates SET enabled = false, disabled_because = 'a typo'"
        )

    smtp = Refusing()
    assert await room(booked, Wire(smtp, before=switch_off)).run_due() is None
    assert (smtp.taken, await states(booked)) == ([], {"suppressed": 3})


async def test_nothing_goes_from_a_template_that_is_switched_off(booked: Stores) -> None:
    (asked,) = await ask(booked)
    await booked.core.execute(
        "UPDATE notification_templates SET enabled = false, disabled_because = 'a typo'"
    )
    smtp = Refusing()
    assert await room(booked, smtp).run_due() is None
    ended = await row(booked, asked)
    assert (smtp.taken, ended["state"], ended["because"]) == (
        [],
        "suppressed",
        "the template is disabled: a typo",
    )


async def test_a_claim_that_ran_out_while_its_holder_works_ends_in_one_mail(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with running() as server, transport(server.settings()) as one, transport(server.settings()) as two:

        async def others_come(_: object) -> None:
            await let_claims_run_out(booked)
            await room(booked, two).run_due()

        await room(booked, Wire(one, before=others_come)).run_due()
    assert len(server.taken) == 1
    assert (await row(booked, asked))["state"] == "sent"
    assert await attempts(booked, asked) == [("abandoned", None), ("accepted", None)]


async def test_a_late_answer_settles_what_was_in_doubt(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with running() as server, transport(server.settings()) as one, transport(server.settings()) as two:

        async def others_come(_: object) -> None:
            await let_claims_run_out(booked)
            await room(booked, two).run_due()
            assert (await row(booked, asked))["state"] == "unknown"

        await room(booked, Wire(one, after=others_come)).run_due()
    assert len(server.taken) == 1
    assert await events(booked, asked) == ["pending", "sending", "unknown", "sent"]
    assert await attempts(booked, asked) == [("accepted", None)]


async def test_a_late_refusal_settles_it_too(booked: Stores) -> None:
    (asked,) = await ask(booked)

    async def others_come(*_: object) -> None:
        await let_claims_run_out(booked)
        await room(booked, Refusing()).run_due()

    refusing = Refusing(lambda _: Refused("554", "no"))
    await room(booked, Wire(refusing, answered=others_come)).run_due()
    assert await events(booked, asked) == ["pending", "sending", "unknown", "failed"]


# Mails that are a trouble to others.


async def test_a_mail_that_is_locked_with_a_key_that_is_not_here_yet_goes_when_it_is(
    booked: Stores, time: Time
) -> None:
    await make_template(booked, Kind.SECURITY)
    (asked,) = await ask(booked, kind=Kind.SECURITY, moment=time())
    smtp = Refusing()
    others = room(booked, smtp, time=time)
    keys = Safe({"old": b"o" * 32}, "old")
    await replace(others, letters=letters(booked, keys)).run_due()
    assert (await row(booked, asked))["state"] == "sending"
    assert await attempts(booked, asked) == [("retry", "locked")]
    time.passes(timedelta(seconds=11))
    await others.run_due()
    assert (await row(booked, asked))["state"] == "sent"


async def test_one_mail_that_hangs_holds_up_no_other(booked: Stores, time: Time) -> None:
    await ask(booked, "slow@example.com", moment=time())
    hangs, go_on = asyncio.Event(), asyncio.Event()

    async def hang(mail) -> None:
        if mail.to.startswith("slow"):
            hangs.set()
            await go_on.wait()

    smtp = Refusing()
    work = room(booked, Wire(smtp, after=hang), at_once=2, time=time).run_due()
    working = asyncio.create_task(work)
    await hangs.wait()
    # One after the other has the place that is left.
    await ask(booked, *PEOPLE[:5], moment=time())
    for _ in range(200):
        if len(smtp.taken) == 5:
            break
        await asyncio.sleep(0.05)
    gone = len(smtp.taken)
    go_on.set()
    await working
    assert gone == 5


async def test_mails_that_cannot_be_written_fail_and_hold_up_no_other(booked: Stores) -> None:
    await make_template(booked, Kind.ALERT, "{{ [1] | map(attribute='a' * 3) | first + name }}")
    (unrenderable,) = await ask(booked, kind=Kind.ALERT, priority=1)
    (erased,) = await ask(booked, priority=1)
    (gone,) = await ask(booked, priority=1)
    await booked.core.execute("UPDATE notifications SET data = NULL WHERE id = $1", erased)
    await booked.core.execute("UPDATE notifications SET template = 'vanished' WHERE id = $1", gone)
    (fine,) = await ask(booked)
    assert await room(booked, Refusing(), at_once=2).run_due() is None
    assert (await row(booked, fine))["state"] == "sent"
    for each, because in (
        (unrenderable, "template "),
        (erased, "template what it was to be filled with is erased"),
        (gone, "template no version 1 of a template vanished"),
    ):
        ended = await row(booked, each)
        assert ended["state"] == "failed", each
        assert ended["because"].startswith(because)


async def test_a_mail_that_no_service_could_take_fails_and_holds_up_no_other(booked: Stores) -> None:
    unfit, _ = await ask(booked, "unfit@example.com", ADA)

    class Composing(Refusing):
        def compose(self, mail: Mail) -> Mail:
            if mail.to.startswith("unfit"):
                raise MailUnfitError("a line too long")
            return mail

    await room(booked, Composing(dedupes=True)).run_due()
    assert await states(booked) == {"failed": 1, "sent": 1}
    assert (await row(booked, unfit))["because"] == "unfit a line too long"


async def test_a_mail_that_met_an_error_nobody_expected_is_tried_again_unless_it_may_have_gone(
    booked: Stores, time: Time
) -> None:
    early, late = await ask(booked, "early@example.com", "late@example.com", moment=time())
    (fine,) = await ask(booked, moment=time())

    async def only_late(mail) -> None:
        if mail.to.startswith("late"):
            raise ZeroDivisionError

    async def only_early(mail) -> None:
        if mail.to.startswith("early"):
            raise ZeroDivisionError

    smtp = Refusing()
    await room(booked, Wire(smtp, before=only_early, after=only_late), time=time).run_due()
    assert [(await row(booked, each))["state"] for each in (early, late, fine)] == [
        "sending",
        "unknown",
        "sent",
    ]
    assert [each.to for each in smtp.taken] == [ADA]
    time.passes(timedelta(seconds=11))
    await room(booked, smtp, time=time).run_due()
    assert await attempts(booked, early) == [("retry", "unexpected"), ("accepted", None)]


async def test_mails_are_composed_while_others_have_all_connections(booked: Stores) -> None:
    first, second = "first@example.com", "second@example.com"
    await ask(booked, first, second)
    composed: dict[str, asyncio.Event] = {first: asyncio.Event(), second: asyncio.Event()}

    class Composing(Refusing):
        def compose(self, mail: Mail) -> Mail:
            composed[mail.to].set()
            return mail

    async def wait(mail: Mail) -> None:
        async with asyncio.timeout(5):
            await composed[second if mail.to == first else first].wait()

    await room(booked, Wire(Composing(), before=wait), connections=1).run_due()
    assert await states(booked) == {"sent": 2}


async def test_the_rest_of_a_mail_about_an_account_is_kept_nowhere(booked: Stores) -> None:
    await make_template(booked, Kind.SECURITY)
    (asked,) = await ask(booked, kind=Kind.SECURITY, data={"name": "a-token"})
    before = await row(booked, asked)
    assert before["data"] is None
    assert "a-token" not in before["locked_data"]
    smtp = Refusing()
    await room(booked, smtp).run_due()
    assert "a-token" in smtp.taken[0].text
    after = await row(booked, asked)
    assert (after["state"], after["locked_data"], after["body_text"], after["subject"]) == (
        "sent",
        None,
        None,
        None,
    )


async def test_mail_that_one_may_do_without_bears_a_link_to_end_it(booked: Stores) -> None:
    await make_template(booked, Kind.DIGEST)
    await ask(booked, kind=Kind.DIGEST)
    await ask(booked)
    async with running() as server, transport(server.settings()) as smtp:
        await room(booked, smtp, at_once=1).run_due()
    digest, booking = [each.content.decode() for each in server.taken]
    assert re.search(r"List-Unsubscribe: <https://core.example/v1/notifications/unsubscribe/[\w-]+>", digest)
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click" in digest
    assert "List-Unsubscribe" not in booking
