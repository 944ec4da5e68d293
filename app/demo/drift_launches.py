"""Kinds of drift of launches: the relational side is right; the read model follows it, and counts seats."""

from bson import Decimal128

from app.demo.cases import Expected, Hand, Kind, Side, add_microseconds, look_alike, reorder, rescale
from app.demo.shapes import Document
from app.demo.world import DAY, HOUR, Launch, Row
from app.stores.vocabulary import LaunchStatus


def _price_row(_document: Document, row: Row, hand: Hand) -> None:
    row["price"] = hand.other_price(row["price"])
    hand.stamp(row)


def _price_document(document: Document, row: Row, hand: Hand) -> None:
    document["price"] = Decimal128(hand.other_price(row["price"]))
    hand.stamp(document)


def _price_both(document: Document, row: Row, hand: Hand) -> None:
    _price_document(document, row, hand)
    row["price"] = row["price"] + hand.rng.randint(1, 99)
    hand.stamp(row)


def _delay(_document: Document, row: Row, hand: Hand) -> None:
    """The Admin API postponed the launch; the read model was not told."""
    row["launch_date"] += hand.rng.randint(1, 60) * DAY + hand.rng.randint(0, 12) * HOUR
    row["status"] = LaunchStatus.DELAYED.value
    hand.stamp(row)


def _date_document(document: Document, _row: Row, hand: Hand) -> None:
    document["launch_date"] = hand.shifted(document["launch_date"])


def _status_document(document: Document, _row: Row, hand: Hand) -> None:
    others = [status.value for status in LaunchStatus if status.value != document["status"]]
    document["status"] = hand.rng.choice(others)
    hand.stamp(document)


def _more_seats(_document: Document, row: Row, hand: Hand) -> None:
    row["total_seats"] += hand.rng.randint(2, 12)
    hand.stamp(row)


def _several(document: Document, row: Row, hand: Hand) -> None:
    _price_document(document, row, hand)
    _date_document(document, row, hand)
    document["total_seats"] += 1
    document["spaceport"]["location"] += ", closed"


def _stale_supplier(document: Document, _row: Row, _hand: Hand) -> None:
    document["supplier"]["company_name"] += " (formerly)"


def _stale_spaceport(document: Document, _row: Row, _hand: Hand) -> None:
    document["spaceport"]["name"] = "Old " + document["spaceport"]["name"]


def _stale_rocket_name(document: Document, _row: Row, _hand: Hand) -> None:
    document["rocket"]["name"] += " prototype"


def _other_rocket(document: Document, row: Row, hand: Hand) -> None:
    """The rocket was exchanged; the read model still shows the one before."""
    other = hand.rng.choice([each for each in hand.world.rockets if each["id"] != row["rocket_id"]])
    document["rocket"] = {name: other[name] for name in ("id", "name", "model")}


def _look_alike(document: Document, _row: Row, _hand: Hand) -> None:
    document["rocket"]["name"] = look_alike(document["rocket"]["name"])


def _created_earlier(document: Document, _row: Row, hand: Hand) -> None:
    document["created_at"] = hand.shifted(document["created_at"])


def _miscount(document: Document, row: Row, hand: Hand) -> None:
    right = hand.seats.available(document["_id"], total=row["total_seats"])
    wrong = [right + by for by in (-6, -3, -1, 1, 2, 5) if 0 <= right + by <= row["total_seats"]]
    document["available_seats"] = hand.rng.choice(wrong)
    hand.stamp(document)


def _all_free(document: Document, _row: Row, hand: Hand) -> None:
    """A launch that only the read model has: nobody can have booked it."""
    document["available_seats"] = document["total_seats"]
    hand.stamp(document)


def _upcoming(launch: Launch, hand: Hand) -> bool:
    return launch.launch_date > hand.base and launch.status is not LaunchStatus.ABORTED


def _has_twins(launch: Launch, _hand: Hand) -> bool:
    name: str = launch.rocket["name"]
    return look_alike(name) != name


KINDS = (
    Kind("date_relational", Expected.REPAIR, 2, _delay, fits=_upcoming),
    Kind("look_alike_document", Expected.REPAIR, 1, _look_alike, fits=_has_twins),
    Kind("price_relational", Expected.REPAIR, 2, _price_row),
    Kind("price_document", Expected.REPAIR, 2, _price_document),
    Kind("price_both", Expected.REPAIR, 1, _price_both),
    Kind("date_document", Expected.REPAIR, 1, _date_document),
    Kind("status_document", Expected.REPAIR, 2, _status_document),
    Kind("total_seats_relational", Expected.REPAIR, 1, _more_seats),
    Kind("several_document", Expected.REPAIR, 1, _several),
    Kind("supplier_stale", Expected.REPAIR, 1, _stale_supplier),
    Kind("spaceport_stale", Expected.REPAIR, 1, _stale_spaceport),
    Kind("rocket_name_stale", Expected.REPAIR, 1, _stale_rocket_name),
    Kind("rocket_stale", Expected.REPAIR, 1, _other_rocket),
    Kind("created_at_document", Expected.REPAIR, 1, _created_earlier),
    Kind("seats_wrong", Expected.REPAIR, 4, _miscount),
    Kind("missing_in_read_model", Expected.REPAIR, 2, drop=Side.DOCUMENT),
    # Removed from the read model, and deletions are what the circuit breaker allows fewest of.
    Kind("extra_in_read_model", Expected.REPAIR, 1, _all_free, clone=True, drop=Side.RELATIONAL, most=10),
    Kind("decimal_scale", Expected.EQUAL, 2, rescale("price")),
    Kind("sub_millisecond", Expected.EQUAL, 2, add_microseconds),
    Kind("field_order", Expected.EQUAL, 2, reorder),
)
