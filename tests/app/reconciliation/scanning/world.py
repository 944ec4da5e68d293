"""Two real sides for the tests of scans: seats, which are booked on flights."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from adbc_driver_postgresql import dbapi
from bson.decimal128 import Decimal128
from pymongo import MongoClient

from app.reconciliation.mapping import Authority, Derived, Field, Mapping, Missing, Side, Total
from app.reconciliation.scanning.compare import Finding
from app.reconciliation.scanning.scan import scan
from app.reconciliation.scanning.snapshots import KeyRange
from app.reconciliation.values import Kind
from config.settings import Settings

DOCUMENT, RELATIONAL = Authority(Side.DOCUMENT), Authority(Side.RELATIONAL)
SEATS = Mapping(
    entity="scan_seats",
    collection="scan_seats",
    table="scan_seats",
    missing_document=Missing.REVIEW,
    missing_relational=Missing.CREATE,
    fields=(
        Field("flight", Kind.UUID, DOCUMENT),
        Field("seats", Kind.INTEGER, DOCUMENT),
        Field("status", Kind.TEXT, DOCUMENT),
        Field("price", Kind.DECIMAL, DOCUMENT),
        Field("booked", Kind.TIMESTAMP, DOCUMENT),
    ),
)
FLIGHTS = Mapping(
    entity="scan_flights",
    collection="scan_flights",
    table="scan_flights",
    missing_document=Missing.CREATE,
    missing_relational=Missing.REMOVE,
    fields=(
        Field("total", Kind.INTEGER, RELATIONAL),
        Field(
            "free",
            Kind.INTEGER,
            Derived("total", Total("scan_seats", "flight", "seats", "status", ("Confirmed", "Completed"))),
            relational=None,
        ),
    ),
)
TABLES = """
CREATE TABLE scan_seats (
    id uuid PRIMARY KEY, flight uuid, seats int, status text, price numeric(12,2), booked timestamptz
);
CREATE TABLE scan_flights (id uuid PRIMARY KEY, total int)
"""
BOOKED = datetime(2020, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


class World:
    """Both sides of one test."""

    def __init__(self, settings: Settings, client: MongoClient[Any]) -> None:
        self.settings = settings
        self.documents = client.get_default_database()

    def sql(self, *statements: str) -> None:
        url = self.settings.url("admin_database_url")
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def fill(self, number: int) -> list[UUID]:
        """As many records, equal on both sides, with keys spread over the whole space."""
        keys = [UUID(int=(at * 2**128 // number) + at) for at in range(number)]
        self.documents.scan_seats.insert_many(
            {
                "_id": key,
                "flight": UUID(int=at % 3),
                "seats": at % 6,
                "status": "Confirmed",
                "price": Decimal128("12.5"),
                "booked": BOOKED,
            }
            for at, key in enumerate(keys)
        )
        rows = ", ".join(
            f"('{key}', '{UUID(int=at % 3)}', {at % 6}, 'Confirmed', 12.50, '{BOOKED}')"
            for at, key in enumerate(keys)
        )
        self.sql(f"INSERT INTO scan_seats VALUES {rows}", "ANALYZE scan_seats")
        return keys

    def scan(self, mapping: Mapping = SEATS, key_range: KeyRange | None = None) -> dict[str, Finding]:
        found: list[Finding] = []
        result = scan(self.settings, mapping, key_range or KeyRange(), on_findings=found.extend)
        assert result.findings == len(found)
        return {each.key: each for each in found}
