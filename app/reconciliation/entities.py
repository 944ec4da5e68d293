"""The mappings of AstroBookings: customers, launches, bookings."""

from app.reconciliation.mapping import (
    Authority,
    Derived,
    Field,
    Join,
    Mapping,
    Missing,
    Precedence,
    Reference,
    Side,
    Source,
    Total,
    declare,
)
from app.reconciliation.values import Kind
from app.stores.vocabulary import BookingStatus

DOCUMENT = Authority(Side.DOCUMENT)
RELATIONAL = Authority(Side.RELATIONAL)

CUSTOMERS = declare(
    Mapping(
        entity="customers",
        collection="customers",
        table="customers",
        missing_document=Missing.REVIEW,
        missing_relational=Missing.CREATE,
        known_by=(("email",), ("contact_number",), ("first_name", "last_name")),
        fields=(
            Field("first_name", Kind.TEXT, DOCUMENT, personal=True),
            Field("last_name", Kind.TEXT, DOCUMENT, personal=True),
            Field("email", Kind.TEXT, DOCUMENT, personal=True),
            Field("date_of_birth", Kind.DATE, DOCUMENT, personal=True),
            Field("contact_number", Kind.TEXT, DOCUMENT, personal=True),
            Field("address.street", Kind.TEXT, DOCUMENT, relational="street", personal=True),
            Field("address.city", Kind.TEXT, DOCUMENT, relational="city", personal=True),
            Field("address.postal_code", Kind.TEXT, DOCUMENT, relational="postal_code", personal=True),
            Field("address.country", Kind.TEXT, DOCUMENT, relational="country", personal=True),
            Field("is_vip", Kind.BOOLEAN, RELATIONAL),
            Field("created_at", Kind.TIMESTAMP, DOCUMENT),
        ),
    )
)

LAUNCHES = declare(
    Mapping(
        entity="launches",
        collection="launches",
        table="launches",
        missing_document=Missing.CREATE,
        missing_relational=Missing.REMOVE,
        joins=(
            Join("rockets", on="rockets.id = launches.rocket_id"),
            Join("suppliers", on="suppliers.id = launches.supplier_id"),
            Join("spaceports", on="spaceports.id = launches.spaceport_id"),
        ),
        sources=(Source("bookings", key="launch_id"),),
        fields=(
            Field("destination", Kind.TEXT, RELATIONAL),
            Field("launch_date", Kind.TIMESTAMP, RELATIONAL),
            Field("price", Kind.DECIMAL, RELATIONAL),
            Field("total_seats", Kind.INTEGER, RELATIONAL),
            Field(
                "available_seats",
                Kind.INTEGER,
                Derived(
                    base="total_seats",
                    less=Total(
                        entity="bookings",
                        reference="launch_id",
                        field="number_of_seats",
                        where_field="status",
                        where_values=(BookingStatus.CONFIRMED.value, BookingStatus.COMPLETED.value),
                    ),
                ),
                relational=None,
            ),
            Field("status", Kind.TEXT, RELATIONAL),
            Field("rocket.id", Kind.UUID, RELATIONAL, relational="rocket_id"),
            Field("rocket.name", Kind.TEXT, RELATIONAL, relational="rockets.name"),
            Field("rocket.model", Kind.TEXT, RELATIONAL, relational="rockets.model"),
            Field("supplier.id", Kind.UUID, RELATIONAL, relational="supplier_id"),
            Field("supplier.company_name", Kind.TEXT, RELATIONAL, relational="suppliers.company_name"),
            Field("spaceport.name", Kind.TEXT, RELATIONAL, relational="spaceports.name"),
            Field("spaceport.location", Kind.TEXT, RELATIONAL, relational="spaceports.location"),
            Field("created_at", Kind.TIMESTAMP, RELATIONAL),
        ),
    )
)

BOOKINGS = declare(
    Mapping(
        entity="bookings",
        collection="bookings",
        table="bookings",
        missing_document=Missing.REVIEW,
        missing_relational=Missing.CREATE,
        references=(Reference("customer_id", "customers"), Reference("launch_id", "launches")),
        fields=(
            Field("customer_id", Kind.UUID, DOCUMENT),
            Field("launch_id", Kind.UUID, DOCUMENT),
            Field("number_of_seats", Kind.INTEGER, DOCUMENT),
            Field("total_price", Kind.DECIMAL, DOCUMENT),
            Field(
                "status",
                Kind.TEXT,
                Precedence(
                    (
                        (BookingStatus.CANCELLED.value, BookingStatus.CONFIRMED.value),
                        (BookingStatus.COMPLETED.value, BookingStatus.CONFIRMED.value),
                    )
                ),
            ),
            Field("booking_date", Kind.TIMESTAMP, DOCUMENT),
            Field("cancellation_date", Kind.TIMESTAMP, DOCUMENT),
            Field("created_at", Kind.TIMESTAMP, DOCUMENT),
        ),
    )
)
