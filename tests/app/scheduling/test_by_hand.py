"""Ticks that somebody asks for, beside those of the clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from app.errors import ConflictError
from app.scheduling.by_hand import add_tick, upcoming
from app.scheduling.outlet import Order
from app.scheduling.schedules import (
    Declaration,
    create_schedule,
    get_schedule,
    load_declarations,
    set_enabled,
)
from app.scheduling.ticks import settle_pending

NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
SCAN = Declaration(name="scan", cron="@weekly", actor="scan", catch_up="skip")


class Outlet:
    """Takes everything, and remembers it."""

    def __init__(self) -> None:
        self.sent: list[Order] = []

    async def send(self, order: Order) -> datetime | None:
        self.sent.append(order)
        return order.tick

    async def withdraw(self, order: Order) -> datetime | None:
        self.sent = [each for each in self.sent if each != order]
        return None


async def test_a_tick_by_hand_is_sent_however_late_and_whether_the_schedule_is_on_or_off(
    core: asyncpg.Connection,
) -> None:
    schedule = await create_schedule(core, SCAN, now=NOW)
    await set_enabled(core, "scan", enabled=False, now=NOW)
    tick = await add_tick(core, schedule, by="client:jobs")
    await core.execute("INSERT INTO ticks (schedule, tick, status) VALUES ('scan', $1, 'pending')", NOW)
    outlet = Outlet()
    assert await settle_pending(core, outlet, tick + timedelta(days=1)) == 2
    assert [order.tick for order in outlet.sent] == [tick]
    rows = await core.fetch("SELECT status, reason, triggered_by FROM ticks ORDER BY tick")
    assert [tuple(row) for row in rows] == [
        ("missed", "schedule switched off", None), ("fired", None, "client:jobs"),
    ]  # fmt: skip


async def test_a_schedule_that_is_declared_no_more_is_not_fired(core: asyncpg.Connection) -> None:
    await load_declarations(core, [SCAN], now=NOW)
    await load_declarations(core, [], now=NOW)
    with pytest.raises(ConflictError, match="declared no more"):
        await add_tick(core, await get_schedule(core, "scan"), by="client:jobs")


async def test_what_is_upcoming_comes_in_order_and_passes_over_nonsense(core: asyncpg.Connection) -> None:
    made = [
        await create_schedule(core, replace(SCAN, name=name, cron=spec), now=NOW)
        for name, spec in (("b", "0 * * * *"), ("a", "0 */2 * * *"), ("c", "@daily"))
    ]
    made.append(replace(made[0], name="d", cron="nonsense"))
    made.append(replace(made[0], name="e", enabled=False))
    found = list(upcoming(made, NOW, NOW + timedelta(hours=4)))
    hours = [
        (NOW + timedelta(hours=hour), name)
        for hour, name in ((1, "b"), (2, "a"), (2, "b"), (3, "b"), (4, "a"), (4, "b"))
    ]
    assert found == hours
