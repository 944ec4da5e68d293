"""Inject drift of every kind into a world and say what must become of each injection. Pure.

What is expected is worked out here from the rules themselves, apart from the code that repairs: it is the oracle
against which that code is held.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from app.demo.cases import Expected, Hand, Kind, Side
from app.demo.drift_bookings import KINDS as BOOKING_KINDS
from app.demo.drift_bookings import MISSING_IN_ADMIN
from app.demo.drift_customers import KINDS as CUSTOMER_KINDS
from app.demo.drift_customers import MISSING_WITH_BOOKINGS
from app.demo.drift_launches import KINDS as LAUNCH_KINDS
from app.demo.shapes import (
    ENTITIES,
    Canonical,
    Catalogue,
    Document,
    canonical_document,
    canonical_row,
    document_of,
    launch_document,
    row_of,
)
from app.demo.world import COUNTED, Booking, Row, World, new_id
from app.stores.vocabulary import BookingStatus

MOST_DRIFT = 0.2
KINDS: dict[str, tuple[Kind, ...]] = {
    "customers": CUSTOMER_KINDS,
    "launches": LAUNCH_KINDS,
    "bookings": BOOKING_KINDS,
}
SEATS_FOLLOW = "seats_follow"  # not injected: what the repair of a booking makes of its launch's count
LAUNCHES_PER_FOLLOWING = 150  # so few launches follow that the circuit breaker lets them all through
FINAL = (BookingStatus.CANCELLED, BookingStatus.COMPLETED)


@dataclass(frozen=True)
class Truth:
    """What must become of one record. `after` is the record on both sides, null where neither shall have it."""

    entity: str
    id: str
    injection: str
    expected: Expected
    after: Canonical | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Drift:
    """What stands on a side instead of the world's record, by entity and id; None where nothing stands."""

    documents: dict[str, dict[UUID, Document | None]] = field(
        default_factory=lambda: {name: {} for name in ENTITIES}
    )
    rows: dict[str, dict[UUID, Row | None]] = field(default_factory=lambda: {name: {} for name in ENTITIES})
    truth: list[Truth] = field(default_factory=list)


def make_drift(world: World, *, share: float, random_seed: int) -> Drift:
    """Tamper with `share` of the records, at least once in each way; nothing where the share is 0.

    Raises ValueError where the world has no record that fits a kind.
    """
    injector = _Injector(world, random.Random(f"drift {random_seed}"))
    if share > 0:
        injector.customers(share)
        injector.bookings(share)
        injector.launches(share)
    injector.drift.truth.sort(key=lambda line: (ENTITIES.index(line.entity), line.id))
    return injector.drift


