"""What the simulated services know of the world: records that both sides have, and how much may still change."""

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.demo.errors import DemoError
from app.demo.people import People
from app.demo.reporter import Changed
from app.demo.shapes import ENTITIES
from app.demo.world import Row
from app.reconciliation.breaker import known_records, limits
from app.stores.connections import Stores
from app.stores.vocabulary import BookingStatus, LaunchStatus

KNOWN = 2000  # records of each kind that are worked on; enough for variety, quick to read
LOOKUP = 250  # ids asked for at once
OPEN = (LaunchStatus.SCHEDULED.value, LaunchStatus.DELAYED.value)
CLOSES = timedelta(days=1)  # before its start a launch is left alone
BREAKER_SHARE = 0.5  # of what the breaker still lets through: a record that is changed may take two repairs
MOST_DELETIONS = 5
USED = """
    SELECT COALESCE(sum(changes), 0) AS changes, COALESCE(sum(deletes), 0) AS deletes
    FROM repair_counts c LEFT JOIN breakers b ON b.entity = c.entity
    WHERE c.entity = $1 AND counted_at > GREATEST(now() - interval '1 hour', b.counted_from)
"""


@dataclass(frozen=True)
class Sold:
    """A booking that can be cancelled."""

    id: UUID
    launch_id: UUID
    seats: int


@dataclass
class Allowance:
    """How many more records of each entity may be made to differ, so that the circuit breaker lets it pass."""

    left: dict[str, float]
    deletions: int = MOST_DELETIONS

    def covers(self, costs: Counter[str]) -> bool:
        return all(self.left[entity] >= cost for entity, cost in costs.items())

    def spend(self, costs: Counter[str]) -> None:
        for entity, cost in costs.items():
            self.left[entity] -= cost


@dataclass
class Market:
    """Shared by both services. Only what it lists is touched, and what is listed exists on both sides or will."""

    stores: Stores
    rng: random.Random
    people: People
    allowance: Allowance
    customers: list[UUID] = field(default_factory=list)
    offers: list[UUID] = field(default_factory=list)
    sold: list[Sold] = field(default_factory=list)
    rockets: list[Row] = field(default_factory=list)
    spaceports: list[UUID] = field(default_factory=list)
    fleets: dict[tuple[str, UUID], int] = field(default_factory=dict)
    # Launches made by the simulation that were never on offer: only these may be deleted. Id -> when made.
    private: dict[UUID, datetime] = field(default_factory=dict)


async def open_market(stores: Stores, rng: random.Random, people: People, *, past_breaker: bool) -> Market:
    """Read what there is to work on. Raises DemoError where there is nothing to sell."""
    market = Market(stores, rng, people, await _allowance(stores, past_breaker=past_breaker))
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


async def _allowance(stores: Stores, *, past_breaker: bool) -> Allowance:
    """A share of what the breaker still lets through, the repairs of the last hour taken off."""
    if past_breaker:
        return Allowance(dict.fromkeys(ENTITIES, math.inf))
    left, deletions = {}, MOST_DELETIONS
    for entity in ENTITIES:
        most = limits(stores.settings, await known_records(stores.core, entity))
        used = await stores.core.fetchrow(USED, entity)
        left[entity] = max(0.0, BREAKER_SHARE * (most.changes - used["changes"]))
        deletions = min(deletions, int(BREAKER_SHARE * (most.deletes - used["deletes"])))
    return Allowance(left, deletions)


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


def costs_of(changed: list[Changed]) -> Counter[str]:
    return Counter(entity for entity, _key in changed)
