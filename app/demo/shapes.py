"""How a record looks on each side, and its canonical text, in which the two sides can be held against each other.

Canonical: decimals as plain strings with two decimals, times as ISO UTC with milliseconds (truncated), dates as
ISO, ids as text, nested fields by dotted name, null for what is missing. `updated_at` is left out: it may differ.
"""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from bson import Decimal128

from app.demo.world import Booking, Customer, Launch, Row, World

Document = dict[str, Any]
Value = str | int | bool | None
Canonical = dict[str, Value]

ENTITIES = ("customers", "launches", "bookings")
ADDRESS = ("street", "city", "postal_code", "country")
FIELDS = {
    "customers": (
        "first_name",
        "last_name",
        "email",
        "date_of_birth",
        "contact_number",
        *(f"address.{name}" for name in ADDRESS),
        "is_vip",
        "created_at",
    ),
    "launches": (
        "destination",
        "launch_date",
        "price",
        "total_seats",
        "available_seats",
        "status",
        "rocket.id",
        "rocket.name",
        "rocket.model",
        "supplier.id",
        "supplier.company_name",
        "spaceport.name",
        "spaceport.location",
        "created_at",
    ),
    "bookings": (
        "customer_id",
        "launch_id",
        "number_of_seats",
        "total_price",
        "status",
        "booking_date",
        "cancellation_date",
        "created_at",
    ),
}
DOCUMENT_ONLY = {"available_seats"}
CENT = Decimal("0.01")


def customer_document(customer: Customer) -> Document:
    return {
        "_id": customer.id,
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "email": customer.email,
        # MongoDB has no date: midnight UTC stands for it.
        "date_of_birth": datetime.combine(customer.date_of_birth, time(), UTC),
        "contact_number": customer.contact_number,
        "address": {name: getattr(customer, name) for name in ADDRESS},
        "is_vip": customer.is_vip,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    }


def customer_row(customer: Customer) -> Row:
    return {
        "id": customer.id,
        "first_name": customer.first_name,
        "last_name": customer.last_name,
        "email": customer.email,
        "date_of_birth": customer.date_of_birth,
        "contact_number": customer.contact_number,
        **{name: getattr(customer, name) for name in ADDRESS},
        "is_vip": customer.is_vip,
        "created_at": customer.created_at,
        "updated_at": customer.updated_at,
    }


def launch_document(launch: Launch) -> Document:
    return {
        "_id": launch.id,
        "destination": launch.destination.value,
        "launch_date": launch.launch_date,
        "price": Decimal128(launch.price),
        "total_seats": launch.total_seats,
        "available_seats": launch.total_seats - launch.sold,
        "status": launch.status.value,
        "rocket": {name: launch.rocket[name] for name in ("id", "name", "model")},
        "supplier": {name: launch.supplier[name] for name in ("id", "company_name")},
        "spaceport": {name: launch.spaceport[name] for name in ("name", "location")},
        "created_at": launch.created_at,
        "updated_at": launch.updated_at,
    }


def launch_row(launch: Launch) -> Row:
    return {
        "id": launch.id,
        "rocket_id": launch.rocket["id"],
        "supplier_id": launch.supplier["id"],
        "spaceport_id": launch.spaceport["id"],
        "destination": launch.destination.value,
        "launch_date": launch.launch_date,
        "price": launch.price,
        "total_seats": launch.total_seats,
        "status": launch.status.value,
        "created_at": launch.created_at,
        "updated_at": launch.updated_at,
    }


def booking_document(booking: Booking) -> Document:
    row = booking_row(booking)
    return {"_id": row.pop("id"), **row, "total_price": Decimal128(booking.total_price)}


def booking_row(booking: Booking) -> Row:
    return {
        "id": booking.id,
        "customer_id": booking.customer_id,
        "launch_id": booking.launch_id,
        "number_of_seats": booking.number_of_seats,
        "total_price": booking.total_price,
        "status": booking.status.value,
        "booking_date": booking.booking_date,
        "cancellation_date": booking.cancellation_date,
        "created_at": booking.created_at,
        "updated_at": booking.updated_at,
    }


def document_of(record: Any) -> Document:
    match record:
        case Customer():
            return customer_document(record)
        case Launch():
            return launch_document(record)
        case _:
            return booking_document(record)


def row_of(record: Any) -> Row:
    match record:
        case Customer():
            return customer_row(record)
        case Launch():
            return launch_row(record)
        case _:
            return booking_row(record)


def canonical_document(entity: str, document: Document) -> Canonical:
    return {name: _canonical_field(name, _dig(document, name)) for name in FIELDS[entity]}


def canonical_row(entity: str, row: Row) -> Canonical:
    """`row` as it is stored, a launch's joined by `joined_launch`; the fields of the document side only are left out."""
    found = {}
    for name in FIELDS[entity]:
        if name not in DOCUMENT_ONLY:
            found[name] = _canonical_field(name, row[name.removeprefix("address.")])
    return found


class Catalogue:
    """The rockets, suppliers and spaceports that a launch row refers to."""

    def __init__(self, world: World) -> None:
        self._rockets = {each["id"]: each for each in world.rockets}
        self._suppliers = {each["id"]: each for each in world.suppliers}
        self._spaceports = {each["id"]: each for each in world.spaceports}

    def joined_launch(self, row: Row) -> Row:
        rocket = self._rockets[row["rocket_id"]]
        supplier = self._suppliers[row["supplier_id"]]
        spaceport = self._spaceports[row["spaceport_id"]]
        return row | {
            "rocket.id": rocket["id"],
            "rocket.name": rocket["name"],
            "rocket.model": rocket["model"],
            "supplier.id": supplier["id"],
            "supplier.company_name": supplier["company_name"],
            "spaceport.name": spaceport["name"],
            "spaceport.location": spaceport["location"],
        }


def canonical(value: Any) -> Value:
    """The canonical text of one stored value; what is no text stays a number, a bool or null."""
    match value:
        case UUID():
            return str(value)
        case Decimal128():
            return _money(value.to_decimal())
        case Decimal():
            return _money(value)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case date():
            return value.isoformat()
        case str() | int() | None:
            return value
    raise TypeError(f"no canonical text for {type(value).__name__}")


def _canonical_field(name: str, value: Any) -> Value:
    if name == "date_of_birth" and isinstance(value, datetime):
        return value.date().isoformat()
    return canonical(value)


def _money(value: Decimal) -> str:
    """Two decimals, more only where they are not zero."""
    rounded = value.quantize(CENT)
    return str(rounded) if rounded == value else f"{value:f}"


def _dig(document: Document, name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
