"""A consistent world: what both databases would hold if nothing had ever gone wrong. Pure; no store is touched.

Every time is relative to `base`, midnight UTC of the day, so that the same random seed gives the same world all
day long; the youngest change lies a day before it. Times have milliseconds, as the document side keeps them.
"""

import random
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.demo.people import People, email_of
from app.demo.sizes import Sizes
from app.stores.vocabulary import BookingStatus, Destination, LaunchStatus

Row = dict[str, Any]

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIRST_REGISTRATION_DAYS = 1100
NEVER_BOOKED = 0.08  # share of customers who only ever looked
VIP = 0.05
CANCELLED = 0.12
SEATS = (1, 1, 1, 2, 2, 2, 2, 3, 4, 5, 6)
CAPACITIES = (60, 80, 100, 120, 150, 180)
COUNTED = (BookingStatus.CONFIRMED, BookingStatus.COMPLETED)

# Destination -> least and most price of a seat; a rocket's range reaches every destination before it as well.
PRICES = {
    Destination.LOW_EARTH_ORBIT: (180_000, 450_000),
    Destination.ISS: (900_000, 2_400_000),
    Destination.MOON: (6_000_000, 18_000_000),
    Destination.MARS: (25_000_000, 60_000_000),
}
RANGES = tuple(PRICES)
SPACEPORTS = (
    ("Kennedy Space Center", "Merritt Island, Florida, United States"),
    ("Cape Canaveral", "Florida, United States"),
    ("Vandenberg", "California, United States"),
    ("Spaceport America", "New Mexico, United States"),
    ("Centre Spatial Guyanais", "Kourou, Guyane, France"),
    ("Байқоңыр", "Қазақстан"),
    ("種子島宇宙センター", "鹿児島県, 日本"),
    ("Centro de Lançamento de Alcântara", "Maranhão, Brasil"),
    ("Esrange", "Kiruna, Sverige"),
    ("SaxaVord", "Unst, Shetland, United Kingdom"),
    ("Andøya", "Nordland, Norge"),
    ("Mahia", "Hawke's Bay, New Zealand"),
)
ROCKET_NAMES = (
    "Aguila",
    "Boreas",
    "Cóndor",
    "Daedalus",
    "Étoile",
    "Falke",
    "Gaia",
    "Hayabusa",
    "Ícaro",
    "Jaskółka",
)
ROLES = ("operations", "finance", "launch control", "support", "safety")


@dataclass(slots=True)
class Customer:
    id: UUID
    first_name: str
    last_name: str
    email: str
    date_of_birth: date
    contact_number: str | None
    street: str
    city: str
    postal_code: str
    country: str
    is_vip: bool
    created_at: datetime
    updated_at: datetime
    booked: int = 0


@dataclass(slots=True)
class Launch:
    id: UUID
    rocket: Row
    supplier: Row
    spaceport: Row
    destination: Destination
    launch_date: datetime
    price: Decimal
    total_seats: int
    status: LaunchStatus
    created_at: datetime
    updated_at: datetime
    sold: int = 0


@dataclass(slots=True)
class Booking:
    id: UUID
    customer_id: UUID
    launch_id: UUID
    number_of_seats: int
    total_price: Decimal
    status: BookingStatus
    booking_date: datetime
    cancellation_date: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass
class World:
    base: datetime
    people: People
    suppliers: list[Row] = field(default_factory=list)
    rockets: list[Row] = field(default_factory=list)
    spaceports: list[Row] = field(default_factory=list)
    invoices: list[Row] = field(default_factory=list)
    employees: list[Row] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    bookings: list[Booking] = field(default_factory=list)


