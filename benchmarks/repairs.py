"""Confirmed repairs/s of the repair path, beside bare conditional writes/s on the same stores.

A confirmed repair is the whole path: claim, read both sides, resolve, intent, conditional write, outcome. A bare write
has the same condition, everything that was read before, and nothing around it: one at a time on eight connections, as a
careful loop would do it, and in batches of the repair path's size, as many at once as the repair path has.

Half of the records need a write of one side and half of the other, as drift comes; then all of them need one of the
relational side, then all one of the document side. What no repair can do without, reading both sides once in such
batches, bounds what can be reached where writes are far faster than that.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any, TypeVar
from uuid import UUID

from pymongo import UpdateOne, WriteConcern

from app.reconciliation.ledger.jobs import ensure_jobs
from app.reconciliation.ledger.suspects import nominate
from app.reconciliation.repairing.repair import BATCH, repairer_of
from app.stores.connections import Stores, open_stores
from app.stores.migrate import create_foreign_schemas, migrate
from benchmarks.customers import honour, make_customers, rename
from benchmarks.figure import Figure, compare
from config.settings import Settings

_CONNECTIONS = 8
# As the repair path has them.
_BATCHES_AT_ONCE = 4
_RATIO_GOAL = 0.5
# As every repair is written.
_DURABLE = WriteConcern("majority", j=True)

Records = Sequence[dict[str, Any]]
T = TypeVar("T")


def run(settings: Settings, *, quick: bool, records: int | None) -> Iterator[Figure]:
    """A figure for each direction and each limit."""
    # What is measured is not how an operator is asked.
    unbounded = settings.model_copy(update={"breaker_change_floor": 10**9})
    yield from asyncio.run(_measure(unbounded, records or (250 if quick else 3_000), 3))


async def _measure(settings: Settings, number: int, rounds: int) -> list[Figure]:
    await migrate(settings)
    await create_foreign_schemas(settings)
    figures = []
    async with open_stores(settings) as stores:
        await ensure_jobs(stores.core)
        await stores.core.execute("UPDATE jobs SET repairs = true WHERE mode <> 'invariants'")
        keys = await make_customers(stores, number)
        relational = _TowardsRelational(stores, await _column_types(stores))
        documents = _TowardsDocuments(stores)
        for direction in (_TowardsBoth(relational, documents), relational, documents):
            kinds = {
                "conditional writes one at a time": direction.one_by_one,
                "conditional writes in batches": direction.batched,
            }
            pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
            for turn in range(rounds):
                repairs = number / await _timed_repairs(stores, direction, keys, turn)
                for name, work in kinds.items():
                    pairs[name].append((repairs, number / await _timed(work(await direction.read(keys)))))
            figures += [_figure(direction, name, each) for name, each in pairs.items()]
        read = number / await _timed(relational.read_both(await relational.read(keys)))
        figures.append(Figure("repairs: bare reads of both sides, in batches", read, "records/s"))
    return figures


def _figure(direction: "_Direction", name: str, pairs: list[tuple[float, float]]) -> Figure:
    return compare(
        f"repairs: towards {direction.name}",
        "repairs/s",
        pairs,
        limit_name=f"bare {name}",
        goal=f"ratio >= {_RATIO_GOAL}",
        reached=lambda ratio: ratio >= _RATIO_GOAL,
    )


async def _timed(work: Coroutine[Any, Any, int]) -> float:
    started = time.perf_counter()
    await work
    return time.perf_counter() - started


async def _timed_repairs(stores: Stores, direction: "_Direction", keys: Sequence[UUID], turn: int) -> float:
    await direction.spoil(keys, turn)
    await nominate(stores.core, "customers", map(str, keys), cause="benchmark", mode="full")
    started = time.perf_counter()
    while (wait := await repairer_of(stores).run_due()) is not None:  # noqa: ASYNC110  (as a worker waits)
        await asyncio.sleep(wait)
    seconds = time.perf_counter() - started
    spoilt = await direction.count_spoilt(keys, turn)
    assert spoilt == 0, f"{spoilt} of {len(keys)} records are not repaired"
    return seconds


class _Direction:
    """What is written, and bare writes to it that answer how many records took them.

    The two kinds of bare writes follow each other: the second one takes back what the first one did.
    """

    name: str

    def __init__(self, stores: Stores) -> None:
        self.stores = stores

    async def spoil(self, keys: Sequence[UUID], turn: int) -> None:
        """Make every record differ, so that it must be written."""
        raise NotImplementedError

    async def count_spoilt(self, keys: Sequence[UUID], turn: int) -> int:
        raise NotImplementedError

    async def read(self, keys: Sequence[UUID]) -> Records:
        raise NotImplementedError

    async def write_one(self, record: dict[str, Any]) -> int:
        raise NotImplementedError

    async def write_batch(self, records: Records) -> int:
        raise NotImplementedError

    async def one_by_one(self, records: Records) -> int:
        return await _do_all(self.write_one, records, at_once=_CONNECTIONS, expected=len(records))

    async def batched(self, records: Records) -> int:
        return await self._by_batches(self.write_batch, records)

    async def read_both(self, records: Records) -> int:
        return await self._by_batches(self._read_batch, records)

    async def _by_batches(self, work: Callable[[Records], Awaitable[int]], records: Records) -> int:
        parts = [records[at : at + BATCH] for at in range(0, len(records), BATCH)]
        return await _do_all(work, parts, at_once=_BATCHES_AT_ONCE, expected=len(records))

    async def _read_batch(self, records: Records) -> int:
        keys = [each.get("_id") or each["id"] for each in records]
        documents, rows = await asyncio.gather(
            self.stores.customer["customers"].find_raw_batches({"_id": {"$in": keys}}).to_list(),
            self.stores.admin.fetch("SELECT * FROM customers WHERE id = ANY($1)", keys),
        )
        assert documents
        return len(rows)


async def _do_all(
    do: Callable[[T], Awaitable[int]], parts: Iterable[T], *, at_once: int, expected: int
) -> int:
    left = iter(parts)

    async def work() -> int:
        return sum([await do(part) for part in left])

    done = sum(await asyncio.gather(*(work() for _ in range(at_once))))
    assert done == expected, done
    return done


async def _column_types(stores: Stores) -> dict[str, str]:
    rows = await stores.admin.fetch(
        "SELECT attname AS name, format_type(atttypid, -1) AS type FROM pg_attribute "
        "WHERE attrelid = 'customers'::regclass AND attnum > 0"
    )
    return {row["name"]: row["type"] for row in rows}


class _TowardsRelational(_Direction):
    name = "the relational side"

    def __init__(self, stores: Stores, types: dict[str, str]) -> None:
        super().__init__(stores)
        self._types = types

    async def spoil(self, keys: Sequence[UUID], turn: int) -> None:
        await rename(self.stores, keys, f"Round {turn}")

    async def count_spoilt(self, keys: Sequence[UUID], turn: int) -> int:
        query = "SELECT count(*) FROM customers WHERE id = ANY($1) AND first_name <> $2"
        return await self.stores.admin.fetchval(query, list(keys), f"Round {turn}")

    async def read(self, keys: Sequence[UUID]) -> Records:
        rows = await self.stores.admin.fetch("SELECT * FROM customers WHERE id = ANY($1)", list(keys))
        return [dict(row) for row in rows]

    async def write_one(self, record: dict[str, Any]) -> int:
        condition = " AND ".join(f"{name} IS NOT DISTINCT FROM ${at}" for at, name in enumerate(record, 1))
        query = f"UPDATE customers SET first_name = reverse(first_name) WHERE {condition}"
        return int((await self.stores.admin.execute(query, *record.values())).split()[-1])

    async def write_batch(self, records: Records) -> int:
        names = list(records[0])
        arrays = ", ".join(f"${at}::{self._types[name]}[]" for at, name in enumerate(names, 1))
        given = f"unnest({arrays}) AS given({', '.join(names)})"
        condition = " AND ".join(f"customers.{name} IS NOT DISTINCT FROM given.{name}" for name in names[1:])
        query = (
            f"UPDATE customers SET first_name = reverse(customers.first_name) FROM {given} "
            f"WHERE customers.id = given.id AND {condition} RETURNING customers.id"
        )
        columns = ([record[name] for record in records] for name in names)
        return len(await self.stores.admin.fetch(query, *columns))


class _TowardsDocuments(_Direction):
    name = "the document side"

    async def spoil(self, keys: Sequence[UUID], turn: int) -> None:
        await honour(self.stores, keys, is_vip=turn % 2 == 0)

    async def count_spoilt(self, keys: Sequence[UUID], turn: int) -> int:
        return sum(each["is_vip"] != (turn % 2 == 0) for each in await self.read(keys))

    async def read(self, keys: Sequence[UUID]) -> Records:
        wanted = set(keys)
        return [found async for found in self._collection.find() if found["_id"] in wanted]

    async def write_one(self, record: dict[str, Any]) -> int:
        result = await self._collection.update_one(record, self._turned(record))
        return result.modified_count

    async def write_batch(self, records: Records) -> int:
        collection = self._collection
        result = await self.stores.customer.client.bulk_write(
            [UpdateOne(each, self._turned(each), namespace=collection.full_name) for each in records],
            ordered=False,
            verbose_results=True,
            write_concern=_DURABLE,
        )
        return result.modified_count

    @property
    def _collection(self) -> Any:
        return self.stores.customer.get_collection("customers", write_concern=_DURABLE)

    @staticmethod
    def _turned(record: dict[str, Any]) -> dict[str, Any]:
        return {"$set": {"is_vip": not record["is_vip"]}}


class _TowardsBoth(_Direction):
    """Drift as it comes: each side is right about some records, and both stores are written at the same time."""

    name = "both sides"

    def __init__(self, relational: _Direction, documents: _Direction) -> None:
        super().__init__(relational.stores)
        self._halves = (relational, documents)

    async def spoil(self, keys: Sequence[UUID], turn: int) -> None:
        for half, own in zip(self._halves, _halves(keys), strict=True):
            await half.spoil(own, turn)

    async def count_spoilt(self, keys: Sequence[UUID], turn: int) -> int:
        counted = zip(self._halves, _halves(keys), strict=True)
        return sum([await half.count_spoilt(own, turn) for half, own in counted])

    async def read(self, keys: Sequence[UUID]) -> Records:
        read = zip(self._halves, _halves(keys), strict=True)
        return [each for half, own in read for each in await half.read(own)]

    async def one_by_one(self, records: Records) -> int:
        relational, documents = _of_each_side(records)
        return sum(
            await asyncio.gather(
                self._halves[0].one_by_one(relational), self._halves[1].one_by_one(documents)
            )
        )

    async def batched(self, records: Records) -> int:
        relational, documents = _of_each_side(records)
        return sum(
            await asyncio.gather(self._halves[0].batched(relational), self._halves[1].batched(documents))
        )


def _halves(keys: Sequence[UUID]) -> tuple[Sequence[UUID], Sequence[UUID]]:
    return keys[::2], keys[1::2]


def _of_each_side(records: Records) -> tuple[Records, Records]:
    """Rows, and documents: only these have an `_id`."""
    return [each for each in records if "_id" not in each], [each for each in records if "_id" in each]
