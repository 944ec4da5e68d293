"""The mappings of another team, a museum: what it declares is all that it writes. `docs/mappings.md` explains it."""

from app.reconciliation.converters import codes, epoch_milliseconds, minor_units
from app.reconciliation.mapping import (
    Authority,
    Derived,
    Field,
    Join,
    Kind,
    Mapping,
    Missing,
    Precedence,
    Reference,
    Review,
    Side,
    SoftDelete,
    Source,
    Total,
    declare,
)

WEBSITE, OFFICE = Authority(Side.DOCUMENT), Authority(Side.RELATIONAL)

SHOWS = declare(
    Mapping(
        entity="shows",
        collection="shows",
        table="museum.shows",
        key_kind=Kind.INTEGER,
        key_relational="number",
        updated_at="changed_at",
        updated_at_document="changedAt",
        missing_document=Missing.CREATE,
        missing_relational=Missing.REMOVE,
        document_deleted=SoftDelete("archive.since"),
        relational_deleted=SoftDelete("is_closed", Kind.BOOLEAN),
        joins=(Join("museum.halls", on="museum.halls.code = museum.shows.hall", updated_at="changed_at"),),
        sources=(Source("tickets", key="show.number", updated_at="changedAt"),),
        ignored=("poster",),
        fields=(
            Field("title", Kind.TEXT, OFFICE),
            Field("opens_on", Kind.DATE, OFFICE, document="opensOn"),
            Field("places", Kind.INTEGER, OFFICE),
            Field(
                "free_places",
                Kind.INTEGER,
                Derived(
                    base="places",
                    less=Total(
                        entity="tickets",
                        reference="show",
                        field="persons",
                        where_field="status",
                        where_values=("booked", "used"),
                    ),
                ),
                document="freePlaces",
                relational=None,
            ),
            Field("hall.code", Kind.TEXT, OFFICE, relational="hall"),
            Field("hall.name", Kind.TEXT, OFFICE, relational="museum.halls.name"),
            Field(
                "language",
                Kind.TEXT,
                OFFICE,
                document_converter=codes({1: "English", 2: "French", 3: "Basque"}),
            ),
        ),
    )
)

TICKETS = declare(
    Mapping(
        entity="tickets",
        collection="tickets",
        table="museum.tickets",
        key_kind=Kind.TEXT,
        key_document="code",
        key_relational="code",
        updated_at="changed_at",
        updated_at_document="changedAt",
        missing_document=Missing.REVIEW,
        missing_relational=Missing.CREATE,
        document_deleted=SoftDelete("deleted", Kind.BOOLEAN),
        relational_deleted=SoftDelete("deleted_at"),
        references=(Reference("show", "shows"),),
        fields=(
            Field("show", Kind.INTEGER, WEBSITE, document="show.number", relational="show_number"),
            Field("visitor", Kind.TEXT, WEBSITE, document="visitor.name", personal=True),
            Field("persons", Kind.INTEGER, WEBSITE),
            Field("fee", Kind.DECIMAL, WEBSITE, document="fee.cents", document_converter=minor_units(2)),
            Field(
                "starts_at",
                Kind.TIMESTAMP,
                WEBSITE,
                document="startsAt",
                document_converter=epoch_milliseconds(),
            ),
            Field(
                "status",
                Kind.TEXT,
                Precedence((("used", "booked"), ("returned", "booked"))),
                relational_converter=codes({"B": "booked", "U": "used", "R": "returned"}),
            ),
            Field("remark", Kind.TEXT, Review()),
        ),
    )
)
