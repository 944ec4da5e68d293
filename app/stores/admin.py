"""The admin DB: tables of the Admin API, as its owner keeps them.

All ids are UUIDs, money is numeric(12,2), times are timestamptz in UTC.
"""

from piccolo.columns import (
    UUID,
    Boolean,
    Date,
    ForeignKey,
    Integer,
    Numeric,
    Text,
    Timestamptz,
)
from piccolo.columns.base import OnDelete
from piccolo.columns.defaults.timestamptz import TimestamptzNow
from piccolo.constraints import Check
from piccolo.table import Table

from app.stores.vocabulary import BookingStatus, Destination, InvoiceStatus, LaunchStatus

MONEY = (12, 2)


def _one_of(column: str, values: type[Destination | LaunchStatus | BookingStatus | InvoiceStatus]) -> Check:
    spelled = ", ".join(f"'{value}'" for value in values)
    return Check(f"{column} IN ({spelled})")


class Supplier(Table, tablename="suppliers"):
    id = UUID(primary_key=True)
    company_name = Text(null=False)
    contact_email = Text(null=False, unique=True)
    contact_number = Text(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)


class Rocket(Table, tablename="rockets"):
    id = UUID(primary_key=True)
    supplier_id = ForeignKey(Supplier, null=False, on_delete=OnDelete.restrict, index=True)
    name = Text(null=False)
    model = Text(null=False)
    capacity = Integer(null=False)
    range = Text(null=False)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)

    known_range = _one_of("range", Destination)


class Spaceport(Table, tablename="spaceports"):
    id = UUID(primary_key=True)
    name = Text(null=False)
    location = Text(null=False)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)


class Launch(Table, tablename="launches"):
    id = UUID(primary_key=True)
    rocket_id = ForeignKey(Rocket, null=False, on_delete=OnDelete.restrict, index=True)
    supplier_id = ForeignKey(Supplier, null=False, on_delete=OnDelete.restrict, index=True)
    spaceport_id = ForeignKey(Spaceport, null=False, on_delete=OnDelete.restrict, index=True)
    destination = Text(null=False)
    launch_date = Timestamptz(null=False, default=None)
    price = Numeric(digits=MONEY, null=False)
    total_seats = Integer(null=False)
    status = Text(null=False)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)

    known_destination = _one_of("destination", Destination)
    known_status = _one_of("status", LaunchStatus)


class Customer(Table, tablename="customers"):
    id = UUID(primary_key=True)
    first_name = Text(null=False)
    last_name = Text(null=False)
    email = Text(null=False, unique=True)
    date_of_birth = Date(null=False, default=None)
    contact_number = Text(null=True, default=None)
    street = Text(null=False)
    city = Text(null=False)
    postal_code = Text(null=False)
    country = Text(null=False)
    is_vip = Boolean(null=False, default=False)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)


class Booking(Table, tablename="bookings"):
    id = UUID(primary_key=True)
    customer_id = ForeignKey(Customer, null=False, on_delete=OnDelete.restrict, index=True)
    launch_id = ForeignKey(Launch, null=False, on_delete=OnDelete.restrict, index=True)
    number_of_seats = Integer(null=False)
    total_price = Numeric(digits=MONEY, null=False)
    status = Text(null=False)
    booking_date = Timestamptz(null=False, default=None)
    cancellation_date = Timestamptz(null=True, default=None)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)

    seats_in_range = Check("number_of_seats BETWEEN 1 AND 6")
    known_status = _one_of("status", BookingStatus)


class Invoice(Table, tablename="invoices"):
    id = UUID(primary_key=True)
    supplier_id = ForeignKey(Supplier, null=False, on_delete=OnDelete.restrict, index=True)
    launch_id = ForeignKey(Launch, null=False, on_delete=OnDelete.restrict, index=True)
    amount = Numeric(digits=MONEY, null=False)
    status = Text(null=False)
    due_date = Date(null=False, default=None)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)

    known_status = _one_of("status", InvoiceStatus)


class Employee(Table, tablename="employees"):
    id = UUID(primary_key=True)
    first_name = Text(null=False)
    last_name = Text(null=False)
    email = Text(null=False, unique=True)
    role = Text(null=False)
    created_at = Timestamptz(default=TimestamptzNow(), null=False)
    updated_at = Timestamptz(default=TimestamptzNow(), null=False, index=True)


# In the order in which they can be created and filled: what is referred to comes first.
ADMIN_TABLES: tuple[type[Table], ...] = (
    Supplier,
    Rocket,
    Spaceport,
    Launch,
    Customer,
    Booking,
    Invoice,
    Employee,
)
