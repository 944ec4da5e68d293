"""Asking for mail on a real core DB: rows and facts are there together with their cause, or not at all."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.errors import InvalidInputError
from app.notifications.asking.triggering import AHEAD, Mailing, Occasion, Order, check_times, trigger
from app.notifications.templates.catalogue import load_version
from app.stores.connections import Stores
from tests.app.accounts.conftest import SAFE, Time, facts
from tests.app.notifications.post import ADA, PEOPLE, ask, asked, events, resolved, row


async def counts(stores: Stores) -> list[int]:
    tables = ("notification_batches", "notifications", "notification_events", "audit_outbox")
    return [await stores.core.fetchval(f"SELECT count(*) FROM {each}") for each in tables]


async def test_an_order_becomes_a_batch_and_a_mail_for_each_recipient_in_their_order(booked: Stores) -> None:
    made = await ask(booked, *PEOPLE, data={"name": "A'd\"a"}, metadata={"order": 7}, priority=2)
    rows = await booked.core.fetch("SELECT * FROM notifications ORDER BY id")
    assert [(each["id"], each["email"]) for each in rows] == list(zip(made, PEOPLE, strict=True))
    assert {(each["state"], each["priority"], each["version"]) for each in rows} == {("pending", 2, 1)}
    assert await events(booked, made[0]) == ["pending"]
    assert await booked.core.fetchval("SELECT metadata ->> 'order' FROM notification_batches") == "7"
    assert await facts(booked, "notifications:") == ["batch:create"] + ["notification:move"] * len(PEOPLE)


async def test_what_is_rolled_back_was_never_asked_for(booked: Stores) -> None:
    async with booked.core.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await asked(connection, *PEOPLE)
        await transaction.rollback()
    assert await counts(booked) == [0, 0, 0, 0]


async def test_an_order_to_nobody_makes_no_mail(booked: Stores) -> None:
    async with booked.core.acquire() as connection, connection.transaction():
        order = Order(template=await load_version(connection, "booking"), mailings=[], transport="smtp")
        made = await trigger(connection, order, by="shop", moment=datetime.now(UTC), safe=SAFE)
    assert made.notifications == []


async def test_the_audit_is_told_no_address(booked: Stores) -> None:
    await ask(booked)
    assert not await booked.core.fetchval("SELECT count(*) FROM audit_outbox WHERE entry::text LIKE '%ada@%'")


async def test_a_schedule_sends_once_for_each_occasion_whoever_fires_it(booked: Stores, time: Time) -> None:
    async def fire(*names: str) -> int:
        async with booked.core.acquire() as connection, connection.transaction():
            order = Order(
                template=await load_version(connection, "booking"),
                mailings=[
                    Mailing(resolved(ADA), {"name": each}, "en", Occasion("reminders", time(), each))
                    for each in names
                ],
                transport="smtp",
            )
            return len(
                (await trigger(connection, order, by="reminders", moment=time(), safe=SAFE)).notifications
            )

    made = await asyncio.gather(*(fire("b1", "b2", "b3") for _ in range(4)))
    assert sorted(made) == [0, 0, 0, 3]
    assert await fire("b3", "b4") == 1
    time.passes(timedelta(days=1))
    assert await fire("b1") == 1


async def test_mail_of_later_is_scheduled(booked: Stores, time: Time) -> None:
    (later,) = await ask(booked, send_at=time() + timedelta(days=300), moment=time())
    (now,) = await ask(booked, send_at=time() - timedelta(seconds=1), moment=time())
    assert [(await row(booked, each))["state"] for each in (later, now)] == ["scheduled", "pending"]
    assert (await row(booked, later))["next_at"] == time() + timedelta(days=300)


def test_times_that_cannot_be_kept_are_refused(time: Time) -> None:
    check_times(None, None, time())
    check_times(time() + AHEAD, time() + AHEAD + timedelta(seconds=1), time())
    for send_at, not_after, where in (
        (time() + AHEAD + timedelta(seconds=1), None, "send_at"),
        (None, time(), "not_after"),
        (time() + timedelta(days=2), time() + timedelta(days=1), "not_after"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            check_times(send_at, not_after, time())
        assert [each.where for each in refused.value.faults] == [where]


async def test_a_mail_that_is_to_go_now_is_due_though_our_clock_is_ahead(booked: Stores) -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=3)
    (one,) = await ask(booked, moment=ahead)
    (waits,) = await ask(booked, moment=ahead, send_at=ahead + timedelta(minutes=1))
    assert (await row(booked, one))["next_at"] < ahead - timedelta(minutes=2)
    assert (await row(booked, waits))["next_at"] == ahead + timedelta(minutes=1)
