"""What the simulated services know of the world: records that both sides have."""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.demo.errors import DemoError
from app.demo.people import People
from app.demo.world import Row
from app.stores.connections import Stores
from app.stores.vocabulary import BookingStatus, LaunchStatus

KNOWN = 2000  # records of each kind that are worked on; enough for variety, quick to read
LOOKUP = 250  # ids asked for at once
OPEN = (LaunchStatus.SCHEDULED.value, LaunchStatus.DELAYED.value)
CLOSES = timedelta(days=1)  # before its start a launch is left alone
MOST_DELETIONS = 5  # far fewer than the circuit breaker's floor
LARGEST_FLEET = 40  # launches that a renaming may touch


@dataclass(frozen=True)
class Sold:
    """A booking that can be cancelled."""

    id: UUID
    launch_id: UUID
    seats: int


@dataclass
class Market:
    """Shared by both services. Only what it lists is touched, and what is listed exists on both sides or will."""

    stores: Stores
    rng: random.Random
    people: People
    customers: list[UUID] = field(default_factory=list)
    offers: list[UUID] = field(default_factory=list)
    sold: list[Sold] = field(default_factory=list)
    rockets: list[Row] = field(default_factory=list)
    spaceports: list[UUID] = field(default_factory=list)
    fleets: dict[tuple[str, UUID], int] = field(default_factory=dict)
    # Launches made by the simulation that were never on offer: only these may be deleted. Id -> when made.
    private: dict[UUID, datetime] = field(default_factory=dict)
    deletions_left: int = MOST_DELETIONS


async def open_market(stores: Stores, rng: random.Random, people: People) -> Market:
    """Read what there is to work on. Raises DemoError where there is nothing to sell."""
    market = Market(stores, rng, people)
    market.customers = await _known_customers(stores)
    market.offers = await _known_launches(stores)
    market.sold = await _known_bookings(stores, market.offers)
    market.rockets = [dict(row) for row in await stores.admin.fetch("SELECT * FROM rockets ORDER BY id")]
    market.spaceports = [
        row["id"] for row in await stores.admin.fetch("SELECT id FROM spaceports ORDER BY id")
    ]
    for table, column in (("rockets", "rocket_id"), ("suppliers", "supplier_id")):
        counts = await stores.admin.fetch(
            f"SELECT {column} AS id, count(*) AS n FROM launches GROUP BY 1 ORDER BY 1"
        )
        market.fleets |= {(table, row["id"]): row["n"] for row in counts}
    if not (market.customers and market.offers and market.rockets and market.spaceports):
        raise DemoError("there are no customers and launches to work on", "`astrocore seed` makes some")
    return market


async def _known_customers(stores: Stores) -> list[UUID]:
    rows = await stores.admin.fetch("SELECT id FROM customers ORDER BY id LIMIT $1", KNOWN)
    return [found["_id"] for found in await _documents(stores, "customers", rows, {}) if found]


async def _known_launches(stores: Stores) -> list[UUID]:
    rows = await stores.admin.fetch(
        "SELECT id FROM launches WHERE status = ANY($1) AND launch_date > $2 ORDER BY id LIMIT $3",
        list(OPEN),
        datetime.now(UTC) + CLOSES,
        KNOWN,
    )
    return [
        found["_id"] for found in await _documents(stores, "launches", rows, {"status": {"$in": list(OPEN)}})
    ]


async def _known_bookings(stores: Stores, offers: list[UUID]) -> list[Sold]:
    """Confirmed on both sides, of launches yet to come: to cancel them contradicts nothing."""
    rows = await stores.admin.fetch(
        "SELECT id FROM bookings WHERE status = $1 AND launch_id = ANY($2) ORDER BY id LIMIT $3",
        BookingStatus.CONFIRMED.value,
        offers,
        KNOWN,
    )
    documents = await _documents(stores, "bookings", rows, {"status": BookingStatus.CONFIRMED.value})
    return [Sold(each["_id"], each["launch_id"], each["number_of_seats"]) for each in documents]


async def _documents(
    stores: Stores, entity: str, rows: list[Any], condition: dict[str, Any]
) -> list[dict[str, Any]]:
    """The documents of the same ids that meet the condition, in the order of the rows."""
    found: dict[UUID, dict[str, Any]] = {}
    ids = [row["id"] for row in rows]
    for start in range(0, len(ids), LOOKUP):
        batch = {"_id": {"$in": ids[start : start + LOOKUP]}, **condition}
        async for document in stores.customer[entity].find(batch):
            found[document["_id"]] = document
    return [found[key] for key in ids if key in found]
