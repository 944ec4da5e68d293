"""Ticks whose message is lost: they are sent again, seldom enough, and not for ever."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.notifications.recurring import resuming
from app.notifications.recurring.plans.registry import ACTOR, plan_of
from app.notifications.recurring.resuming import LostTick
from app.scheduling.schedules import Declaration, create_schedule, set_enabled
from app.stores.connections import Stores

NOW = datetime(2027, 3, 8, 7, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


@pytest.fixture
async def digest(stores: Stores) -> str:
    args = plan_of("weekly_supplier_digest").args()
    await create_schedule(stores.core, Declaration("s", "0 7 * * 1", ACTOR, args=args), now=NOW)
    await create_schedule(stores.core, Declaration("other", "* * * * *", "sweep"), now=NOW)
    return "s"


async def sent(stores: Stores, schedule: str, **columns: Any) -> None:
    row = {"schedule": schedule, "tick": NOW, "status": "fired", "sent_at": NOW, **columns}
    places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
    await stores.core.execute(f"INSERT INTO ticks ({', '.join(row)}) VALUES ({places})", *row.values())


async def resumed(stores: Stores, moment: datetime) -> list[LostTick]:
    told: list[LostTick] = []
    assert await resuming.resume(stores, told.append, moment=moment) == len(told)
    return told


async def test_a_tick_that_nobody_has_seen_through_is_sent_again_at_longer_and_longer_intervals(
    digest: str, stores: Stores
) -> None:
    await sent(stores, digest)
    times = [n for n in range(0, 10 * 24 * 60, 5) if await resumed(stores, NOW + n * MINUTE)]
    assert times[:4] == [15, 40, 85, 170]
    assert times[-1] < 7 * 24 * 60
    assert len(times) < 40
    assert await stores.core.fetchval("SELECT resent FROM ticks") == len(times)


async def test_what_is_seen_through_or_off_or_not_mail_is_left_alone(digest: str, stores: Stores) -> None:
    await sent(stores, digest, finished_at=NOW)
    await sent(stores, "other")
    await sent(stores, digest, tick=NOW + MINUTE, status="missed", sent_at=None)
    await sent(stores, digest, tick=NOW + 2 * MINUTE, status="pending", sent_at=None)
    assert await resumed(stores, NOW + DAY) == []
    await sent(stores, digest, tick=NOW + 3 * MINUTE)
    await sent(stores, digest, tick=NOW + 4 * MINUTE, triggered_by="op")
    await set_enabled(stores.core, digest, enabled=False, now=NOW)
    assert await resumed(stores, NOW + DAY) == [LostTick(digest, NOW + 4 * MINUTE)]


async def test_a_tick_that_cannot_be_sent_again_now_stays_due_for_it(digest: str, stores: Stores) -> None:
    await sent(stores, digest)

    def fails(_: LostTick) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await resuming.resume(stores, fails, moment=NOW + DAY)
    assert await resumed(stores, NOW + DAY) == [LostTick(digest, NOW)]
