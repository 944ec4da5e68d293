"""One round at a time in a process, none that is forgotten, and an end that waits."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.notifications.post_office import PostOffice, database_clock, letters_of, open_post_office
from app.stores.connections import Stores
from config.settings import SettingsError
from tests.app.notifications.post import ask, row
from tests.app.notifications.transports.mail_servers import running


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
    office = PostOffice(work)
    first = asyncio.create_task(office.run_due())
    await work.begun.wait()
    assert [await office.run_due() for _ in range(5)] == [None] * 5
    work.gate.set()
    assert await first == 2.0
    assert await office.run_due() == 3.0


async def test_a_round_that_fails_is_raised_and_the_next_one_comes() -> None:
    async def fail() -> None:
        raise OSError("away")

    office = PostOffice(fail)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            await office.run_due()


async def test_to_stop_ends_the_round_that_runs_and_begins_with_no_other() -> None:
    work = Work()
    office = PostOffice(work)
    running_round = asyncio.create_task(office.run_due())
    await work.begun.wait()
    await office.stop()
    assert (work.rounds, work.ended) == (1, 1)
    assert await running_round is None
    assert await office.run_due() is None
    assert work.rounds == 1


async def test_whoever_is_cancelled_takes_the_round_along() -> None:
    work = Work()
    task = asyncio.create_task(PostOffice(work).run_due())
    await work.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended == 1


async def test_the_post_office_of_the_settings_delivers(booked: Stores) -> None:
    (asked,) = await ask(booked)
    async with running() as server:
        mail = {
            name: getattr(server.settings(), name)
            for name in ("notification_smtp_host", "notification_smtp_port", "notification_smtp_tls")
        }
        mail["notification_from"] = "AstroBookings <no-reply@astrobookings.example>"
        there = Stores(**{**vars(booked), "settings": booked.settings.model_copy(update=mail)})
        async with open_post_office(there) as office:
            assert await office.run_due() is None
    assert server.message["Message-ID"] == f"<{asked}@astrobookings.example>"
    assert (await row(booked, asked))["state"] == "sent"


async def test_without_a_sender_it_says_which_setting_is_missing(stores: Stores) -> None:
    nobody = stores.settings.model_copy(update={"notification_from": None})
    with pytest.raises(SettingsError, match="ASTROCORE_NOTIFICATION_FROM"):
        letters_of(Stores(**{**vars(stores), "settings": nobody}))


async def test_the_clock_is_the_core_dbs(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.notifications.post_office.now", lambda: datetime.now(UTC) - timedelta(hours=2))
    clock = await database_clock(stores.core)
    assert abs(clock() - datetime.now(UTC)) < timedelta(seconds=5)
