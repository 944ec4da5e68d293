"""Change events under load: from the event until both sides agree, and what was only replication that had not arrived.

First it is measured how often a second the slower store does one read and one conditional write. Then at half that
rate, with no regard for how the system keeps up, owners write records and report them, those of 50 ms together, as the
relay of a service's outbox does. Of every five, two are right on the document side, two on the relational side, and the
fifth is written to both sides by its owner, the other side within the settle window. A diff of such a record would be
one that was only lag.
"""

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
from pymongo import WriteConcern

from app.cli.client import as_client
from app.stores.connections import Stores, open_stores
from benchmarks.customers import make_customers
from benchmarks.figure import Figure, say
from config.settings import Settings

NEEDS = "up"
_CONNECTIONS = 8
_PATIENCE_SECONDS = 60.0
_REPORT_SECONDS = 0.05
_P50_GOAL, _P99_GOAL = 0.5, 2.0
# Of the settle window, so that the other side is written within it even when this process is held up a little.
_LAG_OF_WINDOW = (0.1, 0.5)


@dataclass
class Load:
    """What the owners did: when each record was written, and how long the other side of a lagging one took.

    `untold` waits for the next report.
    """

    reported: dict[UUID, float] = field(default_factory=dict)
    untold: list[UUID] = field(default_factory=list)
    lags: dict[UUID, float] = field(default_factory=dict)


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """Latencies, the rate, and what was only lag; `records` is the number of events."""
    yield from asyncio.run(_measure(settings, seconds=5.0 if quick else 60.0, most=records))


async def _measure(settings: Settings, *, seconds: float, most: int | None) -> list[Figure]:
    random.seed(1)
    async with open_stores(settings) as stores, _client(settings) as client:
        await _let_repair(client)
        limits = await _limits(stores, seconds=1.0 if seconds < 10 else 5.0)
        rate = min(limits.values()) / 2
        number = min(most or sys.maxsize, int(rate * seconds))
        keys = await make_customers(stores, number)
        say(f"{number} events at {rate:.0f} a second")
        load = await _drive(stores, client, keys, rate)
        await _until_repaired(stores, load)
        latencies = await _latencies(stores, load)
        lag_only = await _lag_only(stores, load, settings.settle_milliseconds / 1000)
    return _figures(limits, rate, latencies, lag_only, len(load.lags))


def _figures(
    limits: dict[str, float], rate: float, latencies: list[float], lag_only: int, lagging: int
) -> list[Figure]:
    p50, p99 = statistics.median(latencies), latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))]
    bare = [
        Figure(f"events: a read and a conditional write, {side} side", value, "per s")
        for side, value in limits.items()
    ]
    return [
        *bare,
        Figure(
            "events: load",
            rate,
            "events/s",
            min(limits.values()),
            "the slower store",
            rate / min(limits.values()),
        ),
        Figure("events: event to repaired, p50", p50, "s", goal=f"<= {_P50_GOAL} s", ok=p50 <= _P50_GOAL),
        Figure("events: event to repaired, p99", p99, "s", goal=f"<= {_P99_GOAL} s", ok=p99 <= _P99_GOAL),
        Figure(
            f"events: diffs that were only lag, of {lagging} records",
            lag_only,
            "diffs",
            goal="0",
            ok=lag_only == 0,
        ),
    ]


def _client(settings: Settings) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://{settings.web_host}:{settings.web_port}", auth=as_client(settings)
    )


async def _let_repair(client: httpx.AsyncClient) -> None:
    jobs = await client.get("/v1/reconciliation/jobs", timeout=_PATIENCE_SECONDS)
    for job in jobs.raise_for_status().json():
        if job["mode"] != "invariants":
            change = {"repairs": True, "reason": "benchmark"}
            path = f"/v1/reconciliation/jobs/{job['name']}"
            (await client.patch(path, json=change, timeout=_PATIENCE_SECONDS)).raise_for_status()


async def _limits(stores: Stores, *, seconds: float) -> dict[str, float]:
    """How often a second each store does one read and one conditional write, on eight connections."""
    keys = await make_customers(stores, _CONNECTIONS)
    documents: Any = stores.customer.get_collection(
        "customers", write_concern=WriteConcern("majority", j=True)
    )

    async def document(key: UUID) -> None:
        found = await documents.find_one({"_id": key})
        result = await documents.update_one(found, {"$set": {"is_vip": not found["is_vip"]}})
        assert result.modified_count == 1

    async def row(key: UUID) -> None:
        found = await stores.admin.fetchrow("SELECT * FROM customers WHERE id = $1", key)
        condition = " AND ".join(
            f"{name} IS NOT DISTINCT FROM ${at}" for at, name in enumerate(found.keys(), 1)
        )
        query = f"UPDATE customers SET is_vip = NOT is_vip WHERE {condition}"
        assert await stores.admin.execute(query, *found.values()) == "UPDATE 1"

    return {
        side: await _rate(work, keys, seconds) for side, work in (("document", document), ("relational", row))
    }


