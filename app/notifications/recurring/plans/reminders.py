"""Launches that are near. They are read where they are right, in the admin DB; bookings and customers in the customer DB."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Annotated, Any

import asyncpg
from msgspec import Meta, Struct

from app.notifications.recurring.plans.people import batches, customers, greeting
from app.notifications.recurring.plans.plan import (
    LAUNCH,
    LAUNCHES,
    Draft,
    Portion,
    Telling,
    Tick,
    launch_data,
)
from app.stores.connections import Stores
from app.stores.customer import BookingDocument
from app.stores.vocabulary import BookingStatus, LaunchStatus

AHEAD = (LaunchStatus.SCHEDULED, LaunchStatus.DELAYED)
_DAY = timedelta(days=1)
_LAUNCHES = f"""
    SELECT {LAUNCH} FROM {LAUNCHES} WHERE launches.status = ANY($1) AND launches.launch_date > $2 AND launches.launch_date <= $3
    ORDER BY launches.launch_date, launches.id
"""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How long before lift-off."""

    hours_before: Annotated[int, Meta(ge=1, le=24 * 365)]


async def launch_reminders(stores: Stores, tick: Tick, options: Options) -> AsyncIterator[Portion]:
    """Everybody who has booked a launch whose reminder came due since the last tick, or within a day and was missed.

    A booking that was made later than that needs none. A launch that is delayed is due again, at its new date.
    """
    before = timedelta(hours=options.hours_before)
    since = min(tick.last, tick.at - _DAY)
    # A launch that is so near is another reminder's; one that has lifted off is nobody's.
    nearest = tick.moment + (_DAY if before > _DAY else timedelta())
    launches = await stores.admin.fetch(_LAUNCHES, [*AHEAD], max(since + before, nearest), tick.at + before)
    for launch in launches:
        async for drafts in _to_travellers(stores, launch, tick, launch["launch_date"] - before):
            yield Portion(drafts, not_after=launch["launch_date"])


async def _to_travellers(
    stores: Stores, launch: asyncpg.Record, tick: Tick, due: datetime
) -> AsyncIterator[list[Draft]]:
    wanted = {
        "launch_id": launch["launch_id"],
        "status": BookingStatus.CONFIRMED,
        "booking_date": {"$lte": due},
    }
    cursor = stores.customer[BookingDocument.Settings.name].find(
        wanted, {"customer_id": 1, "number_of_seats": 1}
    )
    days = -((tick.moment - launch["launch_date"]) // _DAY)  # rounded up
    async for bookings in batches(cursor):
        known = await customers(stores, [each["customer_id"] for each in bookings])
        yield [
            _draft(each, known.get(each["customer_id"], {}), due, _data(stores, each, launch, days))
            for each in bookings
        ]


def _data(stores: Stores, booking: dict[str, Any], launch: asyncpg.Record, days: int) -> dict[str, Any]:
    return {
        "booking": {"reference": str(booking["_id"]), "seats": booking["number_of_seats"]},
        "launch": launch_data(launch),
        "days": days,
        "link": f"{Telling.of(stores).customers}/bookings/{booking['_id']}",
    }


def _draft(booking: dict[str, Any], customer: dict[str, Any], due: datetime, data: dict[str, Any]) -> Draft:
    greeted = data | {"customer": greeting(customer)}
    return Draft("customer", booking["customer_id"], customer.get("email"), due, str(booking["_id"]), greeted)
