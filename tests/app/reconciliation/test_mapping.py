"""A declaration that cannot hold is refused at once, with everything that is wrong with it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from bson import Code

from app.errors import InvalidInputError
from app.reconciliation import mapping as registry
from app.reconciliation.converters import minor_units
from app.reconciliation.mapping import (
    Authority,
    Converter,
    Derived,
    Field,
    Join,
    Mapping,
    Missing,
    Precedence,
    Reference,
    Review,
    Side,
    SoftDelete,
    Source,
    Total,
    check_mappings,
    declare,
    load_mappings,
    mapping_of,
)
from app.reconciliation.values import Kind, Unreadable

DOCUMENT, RELATIONAL = Authority(Side.DOCUMENT), Authority(Side.RELATIONAL)
BOOKED = Total("tickets", "show", "persons", "status", ("booked",))
FREE = Field("free", Kind.INTEGER, Derived("places", BOOKED), relational=None)
PLACES = Field("places", Kind.INTEGER, RELATIONAL)
SHOWS = Mapping(
    entity="shows",
    collection="shows",
    table="museum.shows",
    key_kind=Kind.INTEGER,
    missing_document=Missing.CREATE,
    missing_relational=Missing.REMOVE,
    fields=(PLACES, FREE),
)
TICKETS = Mapping(
    entity="tickets",
    collection="tickets",
    table="museum.tickets",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.CREATE,
    references=(Reference("show", "shows"),),
    fields=(
        Field("show", Kind.INTEGER, DOCUMENT),
        Field("persons", Kind.INTEGER, DOCUMENT),
        Field("status", Kind.TEXT, DOCUMENT),
        Field("visitor.name", Kind.TEXT, DOCUMENT, relational="visitor"),
    ),
)
HOLDER = Field("holder_id", Kind.INTEGER, DOCUMENT, personal=True)
CENTS = minor_units(2)
SAME = Converter("same", Kind.TEXT, lambda stored: stored, lambda value: value)


def faults_of(declared: Mapping, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as refused:
        replace(declared, **changes)
    return [(each.where, each.message) for each in refused.value.faults]


def with_field(*fields: Field, **changes: Any) -> dict[str, Any]:
    return {"fields": (*TICKETS.fields, *fields), **changes}


@pytest.mark.parametrize(
    ("changes", "where", "said"),
    [
        ({"entity": "Tickets"}, "Tickets", "no entity name"),
        ({"table": "museum.tickets; DROP TABLE x"}, "museum.tickets; DROP TABLE x", "no plain table name"),
        ({"table": '"Tickets"'}, '"Tickets"', "no plain table name"),
        ({"table": "a.b.c"}, "a.b.c", "no plain table name"),
        ({"collection": "system.users"}, "system.users", "no plain collection name"),
        ({"collection": "tick$ets"}, "tick$ets", "no plain collection name"),
        ({"sources": (Source("", key="x"),)}, "", "no plain collection name"),
        ({"sources": (Source("x", key=".x"),)}, ".x", "no dotted path"),
        ({"joins": (Join("museum.tickets", on="true"),)}, "museum.tickets", "joined twice or to itself"),
        ({"joins": (Join("a", on="x"), Join("a", on="y"))}, "a", "joined twice or to itself"),
        ({"joins": (Join("a b", on="x"),)}, "a b", "no plain table name"),
        ({"joins": (Join("a", on="x", updated_at="changed at"),)}, "changed at", "no plain column"),
        ({"key_relational": "Id"}, "Id", "no plain column"),
        ({"key_document": "a..b"}, "a..b", "no dotted path"),
        ({"updated_at": "a.b"}, "a.b", "no plain column"),
        ({"key_kind": Kind.DECIMAL}, "key_kind", "a uuid, an integer or a text"),
        ({"fields": ()}, "fields", "no field that both sides keep"),
        (with_field(Field("persons", Kind.TEXT, DOCUMENT, "other", "other")), "persons", "declared twice"),
        (with_field(Field("x", Kind.TEXT, DOCUMENT, document="persons")), "persons", "named twice"),
        (with_field(Field("x", Kind.TEXT, DOCUMENT, relational="persons")), "persons", "named twice"),
        (with_field(Field("visitor", Kind.TEXT, DOCUMENT, relational="x")), "visitor.name", "lies within another"),
        (with_field(Field("x", Kind.UUID, DOCUMENT, document="_id")), "_id", "named twice"),
        (with_field(Field("x", Kind.UUID, DOCUMENT, relational="id")), "id", "named twice"),
        (with_field(Field("updated_at", Kind.TIMESTAMP, DOCUMENT)), "updated_at", "named twice"),
        (with_field(Field("$x", Kind.TEXT, DOCUMENT, relational="x")), "$x", "no dotted path"),
        (with_field(Field("x", Kind.TEXT, DOCUMENT, relational="upper(x)")), "x", "must be a plain column"),
        (with_field(Field("x", Kind.TEXT, DOCUMENT, relational=None)), "x", "must be a plain column"),
        (with_field(Field("x", Kind.TEXT, Review(), relational="X")), "x", "must be a plain column"),
        (with_field(Field("x", Kind.INTEGER, Precedence((("1", "2"),)))), "x", "precedence is between texts"),
        (
            with_field(Field("x", Kind.TEXT, Precedence((("a", "b"), ("b", "a"))))),
            "x",
            "no two beat each other",
        ),
        (with_field(Field("x", Kind.TEXT, DOCUMENT, document_converter=replace(SAME, name=""))), "x", "without a name"),
        (
            {"fields": (Field("show", Kind.TEXT, DOCUMENT, relational_converter=SAME),)},
            "show",
            "holds a key, which is stored as it is",
        ),
        ({"references": (Reference("nothing", "shows"),)}, "nothing", "names no field"),
        ({"whose": "show"}, "show", "and there is none"),
        (with_field(HOLDER, whose="persons"), "persons", "is no field with a reference"),
        (with_field(HOLDER, whose="nothing"), "nothing", "is no field with a reference"),
        (
            with_field(HOLDER, whose="holder_id", references=(Reference("holder_id", "shows"),)),
            "holder_id",
            "cannot be one of them",
        ),
        ({"document_deleted": SoftDelete("persons")}, "persons", "named twice"),
        ({"document_deleted": SoftDelete("visitor")}, "visitor.name", "lies within another"),
        ({"document_deleted": SoftDelete("visitor.name.x")}, "visitor.name.x", "lies within another"),
        ({"document_deleted": SoftDelete("gone.")}, "gone.", "no dotted path"),
        ({"document_deleted": SoftDelete("gone", Kind.TEXT)}, "gone", "a timestamp or a boolean"),
        ({"relational_deleted": SoftDelete("gone", Kind.INTEGER)}, "gone", "a timestamp or a boolean"),
        ({"relational_deleted": SoftDelete("a.gone")}, "a.gone", "no plain column"),
        ({"relational_deleted": SoftDelete("updated_at")}, "updated_at", "named twice"),
    ],
)  # fmt: skip
def test_what_cannot_hold_is_refused_by_name(changes: dict[str, Any], where: str, said: str) -> None:
    faults = faults_of(TICKETS, **changes)
    assert any(at == where and said in message for at, message in faults), faults


@pytest.mark.parametrize(
    ("derived", "said"),
    [
        (replace(FREE, rule=Derived("nothing", BOOKED)), "no field with an authority"),
        (replace(FREE, kind=Kind.DECIMAL), "both it and its base are integers"),
        (replace(FREE, relational="free"), "the relational side does not keep it"),
        (replace(FREE, document_converter=CENTS), "has no converter"),
    ],
)
def test_a_derived_field_that_cannot_be_told_is_refused(derived: Field, said: str) -> None:
    (fault,) = faults_of(SHOWS, fields=(PLACES, derived))
    assert fault[0] == "free"
    assert said in fault[1]


def test_every_fault_is_listed() -> None:
    marker = SoftDelete("persons", Kind.TEXT)
    assert len(faults_of(TICKETS, table="a b", key_kind=Kind.DATE, relational_deleted=marker)) == 4


def test_what_holds_is_not_refused() -> None:
    markers = {
        "document_deleted": SoftDelete("visitor.gone"),
        "relational_deleted": SoftDelete("gone", Kind.BOOLEAN),
    }
    held = replace(TICKETS, **markers, updated_at_document="meta.changedAt", collection="Museum.tickets-2026")
    check_mappings([held, SHOWS])
    assert held.hash != TICKETS.hash


@pytest.mark.parametrize(
    ("declared", "where", "said"),
    [
        ([TICKETS], "tickets/show", "shows, which is not declared"),
        ([SHOWS], "shows/free", "tickets, which is not declared"),
        ([replace(SHOWS, key_kind=Kind.TEXT), TICKETS], "tickets/show", "not of the kind of the key of shows"),
        ([replace(TICKETS, fields=TICKETS.fields[:2]), SHOWS], "shows/free", "a field status of tickets of kind text"),
        (
            [replace(TICKETS, fields=(TICKETS.fields[0], Field("persons", Kind.DECIMAL, DOCUMENT), TICKETS.fields[2])), SHOWS],
            "shows/free",
            "a field persons of tickets of kind integer",
        ),
        (
            [
                replace(TICKETS, references=(), fields=(replace(TICKETS.fields[0], document_converter=CENTS), *TICKETS.fields[1:])),
                SHOWS,
            ],
            "shows/free",
            "needs show of tickets without a converter",
        ),
        (
            [
                TICKETS,
                replace(SHOWS, fields=(PLACES, Field("best", Kind.UUID, RELATIONAL)), references=(Reference("best", "tickets"),)),
            ],
            "shows/best",
            "neither can come first",
        ),
        (
            [replace(SHOWS, fields=(PLACES,), references=(Reference("places", "shows"),))],
            "shows/places",
            "neither can come first",
        ),
    ],
)  # fmt: skip
def test_mappings_that_do_not_fit_each_other_are_refused_together(
    declared: list[Mapping], where: str, said: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        check_mappings(declared)
    assert any(each.where == where and said in each.message for each in refused.value.faults), (
        refused.value.faults
    )


def test_loading_finds_what_is_not_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    load_mappings("")
    monkeypatch.setattr(registry, "_registry", dict(registry._registry))
    declare(TICKETS)
    assert mapping_of("tickets") is TICKETS
    with pytest.raises(InvalidInputError, match="do not fit") as refused:
        load_mappings("")
    assert [each.where for each in refused.value.faults] == ["tickets/show"]
    declare(SHOWS)
    load_mappings("")
    with pytest.raises(InvalidInputError, match="mapped twice"):
        declare(replace(SHOWS, table="other"))


def test_a_key_with_a_nul_is_none() -> None:
    texts = replace(TICKETS, key_kind=Kind.TEXT)
    assert texts.is_key("a b")
    assert not texts.is_key("a\0b")
    with pytest.raises(InvalidInputError, match="not a key"):
        texts.parse_key("a\0b")


class Status(StrEnum):
    BOOKED = "booked"


def answering(value: Any) -> Converter:
    return replace(SAME, read=lambda _stored: value)


@pytest.mark.parametrize(
    ("converter", "kind", "stored", "value"),
    [
        (CENTS, Kind.DECIMAL, 1250, Decimal("12.5")),
        (SAME, Kind.TEXT, None, None),
        (answering(Status.BOOKED), Kind.TEXT, "B", "booked"),
        (replace(SAME, stored=Kind.DECIMAL, read=str), Kind.TEXT, Decimal("12.500"), "12.5"),
        (replace(SAME, stored=Kind.DECIMAL, read=str), Kind.TEXT, Decimal("-0.00"), "0"),
        (
            answering(datetime(2026, 1, 1, 1, 0, 0, 1999, tzinfo=UTC)),
            Kind.TIMESTAMP,
            "x",
            datetime(2026, 1, 1, 1, 0, 0, 1000, tzinfo=UTC),
        ),
    ],
)
def test_a_converter_gives_what_every_reader_gives(
    converter: Converter, kind: Kind, stored: Any, value: Any
) -> None:
    found = converter.value_of(kind, stored)
    assert found == value
    assert type(found) is type(value)


def failing(error: type[Exception]) -> Converter:
    def read(_stored: Any) -> Any:
        raise error

    return replace(SAME, read=read)


@pytest.mark.parametrize(
    ("converter", "kind", "stored"),
    [
        (answering(None), Kind.TEXT, ""),
        (answering(5), Kind.DECIMAL, "x"),
        (answering("5"), Kind.INTEGER, "x"),
        (answering(2**63), Kind.INTEGER, "x"),
        (answering(Decimal("NaN")), Kind.DECIMAL, "x"),
        (answering(datetime(2026, 1, 1, tzinfo=UTC)), Kind.DATE, "x"),
        (answering("5"), Kind.TEXT, Code("x")),
        (answering("5"), Kind.TEXT, 2**63),
        (answering("5"), Kind.TEXT, Unreadable("x")),
        *(
            (failing(error), Kind.TEXT, "x")
            for error in (ValueError, KeyError, OverflowError, ArithmeticError)
        ),
    ],
)
def test_what_a_converter_cannot_read_is_unreadable(converter: Converter, kind: Kind, stored: Any) -> None:
    assert isinstance(converter.value_of(kind, stored), Unreadable)


@pytest.mark.parametrize(
    "stored", [True, 0, 0.0, "", "no", [], {}, datetime(2026, 1, 1, tzinfo=UTC), timedelta()]
)
def test_whatever_a_marker_holds_deletes(stored: Any) -> None:
    assert SoftDelete.deletes(stored)


@pytest.mark.parametrize("stored", [None, False])
def test_nothing_and_false_do_not_delete(stored: Any) -> None:
    assert not SoftDelete.deletes(stored)


def test_persons_are_the_records_themselves_or_those_that_a_reference_names() -> None:
    note = Field("note", Kind.TEXT, DOCUMENT, personal=True)
    own = replace(TICKETS, **with_field(note))
    assert own.personal_fields == {"note"}
    assert (own.person_entity, own.persons("t1", {"show": 7}, None)) == ("tickets", ("tickets/t1",))
    other = replace(TICKETS, **with_field(note, whose="show"))
    assert (other.person_entity, other.persons("t1", None, {"show": 7})) == ("shows", ("shows/7",))
    assert other.persons("t1", {"show": 7}, {"show": 8}) == ("shows/7", "shows/8")
    for nobody in (None, Unreadable("x"), "a\0b"):
        assert other.persons("t1", {"show": nobody}) == ("tickets/t1",)


def test_what_a_person_is_known_by_is_personal() -> None:
    note = Field("note", Kind.TEXT, DOCUMENT, personal=True)
    known = replace(TICKETS, **with_field(note, known_by=(("note",),)))
    assert known.known_by == (("note",),)
    with pytest.raises(InvalidInputError) as caught:
        replace(known, known_by=(("note", "status"), ("nothing",)))
    assert [each.where for each in caught.value.faults] == ["nothing", "status"]


def test_persons_are_not_themselves_values_of_others() -> None:
    note = Field("note", Kind.TEXT, DOCUMENT, personal=True)
    ours = replace(
        SHOWS,
        fields=(PLACES, note),
        key_kind=Kind.UUID,
        references=(Reference("places", "halls"),),
        whose="places",
    )
    halls = replace(SHOWS, entity="halls", fields=(PLACES,))
    seats = replace(TICKETS, **with_field(note, whose="show"), references=(Reference("show", "shows"),))
    seats = replace(seats, fields=(Field("show", Kind.UUID, DOCUMENT), *seats.fields[1:]))
    check_mappings([halls, ours])
    with pytest.raises(InvalidInputError) as refused:
        check_mappings([halls, ours, seats])
    assert [(each.where, each.message) for each in refused.value.faults] == [
        ("tickets/show", "says whose the personal fields are, and shows are no persons")
    ]