async def _rate(work: Callable[[UUID], Awaitable[None]], keys: Sequence[UUID], seconds: float) -> float:
    until = time.perf_counter() + seconds

    async def repeat(key: UUID) -> int:
        done = 0
        while time.perf_counter() < until:
            await work(key)
            done += 1
        return done

    return sum(await asyncio.gather(*(repeat(key) for key in keys))) / seconds


async def _drive(stores: Stores, client: httpx.AsyncClient, keys: Sequence[UUID], rate: float) -> Load:
    """Write and report each record at its time, whether or not earlier ones are repaired."""
    load = Load()
    reporting = asyncio.create_task(_report(client, load))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for at, key in enumerate(keys):
            ahead = started + at / rate - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            tasks.create_task(_change(stores, load, at, key))
    reporting.cancel()
    await _tell(client, load)
    return load


async def _change(stores: Stores, load: Load, at: int, key: UUID) -> None:
    if at % 5 < 2:
        await _rename_document(stores, key)
    elif at % 5 < 4:
        await stores.admin.execute(
            "UPDATE customers SET is_vip = true, updated_at = $2 WHERE id = $1", key, datetime.now(UTC)
        )
    else:
        await _write_with_lag(stores, load, key)
        return
    load.reported[key] = time.time()
    load.untold.append(key)


async def _rename_document(stores: Stores, key: UUID) -> None:
    await stores.customer["customers"].update_one(
        {"_id": key}, {"$set": {"first_name": "Grace", "updated_at": datetime.now(UTC)}}
    )


async def _write_with_lag(stores: Stores, load: Load, key: UUID) -> None:
    """The owner's own replication brings the other side along, a little later."""
    started = time.perf_counter()
    await _rename_document(stores, key)
    load.untold.append(key)
    window = stores.settings.settle_milliseconds / 1000
    await asyncio.sleep(window * random.uniform(*_LAG_OF_WINDOW))
    await stores.admin.execute(
        "UPDATE customers SET first_name = 'Grace', updated_at = $2 WHERE id = $1", key, datetime.now(UTC)
    )
    load.lags[key] = time.perf_counter() - started


async def _report(client: httpx.AsyncClient, load: Load) -> None:
    while True:
        await asyncio.sleep(_REPORT_SECONDS)
        await _tell(client, load)


async def _tell(client: httpx.AsyncClient, load: Load) -> None:
    """Events may come twice: they are told again where a report was broken off."""
    if load.untold:
        events = [{"entity": "customers", "id": str(key)} for key in load.untold]
        answer = await client.post(
            "/v1/reconciliation/events", json={"events": events}, timeout=_PATIENCE_SECONDS
        )
        answer.raise_for_status()
        del load.untold[: len(events)]


async def _until_repaired(stores: Stores, load: Load) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    keys = [str(key) for key in load.reported]
    while time.monotonic() < until:
        query = (
            "SELECT count(*) FROM diffs WHERE entity = 'customers' AND key = ANY($1) AND status = 'repaired'"
        )
        if await stores.core.fetchval(query, keys) >= len(keys):
            return
        await asyncio.sleep(0.2)


async def _latencies(stores: Stores, load: Load) -> list[float]:
    """Seconds from each event to the outcome in the core DB, in order; what is never repaired counts as endless."""
    rows = await stores.core.fetch(
        "SELECT key, closed_at FROM diffs WHERE entity = 'customers' AND key = ANY($1) AND status = 'repaired'",
        [str(key) for key in load.reported],
    )
    closed = {UUID(row["key"]): row["closed_at"].timestamp() for row in rows}
    return sorted(
        closed[key] - reported if key in closed else float("inf") for key, reported in load.reported.items()
    )


async def _lag_only(stores: Stores, load: Load, window: float) -> int:
    """Diffs of records whose other side was written within the settle window, by this process's clock."""
    lagging = [str(key) for key, seconds in load.lags.items() if seconds < window]
    if left_out := len(load.lags) - len(lagging):
        say(f"{left_out} of {len(load.lags)} records lagged longer than the settle window and do not count")
    query = "SELECT count(*) FROM diffs WHERE entity = 'customers' AND key = ANY($1)"
    return int(await stores.core.fetchval(query, lagging))
