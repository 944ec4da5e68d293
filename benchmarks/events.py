"""Event to repaired: how long after a change event both sides agree, beside one read and one conditional write."""

import asyncio
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx

from app.stores.connections import Stores, open_stores
from benchmarks.figure import Figure, compare
from config.settings import Settings

NEEDS = "up"
_SETTLED = timedelta(minutes=10)
_PATIENCE_SECONDS = 10.0


def run(settings: Settings, *, quick: bool) -> Iterator[Figure]:
    """Figures of single events, one after the other, on an idle system."""
    yield from asyncio.run(_measure(settings, 20 if quick else 200))


async def _measure(settings: Settings, number: int) -> list[Figure]:
    async with open_stores(settings) as stores, _client(settings) as client:
        await _let_repair(client)
        keys = await _make_customers(stores, number)
        pairs = [(await _event_to_repaired(stores, client, key), await _raw(stores, key)) for key in keys]
    seconds = sorted(value for value, _limit in pairs)
    p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    return [
        compare(
            "event to repaired, p50",
            "s",
            pairs,
            limit_name="a read of both sides and a conditional write",
            goal="p50 <= 2 s",
            reached=lambda _ratio: statistics.median(seconds) <= 2.0,
        ),
        Figure("event to repaired, p99", p99, "s", goal="<= 2 s", ok=p99 <= 2.0),
    ]


def _client(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{settings.web_host}:{settings.web_port}",
        headers={"Authorization": f"Bearer {settings.operator_key.get_secret_value()}"}
        if settings.operator_key
        else {},
    )


async def _let_repair(client: httpx.AsyncClient) -> None:
    for job in (await client.get("/v1/reconciliation/jobs")).json():
        change = {"repairs": True, "reason": "benchmark"}
        (await client.patch(f"/v1/reconciliation/jobs/{job['name']}", json=change)).raise_for_status()


async def _make_customers(stores: Stores, number: int) -> list[UUID]:
    """Customers on the document side, of whom the relational side has stale names."""
    long_ago = datetime.now(UTC) - _SETTLED
    keys = [uuid4() for _ in range(number)]
    await stores.customer["customers"].insert_many([_document(key, long_ago) for key in keys])
    await stores.admin.copy_records_to_table(
        "customers",
        columns=[
            "id", "first_name", "last_name", "email", "date_of_birth", "contact_number", "street", "city",
            "postal_code", "country", "is_vip", "created_at", "updated_at",
        ],
        records=[
            (key, "Stale", "Name", f"{key.hex}@example.com", datetime(1990, 1, 1).date(), None, "s", "c", "p", "x",  # noqa: DTZ001
             False, _cut(long_ago), _cut(long_ago))
            for key in keys
        ],
    )  # fmt: skip
    return keys


def _document(key: UUID, instant: datetime) -> dict[str, Any]:
    return {
        "_id": key,
        "first_name": "Fresh",
        "last_name": "Name",
        "email": f"{key.hex}@example.com",
        "date_of_birth": datetime(1990, 1, 1, tzinfo=UTC),
        "address": {"street": "s", "city": "c", "postal_code": "p", "country": "x"},
        "is_vip": False,
        "created_at": instant,
        "updated_at": instant,
    }


def _cut(instant: datetime) -> datetime:
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


async def _event_to_repaired(stores: Stores, client: httpx.AsyncClient, key: UUID) -> float:
    started = time.perf_counter()
    event = {"entity": "customers", "id": str(key)}
    (await client.post("/v1/reconciliation/events", json={"events": [event]})).raise_for_status()
    while time.perf_counter() - started < _PATIENCE_SECONDS:
        name = await stores.admin.fetchval("SELECT first_name FROM customers WHERE id = $1", key)
        if name == "Fresh":
            return time.perf_counter() - started
        await asyncio.sleep(0.005)
    return _PATIENCE_SECONDS


async def _raw(stores: Stores, key: UUID) -> float:
    started = time.perf_counter()
    await stores.customer["customers"].find_one({"_id": key})
    row: asyncpg.Record = await stores.admin.fetchrow("SELECT * FROM customers WHERE id = $1", key)
    await stores.admin.execute(
        "UPDATE customers SET last_name = $3 WHERE id = $1 AND updated_at = $2",
        key,
        row["updated_at"],
        "Name",
    )
    return time.perf_counter() - started
