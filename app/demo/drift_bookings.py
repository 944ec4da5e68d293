"""Kinds of drift of bookings: the document side is right, but a status that is final beats Confirmed anywhere."""

from bson import Decimal128

from app.demo.cases import Expected, Hand, Kind, Side, add_microseconds, reorder, rescale
from app.demo.shapes import Document
from app.demo.world import COUNTED, DAY, Booking, Row, moment, new_id
from app.stores.vocabulary import BookingStatus

MOST_SEATS = 6
MISSING_IN_ADMIN = "missing_in_admin"


def _price_row(_document: Document, row: Row, hand: Hand) -> None:
    row["total_price"] = hand.other_price(row["total_price"])
    hand.stamp(row)


def _price_document(document: Document, row: Row, hand: Hand) -> None:
    document["total_price"] = Decimal128(hand.other_price(row["total_price"]))
    hand.stamp(document)


def _price_both(document: Document, row: Row, hand: Hand) -> None:
    _price_document(document, row, hand)
    row["total_price"] = row["total_price"] + hand.rng.randint(1, 99)
    hand.stamp(row)


def _date_row(_document: Document, row: Row, hand: Hand) -> None:
    row["booking_date"] = hand.shifted(row["booking_date"])
    hand.stamp(row)


def _seats_row(_document: Document, row: Row, hand: Hand) -> None:
    row["number_of_seats"] = row["number_of_seats"] % MOST_SEATS + 1
    hand.stamp(row)


def _several_row(document: Document, row: Row, hand: Hand) -> None:
    _price_row(document, row, hand)
    _date_row(document, row, hand)
    _seats_row(document, row, hand)


def _other_owner(_document: Document, row: Row, hand: Hand) -> None:
    """The first customer of the world is never missing from the admin DB; see drift.py."""
    row["customer_id"] = hand.world.customers[0].id


def _created_earlier(_document: Document, row: Row, hand: Hand) -> None:
    row["created_at"] = hand.shifted(row["created_at"])


def _cancellation_row(_document: Document, row: Row, hand: Hand) -> None:
    """Another time, or none: some services only set the status."""
    row["cancellation_date"] = hand.rng.choice((None, hand.shifted(row["cancellation_date"])))
    hand.stamp(row)


def _confirm(record: Document | Row, hand: Hand) -> None:
    """The side that did not hear of the cancellation, or of the flight."""
    record["status"] = BookingStatus.CONFIRMED.value
    record["cancellation_date"] = None
    hand.stamp(record)


def _confirm_row(_document: Document, row: Row, hand: Hand) -> None:
    _confirm(row, hand)


def _confirm_document(document: Document, _row: Row, hand: Hand) -> None:
    _confirm(document, hand)


def _cancel_row(_document: Document, row: Row, hand: Hand) -> None:
    """Cancelled by the Admin API, with or without a time of its own, which only the document side may state."""
    row["status"] = BookingStatus.CANCELLED.value
    row["cancellation_date"] = hand.rng.choice((None, moment(hand.rng, hand.base - 2 * DAY, hand.base - DAY)))
    hand.stamp(row)


def _complete_row(_document: Document, row: Row, hand: Hand) -> None:
    row["status"] = BookingStatus.COMPLETED.value
    row["cancellation_date"] = None
    hand.stamp(row)


def _no_customer(document: Document, _row: Row, hand: Hand) -> None:
    document["customer_id"] = new_id(hand.rng)


def _no_launch(document: Document, _row: Row, hand: Hand) -> None:
    document["launch_id"] = new_id(hand.rng)


def _drop_null(document: Document, _row: Row, _hand: Hand) -> None:
    del document["cancellation_date"]


def _confirmed(booking: Booking, _hand: Hand) -> bool:
    return booking.status is BookingStatus.CONFIRMED


def _cancelled(booking: Booking, _hand: Hand) -> bool:
    return booking.status is BookingStatus.CANCELLED


def _completed(booking: Booking, _hand: Hand) -> bool:
    return booking.status is BookingStatus.COMPLETED


