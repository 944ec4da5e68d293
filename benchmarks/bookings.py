"""The records that the benchmarks of scans share: bookings in a collection and two tables of their own.

``bench_bookings`` holds on both sides the same; the table ``bench_drifted`` is its twin in which one record in a
thousand differs: eight of ten in a field, one is gone, one is only there. Each is an entity of its own, declared as
another team would: by a module that the setting `mappings` names, which is this one.
"""

import asyncio
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
from bson.decimal128 import Decimal128
from pymongo import MongoClient

from app.reconciliation.entities import BOOKINGS
from app.reconciliation.mapping import declare
from benchmarks.figure import say
from config.settings import Settings

EQUAL = declare(
    replace(BOOKINGS, entity="bench_bookings", collection="bench_bookings", table="bench_bookings")
)
DRIFTED = declare(replace(EQUAL, entity="bench_drifted", table="bench_drifted"))
DIFFERING_ONE_IN = 1_000
COLUMNS = (
    "customer_id", "launch_id", "number_of_seats", "total_price", "status", "booking_date", "cancellation_date",
    "created_at", "updated_at",
)  # fmt: skip

_ROWS_PER_INSERT = 5_000
_INSERTS_AT_ONCE = 3
_SECONDS_BETWEEN_NEWS = 10
_CREATE = """
    CREATE TABLE {table} (
        id uuid PRIMARY KEY, customer_id uuid NOT NULL, launch_id uuid NOT NULL, number_of_seats int NOT NULL,
        total_price numeric(12,2) NOT NULL, status text NOT NULL, booking_date timestamptz NOT NULL,
        cancellation_date timestamptz, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL
    )
"""
_INDEX = "CREATE INDEX ON {table} (updated_at)"
# Whole milliseconds: what a tool without a notion of MongoDB's precision compares must be equal too.
_RANDOM_ROWS = """
    SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(),
        1 + (random() * 5)::int, (random() * 1e6)::numeric(12,2),
        (ARRAY['Confirmed', 'Cancelled', 'Completed'])[1 + (random() * 2)::int],
        date_trunc('milliseconds', now() - random() * interval '900 days'),
        CASE WHEN random() < 0.3 THEN date_trunc('milliseconds', now()) END,
        date_trunc('milliseconds', now() - random() * interval '1000 days'),
        date_trunc('milliseconds', now() - interval '1 day' - random() * interval '800 days')
    FROM generate_series(1, $1)
"""
_CHOOSE = """
    CREATE TEMPORARY TABLE chosen AS SELECT id, row_number() OVER () AS at
    FROM (SELECT id FROM bench_drifted ORDER BY random() LIMIT $1) AS picked
"""
_OF_CHOSEN = "chosen WHERE bench_drifted.id = chosen.id AND at % 10"
_DRIFT = (
    f"UPDATE bench_drifted SET status = 'Delayed' FROM {_OF_CHOSEN} < 4",
    f"UPDATE bench_drifted SET total_price = total_price + 1 FROM {_OF_CHOSEN} BETWEEN 4 AND 7",
    f"DELETE FROM bench_drifted USING {_OF_CHOSEN} = 8",
    f"UPDATE bench_drifted SET id = gen_random_uuid() FROM {_OF_CHOSEN} = 9",
)


def differing(number: int) -> int:
    """How many keys differ between the two sides of DRIFTED: a record whose key changed counts twice."""
    chosen = number // DIFFERING_ONE_IN
    return chosen + sum(at % 10 == 9 for at in range(1, chosen + 1))


def load(settings: Settings, number: int, *, indexed: bool = False) -> None:
    """Put `number` bookings on both sides, instead of what is there; with `indexed` by `updated_at` on both.

    Nobody takes them away: the stores are the benchmark's own, and dropping many documents takes them minutes.
    """
    asyncio.run(_load(settings, number, indexed=indexed))


def load_rows(settings: Settings, number: int) -> None:
    """The relational side alone."""

    async def fill() -> None:
        await _drop(settings)
        async with admin_connection(settings) as connection:
            await _load_rows(connection, number)

    asyncio.run(fill())


@asynccontextmanager
async def admin_connection(settings: Settings) -> Any:
    connection = await asyncpg.connect(settings.url("admin_database_url"))
    try:
        yield connection
    finally:
        await connection.close()


def customer_client(settings: Settings) -> MongoClient[dict[str, Any]]:
    return MongoClient(settings.url("customer_database_url"), uuidRepresentation="standard", tz_aware=True)


async def _load(settings: Settings, number: int, *, indexed: bool) -> None:
    await _drop(settings)
    async with admin_connection(settings) as connection:
        say(f"making {number:,} rows")
        await _load_rows(connection, number)
        with customer_client(settings) as client:
            collection = client.get_default_database()[EQUAL.collection]
            await _copy_to_documents(connection, collection, number)
            if indexed:
                # Not before: the embedded store comes to a stop when many load into two indexes at once.
                say("making an index")
                collection.create_index("updated_at")


async def _load_rows(connection: Any, number: int) -> None:
    """The relational side alone, with its drifted twin."""
    await connection.execute(_CREATE.format(table=EQUAL.table))
    await connection.execute(f"INSERT INTO {EQUAL.table} {_RANDOM_ROWS}", number)
    await connection.execute(_CREATE.format(table=DRIFTED.table))
    await connection.execute(f"INSERT INTO {DRIFTED.table} SELECT * FROM {EQUAL.table}")
    await connection.execute(_CHOOSE, number // DIFFERING_ONE_IN)
    for statement in _DRIFT:
        await connection.execute(statement)
    for mapping in (EQUAL, DRIFTED):
        await connection.execute(_INDEX.format(table=mapping.table))
        await connection.execute(f"VACUUM (ANALYZE) {mapping.table}")


async def _copy_to_documents(connection: Any, collection: Any, number: int) -> None:
    """Several batches are on their way at once, so that the store never waits for the next one."""
    news = _News(number)
    with ThreadPoolExecutor(_INSERTS_AT_ONCE) as threads:
        waiting: set[Future[Any]] = set()
        async with connection.transaction():
            rows = await connection.cursor(f"SELECT * FROM {EQUAL.table}")
            while some := await rows.fetch(_ROWS_PER_INSERT):
                documents = [document_of(row) for row in some]
                waiting.add(threads.submit(collection.insert_many, documents, ordered=False))
                if len(waiting) > _INSERTS_AT_ONCE:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    news.add(sum(len(each.result().inserted_ids) for each in done))
        for each in waiting:
            news.add(len(each.result().inserted_ids))


class _News:
    """Says now and then how far the loading is."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._done = 0
        self._said = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._said > _SECONDS_BETWEEN_NEWS:
            self._said = time.monotonic()
            say(f"{self._done:,} of {self._number:,} documents loaded")


def document_of(row: Any) -> dict[str, Any]:
    values = dict(row.items())
    return {"_id": values.pop("id"), **values, "total_price": Decimal128(values["total_price"])}


async def _drop(settings: Settings) -> None:
    async with admin_connection(settings) as connection:
        await connection.execute(f"DROP TABLE IF EXISTS {EQUAL.table}, {DRIFTED.table}")
    with customer_client(settings) as client:
        client.get_default_database()[EQUAL.collection].drop()
