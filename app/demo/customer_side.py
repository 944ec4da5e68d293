"""What the Customer API does: on documents only, the seats of a launch in the same transaction as its bookings."""

from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import uuid4

from bson import Decimal128
from pymongo.asynchronous.client_session import AsyncClientSession

from app.demo.market import OPEN, Market, Sold
from app.demo.people import email_of
from app.demo.reporter import Changed
from app.demo.world import SEATS
from app.stores.vocabulary import BookingStatus

KEPT_BACK = 6  # seats never sold: where the count is wrong by a few, nobody is sold a seat that there is not

Operation = Callable[[Market], Awaitable[list[Changed] | None]]


async def register(market: Market) -> list[Changed]:
    """A new customer."""
    rng, now = market.rng, datetime.now(UTC)
    person = market.people.person(rng)
    born = date(now.year - rng.randint(19, 85), rng.randint(1, 12), rng.randint(1, 28))
    key = uuid4()
    await market.stores.customer["customers"].insert_one(
        {
            "_id": key,
            "first_name": person.first_name,
            "last_name": person.last_name,
            "email": email_of(person.first_name, person.last_name, uuid4().int),
            "date_of_birth": datetime.combine(born, time(), UTC),
            "contact_number": person.contact_number,
            "address": {
                "street": person.street,
                "city": person.city,
                "postal_code": person.postal_code,
                "country": person.country,
            },
            "is_vip": False,
            "created_at": now,
            "updated_at": now,
        }
    )
    market.customers.append(key)
    return [("customers", key)]


async def edit(market: Market) -> list[Changed] | None:
    """A customer moves house, or gets another number."""
    rng = market.rng
    person = market.people.person(rng)
    change: dict[str, Any] = {
        "address.street": f"{person.street}, {rng.randint(1, 999)}",
        "address.city": person.city,
        "address.postal_code": person.postal_code,
        "address.country": person.country,
    }
    if rng.choice((True, False)):
        change = {"contact_number": f"{person.contact_number} ext. {rng.randint(10, 999)}"}
    return await _save_customer(market, change)


async def save_customer(market: Market) -> list[Changed] | None:
    """A customer opens the profile and saves it as it was."""
    return await _save_customer(market, {})


async def _save_customer(market: Market, change: dict[str, Any]) -> list[Changed] | None:
    key = market.rng.choice(market.customers)
    change["updated_at"] = datetime.now(UTC)
    saved = await market.stores.customer["customers"].update_one({"_id": key}, {"$set": change})
    return [("customers", key)] if saved.matched_count else None


async def book(market: Market) -> list[Changed] | None:
    """Seats are sold only while the count has them; None where it has not."""
    launches = market.stores.customer["launches"]
    launch = await launches.find_one({"_id": market.rng.choice(market.offers)})
    seats = market.rng.choice(SEATS)
    if launch is None or launch["status"] not in OPEN or launch["available_seats"] < seats + KEPT_BACK:
        return None
    booking = _booking(market, launch, seats)

    async def sell(session: AsyncClientSession) -> bool:
        taken = await launches.update_one(
            {"_id": launch["_id"], "available_seats": {"$gte": seats + KEPT_BACK}},
            {"$inc": {"available_seats": -seats}, "$set": {"updated_at": booking["updated_at"]}},
            session=session,
        )
        if taken.modified_count:
            await market.stores.customer["bookings"].insert_one(booking, session=session)
        return bool(taken.modified_count)

    if not await _in_transaction(market, sell):
        return None
    market.sold.append(Sold(booking["_id"], launch["_id"], seats))
    return [("bookings", booking["_id"])]


def _booking(market: Market, launch: dict[str, Any], seats: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    price: Decimal = launch["price"].to_decimal()
    return {
        "_id": uuid4(),
        "customer_id": market.rng.choice(market.customers),
        "launch_id": launch["_id"],
        "number_of_seats": seats,
        "total_price": Decimal128((price * seats).quantize(Decimal("0.01"))),
        "status": BookingStatus.CONFIRMED.value,
        "booking_date": now,
        "cancellation_date": None,
        "created_at": now,
        "updated_at": now,
    }


async def cancel(market: Market) -> list[Changed] | None:
    """A customer cancels, and the seats are free again; None where the booking was cancelled already."""
    if not market.sold:
        return None
    booking = market.sold.pop(market.rng.randrange(len(market.sold)))
    now = datetime.now(UTC)

    async def give_back(session: AsyncClientSession) -> bool:
        cancelled = await market.stores.customer["bookings"].update_one(
            {"_id": booking.id, "status": BookingStatus.CONFIRMED.value},
            {
                "$set": {
                    "status": BookingStatus.CANCELLED.value,
                    "cancellation_date": now,
                    "updated_at": now,
                }
            },
            session=session,
        )
        if cancelled.modified_count:
            await market.stores.customer["launches"].update_one(
                {"_id": booking.launch_id},
                {"$inc": {"available_seats": booking.seats}, "$set": {"updated_at": now}},
                session=session,
            )
        return bool(cancelled.modified_count)

    return [("bookings", booking.id)] if await _in_transaction(market, give_back) else None


async def _in_transaction(market: Market, work: Callable[[AsyncClientSession], Awaitable[bool]]) -> bool:
    """Both writes or none; a conflict with another writer is tried again by the driver."""
    async with market.stores.customer.client.start_session() as session:
        return await session.with_transaction(work)
