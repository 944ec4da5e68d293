"""Operators who change one schedule at the same time: each change is made to what the other has left."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from app.errors import ConflictError
from app.notifications.recurring import schedules
from app.notifications.recurring.schedules import Change, Wanted
from app.notifications.templates.installing import ensure_shipped
from app.stores.connections import Stores

NOW = datetime(2027, 3, 7, 12, tzinfo=UTC)


@pytest.fixture
async def schedule(stores: Stores) -> str:
    await ensure_shipped(stores.settings)
    wanted = Wanted(name="mine", cron="0 9 * * *", query="invoices_due")
    await schedules.create(stores, wanted, by="op", reason="wanted", moment=NOW)
    return wanted.name


async def test_two_changes_at_once_are_both_made(
    schedule: str, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = schedules.load_version

    async def slow(*given: Any) -> Any:
        await asyncio.sleep(0.1)
        return await loading(*given)

    monkeypatch.setattr(schedules, "load_version", slow)
    changes = [Change(zone="Europe/Madrid"), Change(catch_up="skip"), Change(options={"days_before": 3})]
    await asyncio.gather(
        *(schedules.change(stores, schedule, each, by="op", reason="wanted", moment=NOW) for each in changes)
    )
    found = (await schedules.get_schedule(stores, schedule, NOW)).schedule
    assert (found.zone, found.catch_up, found.options) == ("Europe/Madrid", "skip", {"days_before": 3})


async def test_of_two_who_switch_it_off_at_once_one_is_told_that_it_is_off(
    schedule: str, stores: Stores
) -> None:
    answers = await asyncio.gather(
        *(
            schedules.enable(stores, schedule, enabled=False, by="op", reason="wrong", moment=NOW)
            for _ in range(2)
        ),
        return_exceptions=True,
    )
    assert [type(each) for each in answers if isinstance(each, Exception)] == [ConflictError]
