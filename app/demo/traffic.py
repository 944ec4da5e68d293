"""Act as the two other services while everything runs, and forget to tell the Core API now and then."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from pymongo.errors import PyMongoError

from app.demo import admin_side, customer_side
from app.demo.customer_side import Operation
from app.demo.market import Market, open_market
from app.demo.people import People
from app.demo.reporter import Reporter, reporting
from app.demo.seeding import refuse_production
from app.stores.connections import Stores
from app.stores.health import POSTGRES_FAULTS

MOST_AT_ONCE = 16
TRIES = 6  # at finding something to do; some operations have nothing to work on
MOST_RATE = 1000.0
MOST_SECONDS = 86_400.0


@dataclass(frozen=True)
class Order:
    """The traffic asked for: operations a second, for how long, and the share that is not told."""

    rate: float = 10.0
    duration: float = 60.0
    miss_rate: float = 0.1
    random_seed: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError, naming the range."""
        for name, value, least, most in (
            ("rate", self.rate, 0.1, MOST_RATE),
            ("duration", self.duration, 0.1, MOST_SECONDS),
            ("miss rate", self.miss_rate, 0.0, 1.0),
        ):
            if not least <= value <= most:
                raise ValueError(f"a {name} of {value:g} is out of range; give {least:g} to {most:g}")


@dataclass
class Summary:
    """What was done. `told`, `forgotten` and `failed_reports` count changes of records, not operations."""

    operations: Counter[str] = field(default_factory=Counter)
    told: int = 0
    forgotten: int = 0
    failed_reports: int = 0
    refused: int = 0
    idle: int = 0
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.operations.total()


@dataclass(frozen=True)
class Trade:
    """An operation and how often it is chosen."""

    name: str
    operation: Operation
    weight: float


TRADES = (
    Trade("book", customer_side.book, 40),
    Trade("cancel", customer_side.cancel, 15),
    Trade("register", customer_side.register, 8),
    Trade("edit customer", customer_side.edit, 12),
    Trade("save customer unchanged", customer_side.save_customer, 6),
    Trade("set VIP", admin_side.set_vip, 4),
    Trade("create launch", admin_side.create_launch, 2),
    Trade("delay launch", admin_side.delay, 1.5),
    Trade("reprice launch", admin_side.reprice, 1.5),
    Trade("rename rocket or supplier", admin_side.rename, 0.2),
    Trade("cancel for customers", admin_side.cancel_for_customers, 1),
    Trade("delete launch", admin_side.delete_launch, 2),
    Trade("save launch unchanged", admin_side.save_launch, 4),
)


async def simulate(
    stores: Stores, order: Order, *, url: str, auth: httpx.Auth | None, progress: Callable[[int], None]
) -> Summary:
    """Trade for the time ordered, at most at the rate ordered, and answer what was done.

    Nothing is left that only a human could resolve, unless so much is changed that the circuit breaker wants an
    operator. Raises DemoError where there is nothing to work on, or no system answers at `url`.
    """
    refuse_production(stores.settings)
    rng = random.Random(f"traffic {order.random_seed}")
    market = await open_market(stores, rng, People(order.random_seed))
    summary = Summary()
    async with _reporter(order, url, auth) as reporter:  # None where everything is forgotten
        started = time.monotonic()
        await _trade(market, order, reporter, summary, progress)
        summary.seconds = round(time.monotonic() - started, 1)
    if reporter is not None:
        if reporter.refusal:
            raise reporter.refusal
        summary.told, summary.failed_reports = reporter.told, reporter.failed
    return summary


@asynccontextmanager
async def _reporter(order: Order, url: str, auth: httpx.Auth | None) -> AsyncIterator[Reporter | None]:
    if order.miss_rate == 1:
        yield None
        return
    async with reporting(url, auth) as reporter:
        yield reporter


async def _trade(
    market: Market, order: Order, reporter: Reporter | None, summary: Summary, progress: Callable[[int], None]
) -> None:
    """Start an operation whenever one is due and a place is free; when too slow, it does fewer, never faster."""
    slots = asyncio.Semaphore(MOST_AT_ONCE)
    started = time.monotonic()

    async def one() -> None:
        try:
            await _operate(market, order, reporter, summary)
        finally:
            slots.release()
            progress(1)

    async with asyncio.TaskGroup() as group:
        for number in range(max(1, round(order.rate * order.duration))):
            await asyncio.sleep(started + number / order.rate - time.monotonic())
            await slots.acquire()
            late = time.monotonic() - started >= order.duration
            if late or (reporter is not None and reporter.refusal):
                break
            group.create_task(one())


async def _operate(market: Market, order: Order, reporter: Reporter | None, summary: Summary) -> None:
    """One operation that found something to do; a store that refuses it is counted, and the traffic goes on."""
    try:
        for _ in range(TRIES):
            trade = _choose(market)
            if changed := await trade.operation(market):
                break
        else:
            summary.idle += 1
            return
    except (PyMongoError, *POSTGRES_FAULTS):
        summary.refused += 1
        return
    summary.operations[trade.name] += 1
    if reporter is None or market.rng.random() < order.miss_rate:
        summary.forgotten += len(changed)
    else:
        reporter.tell(changed)


def _choose(market: Market) -> Trade:
    return market.rng.choices(TRADES, [trade.weight for trade in TRADES])[0]
