"""The customer DB: documents of the Customer API, as its owner writes them.

All ids are UUIDs (`_id`), money is Decimal128 with two decimals, times are UTC at millisecond precision.
"""

from datetime import UTC, date, datetime
from typing import Annotated, ClassVar
from uuid import UUID, uuid4

from beanie import DecimalAnnotation, Document, Indexed, init_beanie
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel
from pymongo.asynchronous.database import AsyncDatabase

from app.stores.vocabulary import BookingStatus, Destination, LaunchStatus


def _now() -> datetime:
    return datetime.now(UTC)


class Address(BaseModel):
    street: str
    city: str
    postal_code: str
    country: str


class CustomerDocument(Document):
    id: UUID = Field(default_factory=uuid4)  # type: ignore[assignment]  # Beanie types every id as an ObjectId
    first_name: str
    last_name: str
    email: Annotated[str, Indexed(unique=True)]
    date_of_birth: date
    contact_number: str | None = None
    address: Address
    is_vip: bool = False
    created_at: datetime = Field(default_factory=_now)
    updated_at: datetime = Field(default_factory=_now)

    class Settings:
        name = "customers"
        indexes: ClassVar = [IndexModel([("updated_at", ASCENDING)])]


class LaunchRocket(BaseModel):
    id: UUID
    name: str
    model: str


class LaunchSupplier(BaseModel):
    id: UUID
    company_name: str


class LaunchSpaceport(BaseModel):
    name: str
    location: str


class LaunchDocument(Document):
    """The read model of a launch: joined from the admin DB, with the seats still to be had."""

    id: UUID = Field(default_factory=uuid4)  # type: ignore[assignment]  # Beanie types every id as an ObjectId
    destination: Destination
    launch_date: datetime
    price: DecimalAnnotation
    total_seats: int
    available_seats: int
    status: LaunchStatus
    rocket: LaunchRocket
    supplier: LaunchSupplier
    spaceport: LaunchSpaceport
    created_at: datetime = Field(default_factory=_now)
    updated_at: datetime = Field(default_factory=_now)

    class Settings:
        name = "launches"
        indexes: ClassVar = [
            IndexModel([("updated_at", ASCENDING)]),
            IndexModel([("launch_date", ASCENDING)]),
        ]


class BookingDocument(Document):
    id: UUID = Field(default_factory=uuid4)  # type: ignore[assignment]  # Beanie types every id as an ObjectId
    customer_id: UUID
    launch_id: UUID
    number_of_seats: Annotated[int, Field(ge=1, le=6)]
    total_price: DecimalAnnotation
    status: BookingStatus
    booking_date: datetime
    cancellation_date: datetime | None = None
    created_at: datetime = Field(default_factory=_now)
    updated_at: datetime = Field(default_factory=_now)

    class Settings:
        name = "bookings"
        indexes: ClassVar = [
            IndexModel([("updated_at", ASCENDING)]),
            IndexModel([("customer_id", ASCENDING)]),
            IndexModel([("launch_id", ASCENDING)]),
        ]


CUSTOMER_DOCUMENTS: tuple[type[Document], ...] = (CustomerDocument, LaunchDocument, BookingDocument)


async def bind_documents(database: AsyncDatabase[dict[str, object]], *, create_indexes: bool = False) -> None:
    """Make the documents usable on `database`; its indexes are created only where the database is ours to shape."""
    await init_beanie(
        database=database, document_models=list(CUSTOMER_DOCUMENTS), skip_indexes=not create_indexes
    )
