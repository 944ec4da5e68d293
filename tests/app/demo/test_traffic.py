"""Traffic against real stores, with nobody told and nobody repairing: what it leaves can all be repaired by rule."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from app.demo.errors import DemoError
from app.demo.seeding import Plan, seed
from app.demo.sizes import Sizes
from app.demo.traffic import Order, simulate
from app.demo.world import COUNTED
from tests.app.demo.test_seeding import silent

UNTOLD = {"url": "http://127.0.0.1:1", "auth": None}


@pytest.fixture
async def market(stores, tmp_path):
    """A world without drift, seeded now."""
    object.__setattr__(stores, "settings", stores.settings.model_copy(update={"data_dir": tmp_path}))
    plan = Plan(Sizes.of(1000), drift=0)
    await seed(stores, plan, now=datetime.now(UTC), force=False, starting=silent, progress=silent)
    return stores


async def trade(stores, **options):
    order = Order(**{"rate": 100, "duration": 3, "miss_rate": 1, **options})
    return await simulate(stores, order, **UNTOLD, progress=lambda _count: None)


async def all_documents(stores, entity):
    return {document["_id"]: document async for document in stores.customer[entity].find({})}


async def all_rows(stores, table):
    return {row["id"]: row for row in await stores.admin.fetch(f"SELECT * FROM {table}")}


@pytest.mark.slow
async def test_nothing_is_left_that_only_a_human_can_resolve(market):
    summary = await trade(market)

    assert summary.refused == 0
    assert len(summary.operations) >= 9
    customers, bookings, launches = [
        await all_documents(market, name) for name in ("customers", "bookings", "launches")
    ]
    rows = {name: await all_rows(market, name) for name in ("customers", "bookings", "launches")}
    assert rows["customers"].keys() <= customers.keys()
    assert rows["bookings"].keys() <= bookings.keys()
    for key, booking in bookings.items():
        assert booking["customer_id"] in customers
        assert booking["launch_id"] in rows["launches"]
        row = rows["bookings"].get(key)
        assert row is None or {row["status"], booking["status"]} != {"Cancelled", "Completed"}
    sold = Counter()
    for booking in bookings.values():
        sold[booking["launch_id"]] += booking["number_of_seats"] * (booking["status"] in COUNTED)
    for launch in launches.values():
        assert launch["available_seats"] == launch["total_seats"] - sold[launch["_id"]] >= 0


async def test_it_ends_in_time_and_counts_what_it_did(market):
    seen = []
    summary = await simulate(market, Order(rate=40, duration=1, miss_rate=1), **UNTOLD, progress=seen.append)

    assert summary.seconds < 5
    assert summary.done + summary.idle + summary.refused == sum(seen) <= 40
    assert summary.forgotten >= summary.done
    assert summary.told == summary.failed_reports == 0


@pytest.mark.slow
async def test_twice_the_same_seed_collides_with_nothing(market):
    for _ in range(2):
        assert (await trade(market, duration=1)).refused == 0


async def test_there_must_be_something_to_sell(stores):
    with pytest.raises(DemoError, match="no customers and launches") as empty:
        await trade(stores)

    assert "astrocore seed" in empty.value.hint


async def test_production_is_refused(stores):
    strict = stores.settings.model_copy(update={"environment": "production"})
    object.__setattr__(stores, "settings", strict)

    with pytest.raises(DemoError, match="refused in production"):
        await trade(stores)


@pytest.mark.parametrize("options", [{"rate": 0}, {"rate": 5000}, {"duration": -1}, {"miss_rate": 1.2}])
def test_orders_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="out of range"):
        Order(**options)
