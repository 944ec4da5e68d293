"""Seeding and scoring, against real stores."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import polars as pl
import pytest
from bson import Decimal128
from pymongo.errors import BulkWriteError

from app.demo.drift import Drift
from app.demo.errors import DemoError
from app.demo.load import count_records, empty, load
from app.demo.score import read_truth, score
from app.demo.seeding import SEEDED_FILE, TRUTH_FILE, Plan, seed
from app.demo.shapes import ADDRESS
from app.demo.sizes import Sizes
from app.demo.world import make_world, midnight
from app.stores.customer import CUSTOMER_DOCUMENTS, bind_documents

NOW = datetime(2026, 3, 1, 15, 30, tzinfo=UTC)
PLAN = Plan(Sizes.of(500), drift=0.01, random_seed=4)


def silent(_stage, _count):
    pass


@pytest.fixture
def data_dir(stores, tmp_path):
    object.__setattr__(stores, "settings", stores.settings.model_copy(update={"data_dir": tmp_path}))
    return tmp_path


async def sow(stores, plan=PLAN, *, force=False):
    return await seed(stores, plan, now=NOW, force=force, starting=silent, progress=silent)


async def scored(stores, data_dir):
    return await score(stores, data_dir / TRUTH_FILE, data_dir / SEEDED_FILE)


def moment(text):
    return text and datetime.fromisoformat(text)


def as_document(entity, key, after):
    """A repaired record in the form of the document side, written out apart from app/demo/shapes.py."""
    plain = {name: value for name, value in after.items() if "." not in name}
    for name in ("created_at", "launch_date", "booking_date", "cancellation_date"):
        if name in plain:
            plain[name] = moment(plain[name])
    for name in ("price", "total_price"):
        if name in plain:
            plain[name] = Decimal128(plain[name])
    if entity == "customers":
        plain["date_of_birth"] = datetime.fromisoformat(after["date_of_birth"] + "T00:00:00+00:00")
        plain["address"] = {name: after[f"address.{name}"] for name in ADDRESS}
    if entity == "launches":
        plain["rocket"] = {
            "id": UUID(after["rocket.id"]),
            "name": after["rocket.name"],
            "model": after["rocket.model"],
        }
        plain["supplier"] = {"id": UUID(after["supplier.id"]), "company_name": after["supplier.company_name"]}
        plain["spaceport"] = {"name": after["spaceport.name"], "location": after["spaceport.location"]}
    if entity == "bookings":
        plain |= {name: UUID(after[name]) for name in ("customer_id", "launch_id")}
    return {"_id": UUID(key), **plain, "updated_at": NOW}


def as_row(entity, key, after):
    row = {name.removeprefix("address."): value for name, value in after.items()}
    row |= {
        name: moment(row[name]) for name in ("created_at", "booking_date", "cancellation_date") if name in row
    }
    if entity == "customers":
        row["date_of_birth"] = date.fromisoformat(after["date_of_birth"])
    else:
        row |= {name: UUID(after[name]) for name in ("customer_id", "launch_id")}
        row["total_price"] = Decimal(after["total_price"])
    return {"id": UUID(key), **row, "updated_at": NOW}


async def obey(stores, data_dir):
    """Make both sides what the truth file asks for, in the order of references."""
    for (entity, key), line in read_truth(data_dir / TRUTH_FILE).items():
        if line["expected"] != "repair":
            continue
        after = line["after"]
        await stores.customer[entity].delete_one({"_id": UUID(key)})
        if after is not None:
            await stores.customer[entity].insert_one(as_document(entity, key, after))
        if entity != "launches":  # the relational side is right about launches
            await upsert(stores, entity, as_row(entity, key, after))


async def upsert(stores, table, row):
    names, places = ", ".join(row), ", ".join(f"${at}" for at in range(1, len(row) + 1))
    updates = ", ".join(f"{name} = excluded.{name}" for name in row)
    await stores.admin.execute(
        f"INSERT INTO {table} ({names}) VALUES ({places}) ON CONFLICT (id) DO UPDATE SET {updates}",
        *row.values(),
    )


async def test_what_is_seeded_is_scored_as_not_yet_repaired(stores, data_dir):
    seeded = await sow(stores)
    found = await scored(stores, data_dir)

    assert not found.passed
    assert found.right["repair"] == 0
    assert found.wrong == {"repair": seeded.expected["repair"], "review": 0, "equal": 0, "untouched": 0}
    assert found.right["review"] == seeded.expected["review"]


async def test_a_faithful_repair_passes_and_nothing_less_does(stores, data_dir):
    await sow(stores)
    await obey(stores, data_dir)
    assert (await scored(stores, data_dir)).passed

    lines = read_truth(data_dir / TRUTH_FILE)
    decoy = next(
        UUID(key)
        for (entity, key), line in lines.items()
        if entity == "bookings" and line["expected"] == "equal"
    )
    await stores.customer["bookings"].update_one({"_id": decoy}, {"$set": {"updated_at": NOW}})
    await stores.admin.execute("UPDATE rockets SET name = 'X' WHERE id = (SELECT id FROM rockets LIMIT 1)")
    extra = UUID(int=1)
    await stores.customer["launches"].insert_one({"_id": extra})

    found = await scored(stores, data_dir)
    assert found.wrong["equal"] == 1
    assert {(fault.entity, fault.what) for fault in found.faults} >= {
        ("bookings", "was written"),
        ("launches", "has come"),
        ("rockets", "was written"),
    }


async def test_documents_are_shaped_as_their_owner_shapes_them(stores, data_dir):
    await sow(stores)
    await bind_documents(stores.customer)

    for kind in CUSTOMER_DOCUMENTS:
        documents = await kind.find_all().to_list()
        raw = await stores.customer[kind.Settings.name].find_one({})
        assert documents
        assert set(raw) == {"_id", *kind.model_fields} - {"id", "revision_id"}


async def test_the_same_plan_stores_the_same_bytes(stores, data_dir):
    await sow(stores)
    first = [(data_dir / name).read_bytes() for name in (TRUTH_FILE, SEEDED_FILE)]
    await sow(stores, force=True)

    truth, seeded = ((data_dir / name).read_bytes() for name in (TRUTH_FILE, SEEDED_FILE))
    assert truth == first[0]
    keys = ["entity", "side", "id"]
    before, after = (pl.read_parquet(each).sort(keys) for each in (first[1], seeded))
    assert before.equals(after)


async def test_databases_that_hold_something_are_refused_and_left_alone(stores, data_dir):
    await sow(stores)
    before = await count_records(stores)

    with pytest.raises(DemoError, match=r"not empty: admin\.suppliers 8") as refusal:
        await sow(stores)

    assert "--force" in refusal.value.hint
    assert await count_records(stores) == before


async def test_production_is_refused(stores, data_dir):
    strict = stores.settings.model_copy(update={"environment": "production"})
    object.__setattr__(stores, "settings", strict)

    with pytest.raises(DemoError, match="refused in production"):
        await sow(stores)

    assert await count_records(stores) == {}


async def test_a_failure_among_the_documents_leaves_no_rows(stores, data_dir):
    """A document that stands in the way: the ids of a plan are known beforehand."""
    await sow(stores)
    taken = await stores.customer["bookings"].find_one({})
    await empty(stores, silent, silent)
    world = make_world(PLAN.sizes, random_seed=PLAN.random_seed, base=midnight(NOW))
    await stores.customer["bookings"].insert_one(taken)

    with pytest.raises(BulkWriteError):
        await load(stores, world, Drift(), silent)

    assert not [name for name in await count_records(stores) if name.startswith("admin.")]


async def test_there_is_no_score_without_a_truth_file(stores, data_dir):
    with pytest.raises(DemoError, match="no truth file") as missing:
        await scored(stores, data_dir)

    assert "astrocore seed" in missing.value.hint


@pytest.mark.parametrize("share", [-0.1, 0.21])
def test_a_drift_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match="out of range"):
        Plan(Sizes.of(500), drift=share)
