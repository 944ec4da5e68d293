"""One round at a time of a transport, none that is forgotten, nobody who waits for ever, and an end that waits."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from app.notifications.delivering.post_office import PostOffice, database_clock, letters_of, open_post_offices
from app.stores.connections import Stores
from config.settings import SettingsError
from tests.app.notifications.delivering.transports.mail_servers import running
from tests.app.notifications.post import ask, row


def office_of(work: Callable[[], Awaitable[float | None]], **more: float) -> PostOffice:
    return PostOffice(work, **{"stop_seconds": 20.0} | more)


class Work:
    def __init__(self) -> None:
        self.rounds, self.ended = 0, 0
        self.gate, self.begun = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> float | None:
        self.rounds += 1
        self.begun.set()
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        return float(self.rounds)


async def test_whoever_asks_during_a_round_is_served_by_the_next_one() -> None:
    work = Work()
    office = office_of(work)
    first = asyncio.create_task(office.run_due())
    await work.begun.wait()
    assert [await office.run_due() for _ in range(5)] == [None] * 5
    work.gate.set()
    assert await first == 2.0
    assert await office.run_due() == 3.0


async def test_a_round_that_fails_is_raised_and_the_next_one_comes() -> None:
    async def fail() -> None:
        raise OSError("away")

    office = office_of(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            await office.run_due()


async def test_to_stop_ends_the_round_that_runs_and_begins_with_no_other() -> None:
    work = Work()
    office = office_of(work)
    running_round = asyncio.create_task(office.run_due())
    await work.begun.wait()
    await office.stop()
    assert (work.rounds, work.ended) == (1, 1)
    # Others are to come for the mail: whoever asked, and whoever asks now.
    assert [await running_round, await office.run_due()] == [1.0, 1.0]
    assert work.rounds == 1


async def test_nobody_waits_for_ever_and_a_round_depends_on_nobody_who_waits() -> None:
    work = Work()
    office = office_of(work, patience=0.05)
    assert [await office.run_due() for _ in range(3)] == [0.0] * 3
    cancelled = asyncio.create_task(office.run_due())
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert (work.rounds, work.ended) == (1, 0)
    work.gate.set()
    assert await office.run_due() == 2.0


async def test_what_a_round_ended_with_while_nobody_waited_is_told_to_the_next() -> None:
    gate = asyncio.Event()

    async def fail() -> None:
        await gate.wait()
        raise OSError("away")

    office = office_of(fail, patience=0.01)
    assert await office.run_due() == 0.0
    gate.set()
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="away"):
        await office.run_due()


async def test_to_stop_waits_for_what_cannot_be_cut_short_but_not_for_ever() -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    async def finish() -> None:
        begun.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            await gate.wait()
            raise

    offices = [office_of(finish, stop_seconds=seconds) for seconds in (0.01, 20.0)]
    for each in offices:
        begun.clear()
        each.waiter = asyncio.create_task(each.run_due())
        await begun.wait()
    await offices[0].stop()
    stopping = asyncio.create_task(offices[1].stop())
    await asyncio.sleep(0.05)
    assert not stopping.done()
    gate.set()
    await stopping
    assert [await each.waiter for each in offices] == [1.0, 1.0]


async def test_the_post_office_of_the_settings_delivers(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with running() as server:
        mail = {
            name: getattr(server.settings(), name)
            for name in ("notification_smtp_host", "notification_smtp_port", "notification_smtp_tls")
        }
        mail["notification_from"] = "AstroBookings <no-reply@astrobookings.example>"
        there = Stores(**{**vars(booked), "settings": booked.settings.model_copy(update=mail)})
        async with open_post_offices(there) as (office,):
            assert await office.run_due() is None
    assert server.message["Message-ID"] == f"<{asked}@astrobookings.example>"
    assert (await row(booked, asked))["state"] == "sent"


async def test_each_transport_has_a_post_office_of_its_own(booked: Stores) -> None:
    both = {
        "notification_from": "no-reply@astrobookings.example",
        "notification_smtp_host": "127.0.0.1",
        "notification_http_url": "http://127.0.0.1:9/",
    }
    there = Stores(**{**vars(booked), "settings": booked.settings.model_copy(update=both)})
    async with open_post_offices(there) as offices:
        assert len(offices) == 2


async def test_without_a_sender_it_says_which_setting_is_missing(stores: Stores) -> None:
    nobody = stores.settings.model_copy(update={"notification_from": None})
    with pytest.raises(SettingsError, match="ASTROCORE_NOTIFICATION_FROM"):
        letters_of(Stores(**{**vars(stores), "settings": nobody}))


async def test_the_clock_is_the_core_dbs(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "app.notifications.delivering.post_office.now", lambda: datetime.now(UTC) - timedelta(hours=2)
    )
    clock = await database_clock(stores.core)
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=5)
