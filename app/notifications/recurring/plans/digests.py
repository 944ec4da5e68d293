"""What a week brought each supplier. Launches are the admin DB's, bookings and free seats the customer DB's."""

from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from bson import Decimal128
from msgspec import Struct

from app.notifications.recurring.plans.people import BATCH
from app.notifications.recurring.plans.plan import MOST_NAME, Draft, Portion, Telling, Tick
from app.notifications.recurring.plans.reminders import AHEAD
from app.stores.connections import Stores
from app.stores.customer import BookingDocument, LaunchDocument
from app.stores.vocabulary import BookingStatus

_WEEK = timedelta(days=7)
MOST_LAUNCHES = 40
"""In one mail, as the shipped template has them."""
_LAUNCHES = """
    SELECT launches.id, launches.supplier_id, destination, launch_date, total_seats, launches.status, rockets.name AS rocket
    FROM launches JOIN rockets ON rockets.id = launches.rocket_id ORDER BY launch_date, launches.id
"""


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


@dataclass
class _Totals:
    """Of the bookings of a week, made and cancelled. No revenue comes from those that are cancelled by now."""

    bookings: int = 0
    seats: int = 0
    cancellations: int = 0
    revenue: Decimal = Decimal(0)

    def add(self, booking: dict[str, Any]) -> None:
        price = booking["total_price"]
        self.bookings += 1
        self.seats += booking["number_of_seats"]
        if booking["status"] != BookingStatus.CANCELLED:
            self.revenue += price.to_decimal() if isinstance(price, Decimal128) else Decimal(str(price))


@dataclass
class _Digest:
    """One supplier's week."""

    totals: _Totals = field(default_factory=_Totals)
    ahead: list[dict[str, Any]] = field(default_factory=list)


async def weekly_supplier_digest(stores: Stores, tick: Tick, _: Options) -> AsyncIterator[Portion]:
    """Every supplier for whom the last whole week, from Monday to Sunday, had something, or who has a launch ahead."""
    monday = _monday(tick.at.astimezone(tick.zone).date())
    starts, ends = (_midnight(day, tick) for day in (monday - _WEEK, monday))
    digests = await _digests(stores, starts, ends, tick.moment)
    suppliers = await stores.admin.fetch("SELECT id, company_name, contact_email FROM suppliers ORDER BY id")
    drafts = [
        _draft(stores, each, digests[each["id"]], monday) for each in suppliers if each["id"] in digests
    ]
    for start in range(0, len(drafts), BATCH):
        yield Portion(drafts[start : start + BATCH], not_after=ends + _WEEK)


def _monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


def _midnight(day: date, tick: Tick) -> datetime:
    return datetime.combine(day, time(), tick.zone)


async def _digests(stores: Stores, starts: datetime, ends: datetime, moment: datetime) -> dict[UUID, _Digest]:
    week = await _week(stores, starts, ends)
    free = await _free_seats(stores, moment)
    found: dict[UUID, _Digest] = defaultdict(_Digest)
    for launch in await stores.admin.fetch(_LAUNCHES):
        totals = week.get(launch["id"])
        if totals:
            _add(found[launch["supplier_id"]].totals, totals)
        if launch["launch_date"] > moment and launch["status"] in AHEAD:
            found[launch["supplier_id"]].ahead.append(_ahead(launch, free, totals))
    return found


async def _week(stores: Stores, starts: datetime, ends: datetime) -> dict[UUID, _Totals]:
    """The week's bookings by launch. Whoever books or cancels sets `updated_at`, which has an index."""
    cursor = stores.customer[BookingDocument.Settings.name].find({"updated_at": {"$gte": starts}})
    found: dict[UUID, _Totals] = defaultdict(_Totals)
    async for booking in cursor:
        if starts <= booking["booking_date"] < ends:
            found[booking["launch_id"]].add(booking)
        cancelled = booking.get("cancellation_date")
        if cancelled and starts <= cancelled < ends:
            found[booking["launch_id"]].cancellations += 1
    return found


async def _free_seats(stores: Stores, moment: datetime) -> dict[UUID, int]:
    collection = stores.customer[LaunchDocument.Settings.name]
    cursor = collection.find({"launch_date": {"$gt": moment}}, {"available_seats": 1})
    return {each["_id"]: each["available_seats"] async for each in cursor}


def _add(totals: _Totals, more: _Totals) -> None:
    totals.bookings += more.bookings
    totals.seats += more.seats
    totals.cancellations += more.cancellations
    totals.revenue += more.revenue


def _ahead(launch: asyncpg.Record, free: dict[UUID, int], totals: _Totals | None) -> dict[str, Any]:
    seats = launch["total_seats"]
    return {
        "destination": launch["destination"],
        "date": msgspec.to_builtins(launch["launch_date"]),
        "rocket": launch["rocket"][:MOST_NAME],
        "sold_seats": max(0, seats - free.get(launch["id"], seats)),
        "total_seats": seats,
        "new_seats": totals.seats if totals else 0,
    }


def _draft(stores: Stores, supplier: asyncpg.Record, digest: _Digest, monday: date) -> Draft:
    telling, totals = Telling.of(stores), digest.totals
    # A week is the same one in whatever zone: no second digest of it where the schedule's zone is changed.
    due = datetime.combine(monday, time(), UTC)
    data = {
        "supplier": {"company_name": supplier["company_name"][:MOST_NAME]},
        "week": {
            "first_day": (monday - _WEEK).isoformat(),
            "last_day": (monday - timedelta(days=1)).isoformat(),
        },
        "totals": {
            "bookings": totals.bookings,
            "seats": totals.seats,
            "cancellations": totals.cancellations,
            "revenue": telling.money(totals.revenue),
        },
        "launches": digest.ahead[:MOST_LAUNCHES],
        "more_launches": len(digest.ahead[MOST_LAUNCHES:]),
        "link": f"{telling.suppliers}/launches",
    }
    return Draft("supplier", supplier["id"], supplier["contact_email"], due, str(supplier["id"]), data)
