"""S9: the system executes predefined jobs that resolve discrepancies, by policy, and only if they may."""

from datetime import UTC, datetime

from app.stores.connections import Stores
from tests.app.reconciliation.worlds import customer, document_of, put_both, put_document, row_of
from tests.stories.conftest import System, wait_for

JOBS = "/v1/reconciliation/jobs"


def test_every_entity_has_a_nightly_full_job_and_an_incremental_one_every_minute(system: System) -> None:
    jobs = system.api.get(JOBS).json()
    invariants = {(entity, "invariants", "37 * * * *") for entity in ("launches", "bookings")}
    assert {(job["entity"], job["mode"], job["schedule"]) for job in jobs} == invariants | {
        (entity, mode, cron)
        for entity in ("customers", "launches", "bookings")
        for mode, cron in (("full", "0 2 * * *"), ("incremental", "* * * * *"))
    }


async def test_an_incremental_run_finds_what_nobody_reported(seeded: System, databases: Stores) -> None:
    ada = customer()
    await put_both(databases, "customers", ada)
    forgotten = {"is_vip": True, "updated_at": datetime.now(UTC)}
    await databases.admin.execute(
        "UPDATE customers SET is_vip = $2, updated_at = $3 WHERE id = $1", ada["id"], *forgotten.values()
    )

    seeded.cli("reconcile", "customers", "--incremental")

    assert (await document_of(databases, "customers", ada))["is_vip"] is True


async def test_a_job_observes_until_an_operator_lets_it_repair(seeded: System, databases: Stores) -> None:
    ada = customer(updated_at=datetime.now(UTC))
    observe = {"repairs": False, "reason": "a rehearsal"}
    assert seeded.api.patch(f"{JOBS}/customers-incremental", json=observe).json()["repairs"] is False
    await put_document(databases, "customers", ada)
    seeded.api.post(
        "/v1/reconciliation/events", json={"events": [{"entity": "customers", "id": str(ada["id"])}]}
    )
    record = f"/v1/reconciliation/records/customers/{ada['id']}"
    found = wait_for(lambda: seeded.api.get(record).json(), lambda found: found["diffs"])
    assert found["diffs"][0]["status"] == "open"
    assert await row_of(databases, "customers", ada) is None

    seeded.api.patch(f"{JOBS}/customers-incremental", json={"repairs": True, "reason": "rehearsed"})

    found = wait_for(
        lambda: seeded.api.get(record).json(), lambda found: found["diffs"][0]["status"] != "open"
    )
    assert found["diffs"][0]["status"] == "repaired"
    assert await row_of(databases, "customers", ada) is not None


def test_a_run_can_be_cancelled_once(seeded: System) -> None:
    run = seeded.api.post("/v1/reconciliation/runs", json={"entity": "bookings"}).json()["id"]
    answer = seeded.api.post(f"/v1/reconciliation/runs/{run}/cancel", json={"reason": "not now"})
    if answer.status_code == 200:
        assert answer.json()["status"] == "cancelled"
    again = seeded.api.post(f"/v1/reconciliation/runs/{run}/cancel", json={"reason": "not now"})
    assert again.status_code == 409


def test_a_reason_is_needed_to_change_a_job(seeded: System) -> None:
    assert seeded.api.patch(f"{JOBS}/customers-full", json={"paused": True}).status_code == 422
    assert seeded.api.patch(f"{JOBS}/nothing-full", json={"paused": True, "reason": "x"}).status_code == 404
