"""What an injection of drift is, and the tools with which one tampers with a record. Pure."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from bson import Decimal128

from app.demo.shapes import ADDRESS, Document
from app.demo.world import DAY, Launch, Row, World, moment

LATEST_CHANGE = timedelta(minutes=10)  # before the base: long settled, whenever the day begins
LEFT_UNSTAMPED = 0.2  # share of changes made by hand, without a new updated_at

# Latin letters and the Cyrillic ones that nobody can tell from them.
LOOK_ALIKES = str.maketrans("aceopxyACEHKMOPTX", "асеорхуАСЕНКМОРТХ")  # noqa: RUF001  (that is the point)


class Expected(StrEnum):
    REPAIR = "repair"
    REVIEW = "review"
    EQUAL = "equal"


class Side(StrEnum):
    DOCUMENT = "document"
    RELATIONAL = "relational"


class Hand:
    """The one who tampers: a generator of its own, the clock, and the book of seats."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.people, self.rng, self.base = world, world.people, rng, world.base
        self.launches: dict[UUID, Launch] = {launch.id: launch for launch in world.launches}
        self.seats = Seats(self.launches)
        self._fresh = len(world.customers)

    def fresh_number(self) -> int:
        """A number that no customer's e-mail has."""
        self._fresh += 1
        return self._fresh

    def stamp(self, record: Document | Row) -> None:
        """Set `updated_at` to some time of the last day, as the owner's service would; sometimes forgotten."""
        if self.rng.random() >= LEFT_UNSTAMPED:
            record["updated_at"] = moment(self.rng, self.base - DAY, self.base - LATEST_CHANGE)

    def shifted(self, at: datetime, *, least: timedelta = timedelta(milliseconds=1)) -> datetime:
        """Some time up to two days earlier; often by a millisecond only."""
        return at - self.rng.choice((least, timedelta(hours=1), 2 * DAY))

    def other_price(self, price: Decimal) -> Decimal:
        factor = Decimal(self.rng.choice((85, 90, 95, 105, 110, 120))).scaleb(-2)
        return (price * factor).quantize(Decimal("0.01"))


@dataclass
class Seats:
    """Seats sold beyond those of the undisturbed world: truly, and as the read model's count has it."""

    launches: dict[UUID, Launch]
    truly: Counter[UUID] = field(default_factory=Counter)
    counted: Counter[UUID] = field(default_factory=Counter)
    following: set[UUID] = field(
        default_factory=set
    )  # launches whose count a repair of a booking will correct

    def free(self, launch_id: UUID) -> int:
        launch = self.launches[launch_id]
        return launch.total_seats - launch.sold - max(self.truly[launch_id], self.counted[launch_id])

    def available(self, launch_id: UUID, *, total: int) -> int:
        """What the count has to be once everything is repaired."""
        return total - self.launches[launch_id].sold - self.truly[launch_id]

    def stored(self, launch_id: UUID) -> int:
        """What the read model says before anything is repaired."""
        launch = self.launches[launch_id]
        return launch.total_seats - launch.sold - self.counted[launch_id]


Tamper = Callable[[Document, Row, Hand], None]


def nothing(_document: Document, _row: Row, _hand: Hand) -> None:
    """Both sides stay as they are."""


def anything(_record: Any, _hand: Hand) -> bool:
    return True


@dataclass(frozen=True)
class Kind:
    """One kind of injection.

    A `clone` tampers with a new record made after an existing one's likeness. `drop` is the side that does not have
    the record; `split` keeps the document of one new record and the row of another. `stored` says what the read
    model's count of seats reflects: the world before, what the document says, or the repaired end; `follows` marks
    a kind after whose repair the count is wrong. `most` is the largest number in one world.
    """

    name: str
    expected: Expected
    weight: float
    tamper: Tamper = nothing
    fits: Callable[[Any, Hand], bool] = anything
    clone: bool = False
    drop: Side | None = None
    split: bool = False
    most: int | None = None
    stored: Literal["before", "document", "end"] = "before"
    follows: bool = False


def put(document: Document, name: str, value: Any) -> None:
    """Set a customer's field, which may lie in the address."""
    (document["address"] if name in ADDRESS else document)[name] = value


def look_alike(text: str) -> str:
    """The text with its first letter of the kind replaced by a Cyrillic twin; unchanged where it has none."""
    for position, letter in enumerate(text):
        if ord(letter) in LOOK_ALIKES:
            return text[:position] + letter.translate(LOOK_ALIKES) + text[position + 1 :]
    return text


def add_microseconds(_document: Document, row: Row, hand: Hand) -> None:
    """PostgreSQL keeps microseconds; below the same millisecond they make no difference."""
    for name, value in row.items():
        if isinstance(value, datetime):
            row[name] = value + timedelta(microseconds=hand.rng.randint(1, 999))


def reorder(document: Document, _row: Row, _hand: Hand) -> None:
    """Reverse the order of the fields, at every level; MongoDB keeps `_id` first."""
    for name in [name for name in reversed(document) if name != "_id"]:
        value = document.pop(name)
        if isinstance(value, dict):
            reorder(value, {}, _hand)
        document[name] = value


def rescale(field_name: str) -> Tamper:
    """Write a decimal of the document with one decimal place more, or without the zeros at its end."""

    def tamper(document: Document, _row: Row, hand: Hand) -> None:
        value = document[field_name].to_decimal()
        shorter = value.normalize()
        if hand.rng.random() < 0.5 or shorter.as_tuple().exponent > 0:  # noqa: PLR2004  (one in two)
            shorter = value.quantize(Decimal("0.001"))
        document[field_name] = Decimal128(shorter)

    return tamper
