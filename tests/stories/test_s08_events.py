"""S8: an API consumer says that something changed on its side."""

import asyncio
import time
import uuid
from datetime import UTC, datetime

import pytest

from app.stores.connections import Stores
from tests.app.reconciliation.worlds import LONG_AGO, customer, put_both, row_of
from tests.stories.conftest import System, wait_for

EVENTS = "/v1/reconciliation/events"


def report(system: System, *keys: object, entity: str = "customers"):
    events = [{"entity": entity, "id": str(key), "occurred_at": "2026-01-01T00:00:00Z"} for key in keys]
    return system.api.post(EVENTS, json={"events": events})


async def test_a_change_that_is_reported_reaches_the_other_side_within_two_seconds(
    seeded: System, databases: Stores
) -> None:
    ada = customer()
    await put_both(databases, "customers", ada)
    changed = {"address.city": "Paris", "updated_at": datetime.now(UTC)}
    await databases.customer["customers"].update_one({"_id": ada["id"]}, {"$set": changed})
    started = time.monotonic()

    answer = report(seeded, ada["id"])

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1}
    while (await row_of(databases, "customers", ada))["city"] != "Paris":
        assert time.monotonic() - started < 20
        await asyncio.sleep(0.02)
    await databases.customer["customers"].update_one({"_id": ada["id"]}, {"$set": {"updated_at": LONG_AGO}})


async def test_a_thousand_events_about_one_record_lead_to_one_change(
    seeded: System, databases: Stores
) -> None:
    ada = customer()
    await put_both(databases, "customers", ada)
    await databases.customer["customers"].update_one({"_id": ada["id"]}, {"$set": {"first_name": "Augusta"}})

    assert report(seeded, *[ada["id"]] * 1000).json() == {"accepted": 1000}

    record = wait_for(
        lambda: seeded.api.get(f"/v1/reconciliation/records/customers/{ada['id']}").json(),
        lambda record: record["changes"] and record["waiting"] is None,
    )
    assert len(record["changes"]) == 1


def test_an_id_on_neither_side_ends_vanished_in_its_history(seeded: System) -> None:
    nobody = uuid.uuid4()
    assert report(seeded, nobody).status_code == 202
    record = wait_for(
        lambda: seeded.api.get(f"/v1/reconciliation/records/customers/{nobody}").json(),
        lambda record: record["diffs"],
    )
    assert [diff["status"] for diff in record["diffs"]] == ["vanished"]
    assert "vanished" in seeded.cli("history", "customers", str(nobody))


@pytest.mark.parametrize(
    ("events", "faults"),
    [
        ([], ["events"]),
        ([{"entity": "customers", "id": str(uuid.uuid4())}] * 1001, ["events"]),
        ([{"entity": "rockets", "id": str(uuid.uuid4())}], ["events/0/entity"]),
        ([{"entity": "customers", "id": "17"}, {"entity": "customers"}], ["events/0/id", "events/1/id"]),
    ],
)
def test_one_malformed_event_refuses_the_whole_call(seeded: System, events: list, faults: list[str]) -> None:
    good = {"entity": "customers", "id": str(uuid.uuid4())}
    body = {"events": [*events, good] if 0 < len(events) < 1001 else events}

    answer = seeded.api.post(EVENTS, json=body)

    assert answer.status_code == 422
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    places = {fault["where"] for fault in answer.json()["errors"]}
    assert places <= set(faults)
    assert places
    assert not seeded.api.get(f"/v1/reconciliation/records/customers/{good['id']}").json()["diffs"]
