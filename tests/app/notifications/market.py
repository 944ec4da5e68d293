"""Launches, bookings, invoices and people in both databases, as their owners would have put them there."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from app.stores import admin
from app.stores.connections import Stores
from app.stores.customer import (
    Address,
    BookingDocument,
    CustomerDocument,
    LaunchDocument,
    LaunchRocket,
    LaunchSpaceport,
    LaunchSupplier,
)
from app.stores.vocabulary import BookingStatus, Destination, InvoiceStatus, LaunchStatus


@dataclass
class Market:
    """What services do to their databases. Everything happened a month before `moment` unless it is said otherwise."""

    stores: Stores
    moment: datetime
    supplier: UUID
    rocket: UUID
    spaceport: UUID
    people: list[UUID] = field(default_factory=list)

    @property
    def long_ago(self) -> datetime:
        return self.moment - timedelta(days=30)

    @classmethod
    async def open(cls, stores: Stores, moment: datetime) -> "Market":
        supplier, rocket, spaceport = uuid4(), uuid4(), uuid4()
        await admin.Supplier.insert(
            admin.Supplier(
                id=supplier, company_name="Moonshots", contact_email=f"{supplier.hex[:8]}@moon.example"
            )
        )
        await admin.Rocket.insert(
            admin.Rocket(
                id=rocket,
                supplier_id=supplier,
                name="Selene",
                model="S1",
                capacity=60,
                range=Destination.MOON,
            )
        )
        await admin.Spaceport.insert(admin.Spaceport(id=spaceport, name="Kourou", location="Guiana"))
        return cls(stores, moment, supplier, rocket, spaceport)

    async def launch(
        self,
        at: datetime,
        *,
        status: LaunchStatus = LaunchStatus.SCHEDULED,
        created_at: datetime | None = None,
        free: int = 10,
    ) -> UUID:
        """On both sides, the read model too."""
        launch, created = uuid4(), created_at or self.long_ago
        own = {
            "destination": Destination.MOON,
            "launch_date": at,
            "price": Decimal("125000.00"),
            "total_seats": 12,
        }
        both = {**own, "status": status, "created_at": created, "updated_at": created}
        keys = {"rocket_id": self.rocket, "supplier_id": self.supplier, "spaceport_id": self.spaceport}
        await admin.Launch.insert(admin.Launch(id=launch, **both, **keys))
        document = LaunchDocument.model_construct(
            id=launch,
            **both,
            available_seats=free,
            rocket=LaunchRocket(id=self.rocket, name="Selene", model="S1"),
            supplier=LaunchSupplier(id=self.supplier, company_name="Moonshots"),
            spaceport=LaunchSpaceport(name="Kourou", location="Guiana"),
        )
        await self._insert("launches", document.model_dump() | {"price": 125000.0})
        return launch

    async def close(self) -> None:
        """Take everything back, on both sides, whoever has copied it meanwhile."""
        owned = "SELECT id FROM launches WHERE supplier_id = $1"
        launches = [row["id"] for row in await self.stores.admin.fetch(owned, self.supplier)]
        await self.stores.customer["bookings"].delete_many({"launch_id": {"$in": launches}})
        await self.stores.customer["customers"].delete_many({"_id": {"$in": self.people}})
        await self.stores.customer["launches"].delete_many({"_id": {"$in": launches}})
        for statement, value in (
            ("DELETE FROM bookings WHERE launch_id = ANY($1)", launches),
            ("DELETE FROM customers WHERE id = ANY($1)", self.people),
            ("DELETE FROM invoices WHERE supplier_id = $1", self.supplier),
            ("DELETE FROM launches WHERE supplier_id = $1", self.supplier),
            ("DELETE FROM rockets WHERE id = $1", self.rocket),
            ("DELETE FROM spaceports WHERE id = $1", self.spaceport),
            ("DELETE FROM suppliers WHERE id = $1", self.supplier),
        ):
            await self.stores.admin.execute(statement, value)

    async def delay(self, launch: UUID, to: datetime) -> None:
        await self.stores.admin.execute(
            "UPDATE launches SET launch_date = $2, status = 'Delayed' WHERE id = $1", launch, to
        )

    async def customer(self, *, first_name: str = "Ada", email: str | None = None, vip: bool = False) -> UUID:
        customer = uuid4()
        self.people.append(customer)
        written = email or f"{customer.hex[:8]}@example.com"
        document = CustomerDocument.model_construct(
            id=customer,
            first_name=first_name,
            last_name="Lovelace",
            email=written,
            address=Address(street="1", city="London", postal_code="1", country="GB"),
        )
        await self._insert("customers", document.model_dump(exclude={"date_of_birth"}))
        await admin.Customer.insert(
            admin.Customer(
                id=customer, first_name=first_name, last_name="Lovelace", email=written, date_of_birth=date(1990, 1, 1),
                street="1", city="London", postal_code="1", country="GB", is_vip=vip,
            )
        )  # fmt: skip
        return customer

    async def book(
        self,
        launch: UUID,
        customer: UUID | None = None,
        *,
        status: BookingStatus = BookingStatus.CONFIRMED,
        at: datetime | None = None,
        cancelled_at: datetime | None = None,
        seats: int = 2,
    ) -> UUID:
        booking, booked = uuid4(), at or self.long_ago
        document = BookingDocument.model_construct(
            id=booking,
            customer_id=customer or await self.customer(),
            launch_id=launch,
            number_of_seats=seats,
            status=status,
            booking_date=booked,
            cancellation_date=cancelled_at,
            created_at=booked,
            updated_at=cancelled_at or booked,
        )
        await self._insert(
            "bookings", document.model_dump(exclude={"total_price"}) | {"total_price": 100.0 * seats}
        )
        return booking

    async def invoice(self, launch: UUID, due: date, status: InvoiceStatus = InvoiceStatus.PENDING) -> UUID:
        invoice = uuid4()
        await admin.Invoice.insert(
            admin.Invoice(
                id=invoice, supplier_id=self.supplier, launch_id=launch, amount=Decimal("48250.00"), status=status, due_date=due
            )
        )  # fmt: skip
        return invoice

    async def _insert(self, collection: str, document: dict[str, Any]) -> None:
        document["_id"] = document.pop("id")
        document.pop("revision_id", None)
        await self.stores.customer[collection].insert_one(document)