def midnight(now: datetime) -> datetime:
    """The base of every time of a world: midnight UTC of the day of `now`."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def make_world(sizes: Sizes, *, random_seed: int, base: datetime) -> World:
    """The same arguments give the same world, to the last byte."""
    rng = random.Random(random_seed)
    people = People(random_seed)
    world = World(base=base, people=people)
    _add_suppliers(world, people, rng, sizes.launches)
    _add_rockets(world, rng)
    _add_spaceports(world, rng)
    _add_employees(world, people, rng)
    world.launches = [_launch(world, rng) for _ in range(sizes.launches)]
    world.invoices = [_invoice(launch, rng) for launch in world.launches]
    world.customers = _customers(people, rng, sizes.customers, base)
    _add_bookings(world, rng, sizes.bookings)
    return world


def new_id(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


def moment(rng: random.Random, first: datetime, last: datetime) -> datetime:
    """A time between the two, with milliseconds; `first` where there is no time between them."""
    span = (last - first) // timedelta(milliseconds=1)
    return first + timedelta(milliseconds=rng.randrange(span)) if span > 0 else first


def _stamped(rng: random.Random, base: datetime) -> dict[str, datetime]:
    created = moment(rng, base - 1500 * DAY, base - 900 * DAY)
    return {"created_at": created, "updated_at": moment(rng, created, base - DAY)}


def _add_suppliers(world: World, people: People, rng: random.Random, launches: int) -> None:
    for number in range(min(60, max(8, launches // 40))):
        person = people.person(rng)
        world.suppliers.append(
            {
                "id": new_id(rng),
                "company_name": people.company(rng),
                "contact_email": email_of(person.first_name, person.last_name, number),
                "contact_number": person.contact_number if rng.random() < 0.8 else None,  # noqa: PLR2004  (a share)
                **_stamped(rng, world.base),
            }
        )


def _add_rockets(world: World, rng: random.Random) -> None:
    for supplier in world.suppliers:
        for _ in range(rng.randint(2, 4)):
            name = rng.choice(ROCKET_NAMES)
            world.rockets.append(
                {
                    "id": new_id(rng),
                    "supplier_id": supplier["id"],
                    "name": f"{name} {rng.randint(1, 9)}",
                    "model": f"{name[:2].upper()}-{rng.randint(100, 999)}",
                    "capacity": rng.choice(CAPACITIES),
                    "range": rng.choice(RANGES).value,
                    **_stamped(rng, world.base),
                }
            )


def _add_spaceports(world: World, rng: random.Random) -> None:
    for name, location in SPACEPORTS:
        world.spaceports.append(
            {"id": new_id(rng), "name": name, "location": location, **_stamped(rng, world.base)}
        )


def _add_employees(world: World, people: People, rng: random.Random) -> None:
    for number in range(25):
        person = people.person(rng)
        world.employees.append(
            {
                "id": new_id(rng),
                "first_name": person.first_name,
                "last_name": person.last_name,
                "email": email_of(person.first_name, person.last_name, number),
                "role": rng.choice(ROLES),
                **_stamped(rng, world.base),
            }
        )


def _launch(world: World, rng: random.Random) -> Launch:
    rocket = rng.choice(world.rockets)
    destination = rng.choice(RANGES[: RANGES.index(Destination(rocket["range"])) + 1])
    day = rng.choice((rng.randint(-540, -3), rng.randint(2, 365)))
    launch_date = world.base + day * DAY + timedelta(minutes=5 * rng.randrange(288))
    created = min(launch_date - rng.randint(120, 400) * DAY, world.base - rng.randint(20, 120) * DAY)
    least, most = PRICES[destination]
    return Launch(
        id=new_id(rng),
        rocket=rocket,
        supplier=next(each for each in world.suppliers if each["id"] == rocket["supplier_id"]),
        spaceport=rng.choice(world.spaceports),
        destination=destination,
        launch_date=launch_date,
        price=Decimal(rng.randrange(least * 100, most * 100, 50)).scaleb(-2),
        total_seats=rocket["capacity"],
        status=_launch_status(rng, past=day < 0),
        created_at=moment(rng, created, created + DAY),
        updated_at=moment(rng, created + DAY, min(launch_date, world.base - DAY)),
    )


def _launch_status(rng: random.Random, *, past: bool) -> LaunchStatus:
    if rng.random() < 0.03:  # noqa: PLR2004  (a share)
        return LaunchStatus.ABORTED
    if past:
        return LaunchStatus.COMPLETED
    return rng.choice(
        (LaunchStatus.SCHEDULED, LaunchStatus.SCHEDULED, LaunchStatus.SCHEDULED, LaunchStatus.DELAYED)
    )


def _invoice(launch: Launch, rng: random.Random) -> Row:
    paid = launch.status is LaunchStatus.COMPLETED
    aborted = launch.status is LaunchStatus.ABORTED
    return {
        "id": new_id(rng),
        "supplier_id": launch.supplier["id"],
        "launch_id": launch.id,
        "amount": launch.price * 10,
        "status": "Paid" if paid else "Refunded" if aborted else rng.choice(("Pending", "Pending", "Failed")),
        "due_date": (launch.launch_date + 30 * DAY).date(),
        "created_at": launch.created_at,
        "updated_at": launch.created_at,
    }


def _customers(people: People, rng: random.Random, count: int, base: datetime) -> list[Customer]:
    """In the order of registration."""
    registered = sorted(
        moment(rng, base - FIRST_REGISTRATION_DAYS * DAY, base - 2 * DAY) for _ in range(count)
    )
    return [make_customer(people, rng, number, created, base) for number, created in enumerate(registered)]


def make_customer(
    people: People, rng: random.Random, number: int, created: datetime, base: datetime
) -> Customer:
    """A new customer; `number` makes the e-mail unlike any other."""
    person = people.person(rng)
    return Customer(
        id=new_id(rng),
        first_name=person.first_name,
        last_name=person.last_name,
        email=email_of(person.first_name, person.last_name, number),
        date_of_birth=date(base.year - rng.randint(19, 85), rng.randint(1, 12), rng.randint(1, 28)),
        contact_number=person.contact_number if rng.random() < 0.85 else None,  # noqa: PLR2004  (a share)
        street=person.street,
        city=person.city,
        postal_code=person.postal_code,
        country=person.country,
        is_vip=rng.random() < VIP,
        created_at=created,
        updated_at=moment(rng, created, base - DAY),
    )


def _add_bookings(world: World, rng: random.Random, count: int) -> None:
    """Fill the launches in turn, some more than others; never beyond their seats."""
    buyers = [customer for customer in world.customers if rng.random() >= NEVER_BOOKED]
    registered = [customer.created_at for customer in buyers]
    shares = [rng.uniform(0.6, 1.4) for _ in world.launches]
    scale = count / sum(shares)
    done, due = 0, 0.0
    for launch, share in zip(world.launches, shares, strict=True):
        due += share * scale
        for _ in range(round(due) - done):
            world.bookings.append(_booking(world, launch, _buyer(rng, buyers, registered, launch), rng))
        done = round(due)


def _buyer(
    rng: random.Random, buyers: list[Customer], registered: list[datetime], launch: Launch
) -> Customer:
    """Someone who had registered before the launch was offered, or one of the first customers."""
    buyer = buyers[rng.randrange(max(1, bisect_right(registered, launch.created_at)))]
    buyer.booked += 1
    return buyer


def _booking(world: World, launch: Launch, customer: Customer, rng: random.Random) -> Booking:
    closes = min(launch.launch_date - HOUR, world.base - DAY - HOUR)
    booked = moment(rng, max(launch.created_at, customer.created_at), closes)
    seats = rng.choice(SEATS)
    status = _booking_status(launch, seats, rng)
    if status in COUNTED:
        launch.sold += seats
    cancelled = moment(rng, booked, closes + HOUR) if status is BookingStatus.CANCELLED else None
    # A launch may have been cheaper before its last change: only what was booked by then can have cost less.
    cheaper = rng.random() < 0.2 and booked < launch.updated_at  # noqa: PLR2004  (a share)
    early = Decimal("0.90") if cheaper else Decimal(1)
    return Booking(
        id=new_id(rng),
        customer_id=customer.id,
        launch_id=launch.id,
        number_of_seats=seats,
        total_price=(launch.price * early * seats).quantize(Decimal("0.01")),
        status=status,
        booking_date=booked,
        cancellation_date=cancelled,
        created_at=booked,
        updated_at=cancelled or (launch.launch_date + HOUR if status is BookingStatus.COMPLETED else booked),
    )


def _booking_status(launch: Launch, seats: int, rng: random.Random) -> BookingStatus:
    full = launch.sold + seats > launch.total_seats
    if full or launch.status is LaunchStatus.ABORTED or rng.random() < CANCELLED:
        return BookingStatus.CANCELLED
    return BookingStatus.COMPLETED if launch.status is LaunchStatus.COMPLETED else BookingStatus.CONFIRMED
