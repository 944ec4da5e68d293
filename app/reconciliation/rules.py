"""The invariants that are checked: those of AstroBookings, and what other teams declare beside their mappings."""

from app.errors import Fault, InvalidInputError
from app.reconciliation.entities import BOOKINGS, LAUNCHES
from app.reconciliation.invariants import AtMost, Invariant, Product, Refers, faults_of
from app.reconciliation.mapping import Total
from app.stores.vocabulary import BookingStatus

_registry: dict[str, list[Invariant]] = {}


def declare_invariant(invariant: Invariant) -> Invariant:
    """Add an invariant; its entity, and those that it reads, are mapped already.

    Raises InvalidInputError, listing every fault, where it cannot be checked or another one of the entity has its name.
    """
    known = _registry.setdefault(invariant.entity, [])
    if invariant not in known:
        faults = list(faults_of(invariant))
        if any(each.name == invariant.name for each in known):
            faults.append(Fault("name", "another invariant of the entity has it"))
        if faults:
            raise InvalidInputError(f"invariant {invariant.name} of {invariant.entity} cannot hold", faults)
        known.append(invariant)
    return invariant


def invariants_of(entity: str) -> tuple[Invariant, ...]:
    """The invariants of an entity, in the order of their declaration; most have none."""
    return tuple(_registry.get(entity, ()))


SEATS_SOLD = declare_invariant(
    Invariant(
        name="seats_sold",
        entity=LAUNCHES.entity,
        rule="a launch never has more seats sold than it has",
        form=AtMost(
            limit="total_seats",
            noun="seats sold",
            total=Total(
                entity=BOOKINGS.entity,
                reference="launch_id",
                field="number_of_seats",
                where_field="status",
                where_values=(BookingStatus.CONFIRMED.value, BookingStatus.COMPLETED.value),
            ),
        ),
    )
)

CUSTOMER_EXISTS = declare_invariant(
    Invariant(
        name="customer_exists",
        entity=BOOKINGS.entity,
        rule="the customer of a booking exists",
        form=Refers("customer_id"),
    )
)

LAUNCH_EXISTS = declare_invariant(
    Invariant(
        name="launch_exists",
        entity=BOOKINGS.entity,
        rule="the launch of a booking exists",
        form=Refers("launch_id"),
    )
)

TOTAL_PRICE = declare_invariant(
    Invariant(
        name="total_price",
        entity=BOOKINGS.entity,
        rule="the total of a booking is its seats times the price of its launch when it was booked",
        form=Product(
            field="total_price",
            factor="number_of_seats",
            reference="launch_id",
            price="price",
            moments=("booking_date", "created_at"),
        ),
    )
)