def allot(kinds: Sequence[Kind], total: int, *, launches: int) -> dict[str, int]:
    """How many of each kind make up `total`, by weight: at least one of each, at most what it allows."""
    weights = sum(kind.weight for kind in kinds)
    follow = max(1, launches // LAUNCHES_PER_FOLLOWING)
    counts = {}
    for kind in kinds:
        most = follow if kind.follows else kind.most
        count = max(1, round(total * kind.weight / weights))
        counts[kind.name] = min(count, most) if most else count
    return counts


def _counted(record: Mapping[str, Any]) -> int:
    """The seats that a booking takes from its launch."""
    return int(record["number_of_seats"]) if record["status"] in COUNTED else 0


class _Injector:
    """Works through the entities; a record is tampered with at most once."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.hand = Hand(world, rng)
        self.catalogue = Catalogue(world)
        self.drift = Drift()
        # The first customer stays as it is: some rows of bookings are made to point to it.
        self.taken: set[UUID] = {world.customers[0].id}

    def customers(self, share: float) -> None:
        self._inject("customers", self.world.customers, share)

    def bookings(self, share: float) -> None:
        self._take_bookings_along()
        self._inject("bookings", self.world.bookings, share)

    def launches(self, share: float) -> None:
        self.taken |= self.hand.seats.following
        self._inject("launches", self.world.launches, share)
        self._recount()

    def _take_bookings_along(self) -> None:
        """The admin DB cannot hold bookings of a customer that it does not have."""
        gone = {UUID(line.id) for line in self.drift.truth if line.injection == MISSING_WITH_BOOKINGS}
        kind = next(kind for kind in BOOKING_KINDS if kind.name == MISSING_IN_ADMIN)
        for booking in self.world.bookings:
            if booking.customer_id in gone:
                self._tamper("bookings", kind, booking)

    def _inject(self, entity: str, records: Sequence[Any], share: float) -> None:
        kinds = KINDS[entity]
        counts = allot(kinds, round(len(records) * share), launches=len(self.world.launches))
        order = self.hand.rng.sample(range(len(records)), len(records))
        for kind in kinds:
            found = 0
            for record in islice(self._fitting(kind, records, order), counts[kind.name]):
                self._tamper(entity, kind, record)
                found += 1
            if not found:
                raise ValueError(
                    f"none of {len(records)} {entity} fits the injection {kind.name}; ask for more {entity}"
                )

    def _fitting(self, kind: Kind, records: Sequence[Any], order: list[int]) -> Iterator[Any]:
        for index in order:
            record = records[index]
            if record.id not in self.taken and kind.fits(record, self.hand):
                yield record

    def _tamper(self, entity: str, kind: Kind, record: Any) -> None:
        document, row = document_of(record), row_of(record)
        if entity == "launches":
            document["available_seats"] = self.hand.seats.stored(record.id)
        if kind.clone:
            document["_id"] = row["id"] = new_id(self.hand.rng)
        else:
            self.taken.add(record.id)
        kind.tamper(document, row, self.hand)
        if kind.split:
            row["id"] = new_id(self.hand.rng)
            self._keep(entity, kind, document["_id"], document, None)
            self._keep(entity, kind, row["id"], None, row)
            return
        kept_document = document if kind.drop is not Side.DOCUMENT else None
        kept_row = row if kind.drop is not Side.RELATIONAL else None
        after = self._keep(entity, kind, row["id"], kept_document, kept_row)
        if entity == "bookings":
            self._book_seats(kind, record, document, after)

    def _keep(
        self, entity: str, kind: Kind, key: UUID, document: Document | None, row: Row | None
    ) -> Canonical | None:
        self.drift.documents[entity][key] = document
        self.drift.rows[entity][key] = row
        after = self._after(entity, document, row) if kind.expected is Expected.REPAIR else None
        self.drift.truth.append(Truth(entity, str(key), kind.name, kind.expected, after))
        return after

    def _after(self, entity: str, document: Document | None, row: Row | None) -> Canonical | None:
        """The repaired record, by the rules of authority."""
        if entity == "launches":
            return self._launch_after(row)
        assert document is not None
        after = canonical_document(entity, document)
        if row is not None and entity == "customers":
            after["is_vip"] = row["is_vip"]
        if row is not None and entity == "bookings" and row["status"] in FINAL:
            after["status"] = row["status"]
        return after

    def _launch_after(self, row: Row | None) -> Canonical | None:
        if row is None:
            return None
        after = canonical_row("launches", self.catalogue.joined_launch(row))
        return after | {"available_seats": self.hand.seats.available(row["id"], total=row["total_seats"])}

    def _book_seats(self, kind: Kind, booking: Booking, document: Document, after: Canonical | None) -> None:
        """Enter what the injection, and its repair, do to the seats of the launch."""
        launch_id, seats = document["launch_id"], self.hand.seats
        if launch_id not in self.hand.launches:
            return
        before = 0 if kind.clone else _counted(row_of(booking))
        said = 0 if kind.drop is Side.DOCUMENT else _counted(document)
        end = said if after is None else _counted(after)
        seats.truly[launch_id] += end - before
        seats.counted[launch_id] += {"before": 0, "document": said - before, "end": end - before}[kind.stored]
        if kind.follows:
            seats.following.add(launch_id)

    def _recount(self) -> None:
        """The read model of the launches that nothing but bookings disturbed."""
        seats = self.hand.seats
        for launch in self.world.launches:
            stored = seats.stored(launch.id)
            if launch.id in self.drift.documents["launches"]:
                continue
            if seats.counted[launch.id]:
                self.drift.documents["launches"][launch.id] = launch_document(launch) | {
                    "available_seats": stored
                }
                self.drift.rows["launches"][launch.id] = row_of(launch)
            if stored != seats.available(launch.id, total=launch.total_seats):
                after = self._launch_after(row_of(launch))
                self.drift.truth.append(
                    Truth("launches", str(launch.id), SEATS_FOLLOW, Expected.REPAIR, after)
                )
