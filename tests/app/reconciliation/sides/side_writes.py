"""Conditional writes of customers for tests, straight through the sides."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.audit.entries import Outcome
from app.reconciliation.entities import CUSTOMERS
from app.reconciliation.mapping import Side
from app.reconciliation.resolve import Action, Plan
from app.reconciliation.sides.ports import ABSENT, Reading, Write, Written
from app.reconciliation.sides.records import EntitySides
from app.reconciliation.values import Record
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import LONG_AGO, document_of, row_of

APPLIED, SUPERSEDED, REJECTED = Outcome.APPLIED, Outcome.SUPERSEDED, Outcome.REJECTED
BOTH = pytest.mark.parametrize("side", list(Side))
LATER = LONG_AGO + timedelta(days=1)
UNTIL = datetime(2100, 1, 1, tzinfo=UTC)


def write(
    side: Side, record: dict[str, Any], action: Action, reading: Reading = ABSENT, **values: Any
) -> Write:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return Write(str(record["id"]), Plan(side, action, named, {}), reading, LATER)


def whole(record: dict[str, Any]) -> Record:
    """Every field of a customer, as a plan that creates it has them."""
    return {each.name: record[each.name.removeprefix("address.")] for each in CUSTOMERS.fields}


def create(side: Side, record: dict[str, Any]) -> Write:
    return Write(str(record["id"]), Plan(side, Action.CREATE, whole(record), {}), ABSENT, LATER)


async def read_each(sides: EntitySides, side: Side, records: Sequence[dict[str, Any]]) -> list[Reading]:
    found = await sides.side(side).read([str(each["id"]) for each in records])
    return [found[str(each["id"])] for each in records]


async def city_of(stores: Stores, side: Side, record: dict[str, Any]) -> str | None:
    if side is Side.RELATIONAL:
        row = await row_of(stores, "customers", record)
        return row and row["city"]
    document = await document_of(stores, "customers", record)
    return document and document["address"]["city"]


async def move(stores: Stores, side: Side, record: dict[str, Any], city: str) -> None:
    """What the owner of a side does: a city changes, without its `updated_at`."""
    if side is Side.RELATIONAL:
        await stores.admin.execute("UPDATE customers SET city = $2 WHERE id = $1", record["id"], city)
    else:
        await stores.customer["customers"].update_one({"_id": record["id"]}, {"$set": {"address.city": city}})


def outcomes(results: Sequence[Written | None]) -> list[Outcome | None]:
    return [each and each.outcome for each in results]
