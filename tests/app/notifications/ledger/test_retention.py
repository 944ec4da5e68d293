"""What mails said goes after a week, that there were mails after more than a year; what still waits stays."""

from datetime import timedelta
from uuid import UUID

import pytest

from app.notifications.asking import deciding
from app.notifications.delivering.callbacks import Callback, take
from app.notifications.delivering.transports.transport import Accepted, Refused
from app.notifications.ledger import queries, retention
from app.notifications.ledger.retention import KEPT, SHOWN, erase_old, first_id
from app.scheduling.schedules import Declaration, create_schedule
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.post import ADA, Refusing, ask, room, row

DAY = timedelta(days=1)


async def test_after_a_week_nobody_can_read_what_it_said_and_the_fact_stays(
    booked: Stores, time: Time
) -> None:
    (asked,) = await ask(booked, moment=time())
    await room(booked, Refusing(), time=time).run_due()
    assert await erase_old(booked, time() + SHOWN - DAY) == 0
    assert await erase_old(booked, time() + SHOWN + DAY) == 1
    assert await erase_old(booked, time() + SHOWN + DAY) == 0
    story = await queries.get_story(booked, asked)
    assert (story.body, story.data, story.notification.email) == (None, None, ADA)
    assert story.body_erased_at
    assert len(story.attempts) == 1
    assert (await row(booked, asked))["subject"] is None


async def test_what_waits_for_its_time_keeps_what_it_is_to_say(booked: Stores, time: Time) -> None:
    (asked,) = await ask(booked, send_at=time() + 300 * DAY, moment=time())
    assert await erase_old(booked, time() + KEPT + DAY) == 0
    assert (await row(booked, asked))["data"]


async def test_after_a_year_and_more_all_is_forgotten_but_what_was_retried_lately(
    booked: Stores, time: Time
) -> None:
    (old,) = await ask(booked, moment=time())
    await room(booked, Refusing(lambda _: Refused("554", "no")), time=time).run_due()
    await take(booked, Callback("e1", old, "deferred", time()), moment=time())
    retried = (await deciding.retry(booked, [old], by="ann", reason="again", moment=time())).retried[old]
    await room(booked, Refusing(lambda _: Accepted()), time=time).run_due()
    later = time() + KEPT + DAY
    await booked.core.execute("UPDATE notifications SET updated_at = $2 WHERE id = $1", retried, later)
    await erase_old(booked, later)
    assert await row(booked, old)
    await erase_old(booked, later + KEPT + DAY)
    for table in ("notifications", "attempts", "events", "callbacks", "batches"):
        name = table if table == "notifications" else f"notification_{table}"
        assert await booked.core.fetchval(f"SELECT count(*) FROM {name}") == 0, name


async def test_many_go_in_batches(booked: Stores, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_BATCH", 3)
    await ask(booked, *(f"p{each}@example.com" for each in range(7)), moment=time())
    await room(booked, Refusing(), time=time).run_due()
    assert await erase_old(booked, time() + SHOWN + DAY) == 7


async def test_ids_grow_with_time(booked: Stores, time: Time) -> None:
    before = first_id(time() - timedelta(seconds=1))
    (asked,) = await ask(booked)
    assert before < asked < first_id(time() + timedelta(minutes=1))
    assert UUID(str(before)).version == 7


async def test_ticks_of_every_schedule_are_forgotten_after_more_than_a_year(
    booked: Stores, time: Time
) -> None:
    now = time()
    for name in ("mails", "other"):
        wanted = Declaration(name, "* * * * *", "sweep")
        await create_schedule(booked.core, wanted, now=now)
        await booked.core.executemany(
            "INSERT INTO ticks (schedule, tick, status) VALUES ($1, $2, $3)",
            [
                (name, now - KEPT - DAY, "fired"),
                (name, now - KEPT - 2 * DAY, "pending"),
                (name, now - KEPT + DAY, "missed"),
            ],
        )
    assert await erase_old(booked, now) == 2
    left = await booked.core.fetch("SELECT DISTINCT status FROM ticks")
    assert {row["status"] for row in left} == {"pending", "missed"}
