"""What the provider tells afterwards: once each, in whatever order, and never backwards."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from app.errors import NotFoundError
from app.notifications.delivering.callbacks import Callback, take
from app.notifications.delivering.transports.transport import Accepted, Handed, Refused, Retry, Unknown
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from tests.app.notifications.post import ADA, Refusing, Wire, ask, events, make_template, room, row


async def tell(stores: Stores, notification: UUID, kind, event: str = "", **more: object) -> bool:
    told = Callback(event or uuid4().hex, notification, kind, datetime.now(UTC), **more)
    return await take(stores, told, moment=datetime.now(UTC))


async def sent(stores: Stores, handed: Handed = Accepted()) -> UUID:  # noqa: B008  (it never changes)
    (asked,) = await ask(stores)
    await room(stores, Refusing(lambda _: handed)).run_due()
    return asked


async def blocked(stores: Stores) -> list[tuple[str, str]]:
    rows = await stores.core.fetch(
        "SELECT scope, reason FROM suppressions WHERE email_key = $1 ORDER BY scope", ADA
    )
    return [(each["scope"], each["reason"]) for each in rows]


async def test_a_mail_that_arrives_is_delivered_and_told_twice_it_counts_once(booked: Stores) -> None:
    asked = await sent(booked)
    assert await tell(booked, asked, "delivered", "e1")
    assert not await tell(booked, asked, "delivered", "e1")
    assert (await events(booked, asked))[-2:] == ["sent", "delivered"]
    assert await booked.core.fetchval("SELECT count(*) FROM notification_callbacks") == 1


async def test_a_mail_that_comes_back_has_failed_and_its_address_gets_no_more(booked: Stores) -> None:
    asked = await sent(booked)
    assert await tell(booked, asked, "bounced", detail="no such user")
    assert ((await row(booked, asked))["state"], (await row(booked, asked))["because"]) == (
        "failed",
        "no such user",
    )
    assert await blocked(booked) == [("all", "hard_bounce")]


async def test_a_full_mailbox_is_no_reason_to_write_nobody_any_more(booked: Stores) -> None:
    asked = await sent(booked)
    assert await tell(booked, asked, "bounced", permanent=False)
    assert await blocked(booked) == []
    assert (await row(booked, asked))["state"] == "sent"
    assert await tell(booked, asked, "delivered")
    assert (await row(booked, asked))["state"] == "delivered"


async def test_whoever_complains_gets_what_is_theirs_and_nothing_else(booked: Stores) -> None:
    asked = await sent(booked)
    assert await tell(booked, asked, "complained")
    assert await blocked(booked) == [("alert", "complaint"), ("digest", "complaint")]
    assert (await row(booked, asked))["state"] == "sent"


async def test_what_comes_late_or_out_of_order_is_kept_and_leads_nowhere_back(booked: Stores) -> None:
    asked = await sent(booked)
    for kind in ("delivered", "deferred", "bounced", "delivered"):
        assert await tell(booked, asked, kind)
    assert (await row(booked, asked))["state"] == "delivered"
    assert await booked.core.fetchval("SELECT count(*) FROM notification_callbacks") == 4


async def test_it_settles_what_was_in_doubt(booked: Stores) -> None:
    asked = await sent(booked, Unknown("connection", "no answer"))
    await tell(booked, asked, "delivered")
    assert (await events(booked, asked))[-2:] == ["unknown", "delivered"]


async def test_between_two_tries_it_ends_them(booked: Stores) -> None:
    asked = await sent(booked, Retry("connection", "no answer", of_service=False, doubtful=True))
    await tell(booked, asked, "delivered")
    ended = await row(booked, asked)
    assert (ended["state"], ended["next_at"]) == ("delivered", None)


async def test_it_may_come_before_the_answer(booked: Stores) -> None:
    (asked,) = await ask(booked)

    async def told(*_: object) -> None:
        await tell(booked, asked, "delivered")

    accepted = Refusing(lambda _: Accepted(provider_id="p-1"))
    await room(booked, Wire(accepted, answered=told)).run_due()
    assert await events(booked, asked) == ["pending", "sending", "delivered"]
    assert (await row(booked, asked))["provider_id"] == "p-1"


async def test_of_mails_that_are_none_of_ours_nothing_is_taken(booked: Stores) -> None:
    with pytest.raises(NotFoundError):
        await tell(booked, uuid4(), "delivered")


async def test_what_is_told_of_a_mail_that_holds_a_secret_is_its_code(stores: Stores) -> None:
    await make_template(stores, Kind.SECURITY)
    (asked,) = await ask(stores, kind=Kind.SECURITY)
    refused = Refused("554", "5.7.1 it says: your code is 1234")
    await room(stores, Refusing(lambda _: refused)).run_due()
    assert (await row(stores, asked))["because"] == "554 5.7.1 [withheld]"
    assert await tell(stores, asked, "bounced", detail="it says: your code is 1234")
    kept = await stores.core.fetch(
        "SELECT detail FROM notification_callbacks UNION ALL SELECT detail FROM notification_attempts"
    )
    assert {each["detail"] for each in kept} == {"[withheld]", "5.7.1 [withheld]"}
