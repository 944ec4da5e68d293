"""Small worlds for tests: records written straight to both databases, as their owners write them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from bson.decimal128 import Decimal128

from app.stores.connections import Stores

LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)
SUPPLIER, ROCKET, SPACEPORT = (UUID(int=number) for number in (1, 2, 3))


def customer(**changes: Any) -> dict[str, Any]:
    """A customer as both sides agree on it, flat; `changes` override."""
    key = uuid4()
    return {
        "id": key,
        "first_name": "Ada",
        "last_name": "Lovelace",
        "email": f"{key.hex}@example.com",
        "date_of_birth": date(1990, 5, 17),
        "contact_number": "+44 20 7946 0000",
        "street": "1 Square",
        "city": "London",
        "postal_code": "SW1",
        "country": "UK",
        "is_vip": False,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    } | changes


def launch(**changes: Any) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "destination": "Moon",
        "launch_date": LONG_AGO + timedelta(days=400),
        "price": Decimal("120.00"),
        "total_seats": 20,
        "available_seats": 20,
        "status": "Scheduled",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    } | changes


def booking(of: dict[str, Any], by: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "customer_id": by["id"],
        "launch_id": of["id"],
        "number_of_seats": 2,
        "total_price": Decimal("240.00"),
        "status": "Confirmed",
        "booking_date": LONG_AGO,
        "cancellation_date": None,
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    } | changes


async def put_document(stores: Stores, entity: str, record: dict[str, Any]) -> None:
    """Write a record to the customer DB."""
    shaped = {("_id" if name == "id" else name): _bson(value) for name, value in record.items()}
    if entity == "customers":
        places = ("street", "city", "postal_code", "country")
        shaped["address"] = {name: shaped.pop(name) for name in places}
    if entity == "launches":
        shaped["rocket"] = {"id": ROCKET, "name": "Falcon", "model": "F9"}
        shaped["supplier"] = {"id": SUPPLIER, "company_name": "SpaceY"}
        shaped["spaceport"] = {"name": "Kourou", "location": "French Guiana"}
    await stores.customer[entity].insert_one(shaped)


async def put_row(stores: Stores, entity: str, record: dict[str, Any]) -> None:
    """Write a record to the admin DB."""
    shaped = {name: value for name, value in record.items() if name != "available_seats"}
    if entity == "launches":
        shaped |= {"rocket_id": ROCKET, "supplier_id": SUPPLIER, "spaceport_id": SPACEPORT}
        await _put_carriers(stores)
    names = ", ".join(shaped)
    places = ", ".join(f"${at}" for at in range(1, len(shaped) + 1))
    await stores.admin.execute(f"INSERT INTO {entity} ({names}) VALUES ({places})", *shaped.values())


async def put_both(stores: Stores, entity: str, record: dict[str, Any]) -> None:
    await put_document(stores, entity, record)
    await put_row(stores, entity, record)


async def document_of(stores: Stores, entity: str, record: dict[str, Any]) -> dict[str, Any] | None:
    return await stores.customer[entity].find_one({"_id": record["id"]})


async def row_of(stores: Stores, entity: str, record: dict[str, Any]) -> dict[str, Any] | None:
    row = await stores.admin.fetchrow(f"SELECT * FROM {entity} WHERE id = $1", record["id"])
    return dict(row) if row else None


async def _put_carriers(stores: Stores) -> None:
    await stores.admin.execute(
        "INSERT INTO suppliers (id, company_name, contact_email) VALUES ($1, 'SpaceY', 'a@example.com') "
        "ON CONFLICT DO NOTHING",
        SUPPLIER,
    )
    await stores.admin.execute(
        "INSERT INTO rockets (id, supplier_id, name, model, capacity, range) "
        "VALUES ($1, $2, 'Falcon', 'F9', 20, 'Moon') ON CONFLICT DO NOTHING",
        ROCKET,
        SUPPLIER,
    )
    await stores.admin.execute(
        "INSERT INTO spaceports (id, name, location) VALUES ($1, 'Kourou', 'French Guiana') ON CONFLICT DO NOTHING",
        SPACEPORT,
    )


def _bson(value: Any) -> Any:
    if isinstance(value, Decimal):
        return Decimal128(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return value
