"""Kinds of drift of customers: the document side is right, but for is_vip."""

import unicodedata
from datetime import timedelta
from typing import Any

from app.demo.cases import Expected, Hand, Kind, Side, add_microseconds, look_alike, put, reorder
from app.demo.people import email_of
from app.demo.shapes import Document
from app.demo.world import Customer, Row

MOST_BOOKED = 6  # a customer who is missing with all bookings shall not take many along


def _edits(hand: Hand) -> dict[str, Any]:
    """A new value for every field that people change."""
    person = hand.people.person(hand.rng)
    return {
        "first_name": f"{person.first_name} {hand.rng.choice('ABCDEFGH')}.",
        "last_name": f"{person.last_name}-{hand.people.person(hand.rng).last_name}",
        "email": email_of(person.first_name, person.last_name, hand.fresh_number()),
        "contact_number": f"{person.contact_number} ext. {hand.rng.randint(10, 99)}",
        "street": f"{person.street}, {hand.rng.randint(1, 99)}",
        "city": f"{person.city} {hand.rng.randint(1, 20)}",
        "postal_code": f"{person.postal_code}-{hand.rng.randint(100, 999)}",
        "country": "Portugal",
    }


def _some_edits(hand: Hand, count: int) -> dict[str, Any]:
    edits = _edits(hand)
    return {name: edits[name] for name in hand.rng.sample(sorted(edits), count)}


def _edit_document(document: Document, _row: Row, hand: Hand) -> None:
    for name, value in _some_edits(hand, 1).items():
        put(document, name, value)
    hand.stamp(document)


def _edit_row(_document: Document, row: Row, hand: Hand) -> None:
    row.update(_some_edits(hand, 1))
    hand.stamp(row)


def _edit_both(document: Document, row: Row, hand: Hand) -> None:
    """The same field, differently."""
    ((name, value),) = _some_edits(hand, 1).items()
    put(document, name, value)
    row[name] = _edits(hand)[name] if name != "country" else "Brazil"
    hand.stamp(document)
    hand.stamp(row)


def _edit_several(document: Document, row: Row, hand: Hand) -> None:
    for name, value in _some_edits(hand, 3).items():
        put(document, name, value)
    row.update(_some_edits(hand, 2))
    hand.stamp(document)


def _born_earlier(_document: Document, row: Row, hand: Hand) -> None:
    row["date_of_birth"] -= timedelta(days=hand.rng.randint(1, 400))
    hand.stamp(row)


def _lose_number(_document: Document, row: Row, hand: Hand) -> None:
    row["contact_number"] = None
    hand.stamp(row)


def _vip_row(_document: Document, row: Row, hand: Hand) -> None:
    row["is_vip"] = not row["is_vip"]
    hand.stamp(row)


def _vip_document(document: Document, _row: Row, hand: Hand) -> None:
    document["is_vip"] = not document["is_vip"]
    hand.stamp(document)


def _both_ways(document: Document, row: Row, hand: Hand) -> None:
    """A profile changed by the customer while the Admin API made them VIP: each side has something right."""
    _edit_document(document, row, hand)
    _vip_row(document, row, hand)


def _look_alike_row(_document: Document, row: Row, hand: Hand) -> None:
    row["first_name"] = look_alike(row["first_name"])
    hand.stamp(row)


def _look_alike_document(document: Document, _row: Row, hand: Hand) -> None:
    document["first_name"] = look_alike(document["first_name"])
    hand.stamp(document)


def _decompose_row(_document: Document, row: Row, hand: Hand) -> None:
    """The same letters to the eye, with their accents as characters of their own."""
    row["last_name"] = unicodedata.normalize("NFD", row["last_name"])
    hand.stamp(row)


def _created_earlier(_document: Document, row: Row, hand: Hand) -> None:
    row["created_at"] = hand.shifted(row["created_at"])


def _renamed(document: Document, row: Row, hand: Hand) -> None:
    """Two new people who gave the same address; one side knows the one, the other the other."""
    email = email_of(document["first_name"], document["last_name"], hand.fresh_number())
    for record in (document, row):
        person = hand.people.person(hand.rng)
        record.update(first_name=person.first_name, last_name=person.last_name, email=email)
        hand.stamp(record)


def _drop_null(document: Document, _row: Row, _hand: Hand) -> None:
    del document["contact_number"]


def _has_twins(customer: Customer, _hand: Hand) -> bool:
    return look_alike(customer.first_name) != customer.first_name


def _has_accents(customer: Customer, _hand: Hand) -> bool:
    return not unicodedata.is_normalized("NFD", customer.last_name)


def _never_booked(customer: Customer, _hand: Hand) -> bool:
    return customer.booked == 0


def _booked_a_little(customer: Customer, _hand: Hand) -> bool:
    return 0 < customer.booked <= MOST_BOOKED


def _without_number(customer: Customer, _hand: Hand) -> bool:
    return customer.contact_number is None


def _with_number(customer: Customer, _hand: Hand) -> bool:
    return customer.contact_number is not None


MISSING_WITH_BOOKINGS = "missing_with_bookings"

# The choosier ones first, while there are candidates.
KINDS = (
    Kind(MISSING_WITH_BOOKINGS, Expected.REPAIR, 0.3, fits=_booked_a_little, drop=Side.RELATIONAL, most=10),
    Kind("missing_in_admin", Expected.REPAIR, 1.5, fits=_never_booked, drop=Side.RELATIONAL),
    Kind("gone_from_document", Expected.REVIEW, 1, fits=_never_booked, drop=Side.DOCUMENT),
    Kind("email_collision", Expected.REVIEW, 0.5, _renamed, clone=True, split=True),
    Kind("null_or_missing", Expected.EQUAL, 1.5, _drop_null, fits=_without_number),
    Kind("number_lost", Expected.REPAIR, 1, _lose_number, fits=_with_number),
    Kind("look_alike_relational", Expected.REPAIR, 1, _look_alike_row, fits=_has_twins),
    Kind("look_alike_document", Expected.REPAIR, 1, _look_alike_document, fits=_has_twins),
    Kind("decomposed_relational", Expected.REPAIR, 0.5, _decompose_row, fits=_has_accents),
    Kind("profile_document", Expected.REPAIR, 3, _edit_document),
    Kind("profile_relational", Expected.REPAIR, 3, _edit_row),
    Kind("profile_both", Expected.REPAIR, 2, _edit_both),
    Kind("profile_several", Expected.REPAIR, 2, _edit_several),
    Kind("birth_relational", Expected.REPAIR, 0.5, _born_earlier),
    Kind("vip_relational", Expected.REPAIR, 1, _vip_row),
    Kind("vip_document", Expected.REPAIR, 1, _vip_document),
    Kind("profile_and_vip", Expected.REPAIR, 1, _both_ways),
    Kind("created_at_relational", Expected.REPAIR, 0.5, _created_earlier),
    Kind("sub_millisecond", Expected.EQUAL, 1.5, add_microseconds),
    Kind("field_order", Expected.EQUAL, 1.5, reorder),
)
