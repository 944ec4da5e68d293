"""Launches that can be booked since lately: those who are VIPs hear of them first, everybody else some hours later.

Who is a VIP, and the launch itself, the admin DB is right about; addresses and free seats are in the customer DB.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
import msgspec
from msgspec import Meta, Struct

from app.notifications.recurring.plans.people import BATCH, FIELDS, batches, customers, greeting
from app.notifications.recurring.plans.plan import (
    LAUNCH,
    LAUNCHES,
    Draft,
    Portion,
    Telling,
    Tick,
    launch_data,
)
from app.notifications.recurring.plans.reminders import AHEAD
from app.stores.connections import Stores
from app.stores.customer import CustomerDocument, LaunchDocument

_SEEN_LATER = timedelta(days=1)
_NEW = f"""
    SELECT {LAUNCH}, launches.created_at, price FROM {LAUNCHES}
    WHERE launches.status = ANY($1) AND launches.created_at > $2 AND launches.created_at <= $3 AND launches.launch_date > $4
    ORDER BY launches.created_at, launches.id
"""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How many hours VIPs are ahead of everybody else."""

    vip_hours: Annotated[int, Meta(ge=0, le=24 * 14)] = 24


async def new_launches(stores: Stores, tick: Tick, options: Options) -> AsyncIterator[Portion]:
    """VIPs who have not heard of a launch yet, so many hours long; then everybody who has not.

    A launch may be seen later than it was made: its row commits later, and the read model follows later still.
    """
    public = tick.at - timedelta(hours=options.vip_hours)
    for launch, seats in await _new(stores, public, tick.at, tick.moment):
        opens = launch["created_at"] + (tick.at - public)
        async for people in _vips(stores):
            yield _portion(stores, launch, seats, people, opens if opens > tick.moment else None)
    since = tick.last - _SEEN_LATER - (tick.at - public)
    for launch, seats in await _new(stores, since, public, tick.moment):
        cursor = stores.customer[CustomerDocument.Settings.name].find({}, FIELDS)
        async for people in batches(cursor):
            yield _portion(stores, launch, seats, people, None)


async def _new(
    stores: Stores, after: datetime, until: datetime, moment: datetime
) -> list[tuple[asyncpg.Record, int]]:
    """Those that were made between the two, with the seats that can be booked."""
    rows = await stores.admin.fetch(_NEW, [*AHEAD], after, until, moment)
    found = [(row, await _free_seats(stores, row)) for row in rows]
    return [(row, seats) for row, seats in found if seats]


async def _vips(stores: Stores) -> AsyncIterator[list[dict[str, Any]]]:
    rows = await stores.admin.fetch("SELECT id FROM customers WHERE is_vip ORDER BY id")
    for start in range(0, len(rows), BATCH):
        yield list((await customers(stores, [row["id"] for row in rows[start : start + BATCH]])).values())


def _portion(
    stores: Stores, launch: asyncpg.Record, seats: int, people: list[dict[str, Any]], opens: datetime | None
) -> Portion:
    drafts = [_draft(stores, launch, each, opens, seats) for each in people]
    return Portion(drafts, not_after=launch["launch_date"])


async def _free_seats(stores: Stores, launch: asyncpg.Record) -> int:
    """0 where the read model does not have the launch yet: nobody can book it there."""
    collection = stores.customer[LaunchDocument.Settings.name]
    found = await collection.find_one({"_id": launch["launch_id"]}, {"available_seats": 1})
    return int(found["available_seats"]) if found else 0


def _draft(
    stores: Stores, launch: asyncpg.Record, person: dict[str, Any], opens: datetime | None, seats: int
) -> Draft:
    telling = Telling.of(stores)
    data = {
        "customer": greeting(person),
        "launch": launch_data(launch),
        "price": telling.money(launch["price"]),
        "available_seats": seats,
        "link": f"{telling.customers}/launches/{launch['launch_id']}",
    }
    if opens is not None:
        data["public_from"] = msgspec.to_builtins(opens)
    name = f"{launch['launch_id']}:{person['_id']}"
    return Draft("customer", person["_id"], person.get("email"), launch["created_at"], name, data)
