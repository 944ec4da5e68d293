"""Customers as mails need them, and the batches in which they are read."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.notifications.templates.schemas import name_of
from app.stores.connections import Stores
from app.stores.customer import CustomerDocument

BATCH = 1000
FIELDS = {"first_name": 1, "email": 1}


async def batches(cursor: AsyncIterator[dict[str, Any]]) -> AsyncIterator[list[dict[str, Any]]]:
    """What a cursor finds, a thousand at a time."""
    batch: list[dict[str, Any]] = []
    async for each in cursor:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


async def customers(stores: Stores, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """Those of these customers that there are, by id."""
    cursor = stores.customer[CustomerDocument.Settings.name].find({"_id": {"$in": list(ids)}}, FIELDS)
    return {each["_id"]: each async for each in cursor}


def greeting(customer: Mapping[str, Any]) -> dict[str, str]:
    """How templates greet a customer: by a name that can be one, or by none; nobody goes without mail for it."""
    try:
        return {"first_name": name_of(customer.get("first_name"))}
    except ValueError:
        return {}