def _not_cancelled(booking: Booking, _hand: Hand) -> bool:
    return booking.status in COUNTED


def _alone(booking: Booking, hand: Hand) -> bool:
    """No other injection makes this launch's count follow: two could cancel each other out."""
    return booking.launch_id not in hand.seats.following


def _confirmed_alone(booking: Booking, hand: Hand) -> bool:
    return _confirmed(booking, hand) and _alone(booking, hand)


def _not_cancelled_alone(booking: Booking, hand: Hand) -> bool:
    return _not_cancelled(booking, hand) and _alone(booking, hand)


def _room_left(booking: Booking, hand: Hand) -> bool:
    return hand.seats.free(booking.launch_id) >= booking.number_of_seats


def _cancelled_with_room(booking: Booking, hand: Hand) -> bool:
    return _cancelled(booking, hand) and _room_left(booking, hand)


def _cancelled_alone(booking: Booking, hand: Hand) -> bool:
    return _cancelled_with_room(booking, hand) and _alone(booking, hand)


def _not_first_customer(booking: Booking, hand: Hand) -> bool:
    return booking.customer_id != hand.world.customers[0].id


REPAIR, REVIEW, EQUAL = Expected
RELATIONAL, DOCUMENT = Side.RELATIONAL, Side.DOCUMENT

# The choosier ones first, while there are candidates. The four that `follow` leave a count of seats to be repaired.
KINDS = (
    Kind("cancelled_in_admin_seats_held", REPAIR, 0.8, _cancel_row, _confirmed_alone, follows=True),
    Kind(
        "cancelled_in_admin_seats_taken",
        REPAIR,
        0.6,
        _confirm_document,
        _cancelled_alone,
        stored="document",
        follows=True,
    ),
    Kind(
        "gone_from_document_seats_held", REVIEW, 0.6, fits=_not_cancelled_alone, drop=DOCUMENT, follows=True
    ),
    Kind("cancelled_in_admin_seats_right", REPAIR, 1, _cancel_row, _confirmed, stored="end"),
    Kind("cancelled_in_admin_missed", REPAIR, 1, _confirm_document, _cancelled),
    Kind("cancelled_in_document", REPAIR, 2, _confirm_row, _cancelled),
    Kind("completed_in_admin", REPAIR, 1, _confirm_document, _completed),
    Kind("completed_in_document", REPAIR, 2, _confirm_row, _completed),
    Kind("cancelled_against_completed", REVIEW, 0.6, _complete_row, _cancelled),
    Kind("completed_against_cancelled", REVIEW, 0.6, _cancel_row, _completed),
    Kind("gone_from_document", REVIEW, 0.6, drop=DOCUMENT, stored="end"),
    Kind("customer_gone", REVIEW, 0.6, _no_customer, _room_left, clone=True, drop=RELATIONAL, stored="end"),
    Kind("launch_gone", REVIEW, 0.6, _no_launch, clone=True, drop=RELATIONAL),
    Kind("cancellation_date_relational", REPAIR, 1, _cancellation_row, _cancelled),
    Kind("null_or_missing", EQUAL, 1.3, _drop_null, _not_cancelled),
    Kind("owner_relational", REPAIR, 0.5, _other_owner, _not_first_customer),
    Kind("price_relational", REPAIR, 2, _price_row),
    Kind("price_document", REPAIR, 2, _price_document),
    Kind("price_both", REPAIR, 1, _price_both),
    Kind("date_relational", REPAIR, 1, _date_row),
    Kind("seats_relational", REPAIR, 1, _seats_row),
    Kind("several_relational", REPAIR, 1, _several_row),
    Kind("created_at_relational", REPAIR, 0.5, _created_earlier),
    Kind(MISSING_IN_ADMIN, REPAIR, 2, drop=RELATIONAL),
    Kind("decimal_scale", EQUAL, 1.3, rescale("total_price")),
    Kind("sub_millisecond", EQUAL, 1.3, add_microseconds),
    Kind("field_order", EQUAL, 1.3, reorder),
)
