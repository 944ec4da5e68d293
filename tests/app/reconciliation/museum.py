"""The museum's tables and records, as its own services write them; `foreign.py` declares its mappings."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from app.stores.connections import Stores

MODULE = "tests.app.reconciliation.foreign"
OPENS, SEEN = date(2026, 5, 1), datetime(2026, 1, 1, tzinfo=UTC)
NOON = datetime(1969, 12, 31, 12, 0, 0, 500000, tzinfo=UTC)
TABLES = """
CREATE SCHEMA museum;
CREATE TABLE museum.halls (code text PRIMARY KEY, name text NOT NULL, changed_at timestamptz NOT NULL);
CREATE TABLE museum.shows (
    number integer PRIMARY KEY, title varchar(80) NOT NULL, opens_on date, places smallint NOT NULL,
    hall text REFERENCES museum.halls, language text, is_closed boolean NOT NULL DEFAULT false,
    changed_at timestamp NOT NULL
);
CREATE TABLE museum.tickets (
    code text PRIMARY KEY, show_number integer NOT NULL REFERENCES museum.shows, visitor text, persons integer NOT NULL,
    fee numeric(9,2), starts_at timestamptz, status character(1) NOT NULL, remark text, deleted_at timestamptz,
    changed_at timestamptz NOT NULL
);
INSERT INTO museum.halls VALUES ('n', 'North hall', '2026-01-01')
"""


def show(number: int, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A show as (document, row); `changes` go into the document, those that begin with `row_` into the row."""
    document = {
        "_id": number, "title": f"Show {number}", "opensOn": datetime(2026, 5, 1, tzinfo=UTC), "places": 50,
        "freePlaces": 50, "hall": {"code": "n", "name": "North hall"}, "language": 2, "changedAt": SEEN,
        "poster": b"x",
    }  # fmt: skip
    row = {
        "number": number, "title": f"Show {number}", "opens_on": OPENS, "places": 50, "hall": "n",
        "language": "French", "is_closed": False, "changed_at": SEEN.replace(tzinfo=None),
    }  # fmt: skip
    return _changed(document, row, changes)


def ticket(code: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    document = {
        "code": code, "show": {"number": 1}, "visitor": {"name": "Ada \U0001f680"}, "persons": 2,
        "fee": {"cents": 1234}, "startsAt": -43_199_500, "status": "booked", "remark": None, "changedAt": SEEN,
    }  # fmt: skip
    row = {
        "code": code, "show_number": 1, "visitor": "Ada \U0001f680", "persons": 2, "fee": Decimal("12.34"),
        "starts_at": NOON, "status": "B", "remark": None, "deleted_at": None, "changed_at": SEEN,
    }  # fmt: skip
    return _changed(document, row, changes)


def _changed(document: dict[str, Any], row: dict[str, Any], changes: dict[str, Any]) -> Any:
    own = {name.removeprefix("row_"): value for name, value in changes.items() if name.startswith("row_")}
    return document | {name: changes[name] for name in changes if not name.startswith("row_")}, row | own


async def put(stores: Stores, entity: str, document: Any = None, row: Any = None) -> None:
    if document:
        await stores.customer[entity].insert_one(document)
    if row:
        places = ", ".join(f"${at}" for at in range(1, len(row) + 1))
        await stores.admin.execute(
            f"INSERT INTO museum.{entity} ({', '.join(row)}) VALUES ({places})", *row.values()
        )
