"""Whoever is forgotten is in nothing that was said of their mails, and in no mail that was being asked for at that moment."""

import asyncio
from datetime import UTC, datetime

from app.notifications.asking import deciding
from app.notifications.delivering.callbacks import Callback, take
from app.notifications.delivering.transports.transport import Accepted, Mail, Refused, Retry, told
from app.notifications.ledger.forgetting import forget_mails
from app.stores.connections import Stores
from tests.app.notifications.post import (
    ADA,
    PEOPLE,
    Refusing,
    Wire,
    ask,
    asked,
    attempts,
    events,
    room,
    row,
    until_blocked,
)

NOBODY = "00000000-0000-0000-0000-000000000001"


async def forgotten(stores: Stores) -> int:
    async with stores.core.acquire() as connection, connection.transaction():
        return await forget_mails(connection, "customers", NOBODY, [ADA])


async def test_what_callers_and_the_provider_said_of_their_mails_goes_too(booked: Stores) -> None:
    (one,) = await ask(booked, metadata={"name": "Ada Lovelace", "phone": "+34 600"})
    (other,) = await ask(booked, PEOPLE[0], metadata={"name": "Charles"})
    await room(booked, Refusing(lambda _: Accepted())).run_due()
    callback = Callback("e1", one, "bounced", datetime.now(UTC), detail="<ada@example.com>: no such user")
    await take(booked, callback, moment=datetime.now(UTC))
    (waits,) = await ask(booked)
    await deciding.cancel(
        booked, waits, by="shop", reason="Ada Lovelace has called", moment=datetime.now(UTC)
    )
    assert await forgotten(booked) == 2
    said = await booked.core.fetch(
        "SELECT because AS text FROM notification_events UNION ALL SELECT because FROM notifications "
        "UNION ALL SELECT detail FROM notification_callbacks"
    )
    assert {each["text"] for each in said} == {None}
    assert [(await row(booked, each))["state"] for each in (one, waits, other)] == [
        "failed",
        "cancelled",
        "sent",
    ]
    metadata = await booked.core.fetch("SELECT metadata FROM notification_batches ORDER BY id")
    assert [each["metadata"] for each in metadata] == ["{}", '{"name": "Charles"}', "{}"]


async def test_why_we_have_ended_a_mail_stays(booked: Stores) -> None:
    (one,) = await ask(booked, not_after=datetime.now(UTC))
    await room(booked, Refusing()).run_due()
    await forgotten(booked)
    assert (await row(booked, one))["because"] == "its time was over before it could go"


async def test_a_mail_that_is_being_asked_for_meanwhile_does_not_go(booked: Stores) -> None:
    async with booked.core.acquire() as connection:
        async with connection.transaction():
            (one,) = (await asked(connection, ADA)).notifications
            forgetting = asyncio.create_task(forgotten(booked))
            await asyncio.wait({forgetting}, timeout=0.2)
            assert not forgetting.done()
        assert await forgetting == 1
    smtp = Refusing()
    await room(booked, smtp).run_due()
    assert (smtp.taken, await events(booked, one)) == ([], ["pending", "cancelled"])


async def test_a_mail_that_is_being_sent_again_meanwhile_does_not_go(booked: Stores) -> None:
    (one,) = await ask(booked)
    await room(booked, Refusing(lambda _: Refused("554", "no"))).run_due()
    async with booked.core.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE notification_events IN SHARE MODE")
        retrying = asyncio.create_task(
            deciding.retry(booked, [one], by="ann", reason="again", moment=datetime.now(UTC))
        )
        await until_blocked(booked, "%INSERT INTO notification_events%")
        forgetting = asyncio.create_task(forgotten(booked))
        await until_blocked(booked, "%", most=2)
    assert await forgetting == 2
    again = await row(booked, (await retrying).retried[one])
    assert (again["email"], again["data"]) == (None, None)


async def test_what_the_provider_has_answered_goes_too_also_where_it_is_quoted(booked: Stores) -> None:
    answers = iter(
        [
            Retry("451", "Ada is busy", of_service=False),
            Refused("550", told(f"Ada Lovelace has left {'x' * 477} for good")),
        ]
    )
    (one,) = await ask(booked)
    smtp = Refusing(lambda _: next(answers))
    await room(booked, smtp).run_due()
    await booked.core.execute("UPDATE notifications SET next_at = now()")
    await room(booked, smtp).run_due()
    assert "550 Ada Lovelace has left" in (await row(booked, one))["because"]
    await forgotten(booked)
    (story,) = await booked.core.fetch(
        "SELECT array_agg(because) AS events, (SELECT array_agg(detail) FROM notification_attempts) AS attempts "
        "FROM notification_events"
    )
    assert {*story["events"], *story["attempts"]} == {None}
    assert (await row(booked, one))["because"] is None
    assert await attempts(booked, one) == [("retry", "451"), ("refused", "550")]


async def test_what_the_provider_says_after_that_is_not_kept(booked: Stores) -> None:
    (one,) = await ask(booked)

    async def forget(_: Mail) -> None:
        await forgotten(booked)

    refusing = Refusing(lambda _: Refused("550", "Ada Lovelace has left"))
    await room(booked, Wire(refusing, after=forget)).run_due()
    callback = Callback("e1", one, "bounced", datetime.now(UTC), detail="5.1.1 Ada Lovelace has left")
    await take(booked, callback, moment=datetime.now(UTC))
    kept = await booked.core.fetchval(
        "SELECT (SELECT array_agg(because) FROM notification_events)::text || "
        "(SELECT array_agg(detail) FROM notification_attempts)::text || (SELECT array_agg(detail) FROM notification_callbacks)::text"
    )
    assert "Lovelace" not in kept
    assert "5.1.1" in kept
