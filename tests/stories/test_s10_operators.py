"""S10: IT operators watch reconciliation and read why every change between the two databases was made."""

from datetime import UTC, datetime

import pytest

from app.stores.connections import Stores
from tests.app.reconciliation.worlds import LONG_AGO, customer, document_of, put_document, put_row, row_of
from tests.stories.conftest import System, wait_for


@pytest.fixture
async def drifted(seeded: System, databases: Stores):
    """A customer who differs on both sides, repaired after an event."""
    ada = customer()
    await put_document(databases, "customers", ada | {"first_name": "Augusta"})
    await put_row(databases, "customers", ada | {"is_vip": True})
    event = {"entity": "customers", "id": str(ada["id"])}
    seeded.api.post("/v1/reconciliation/events", json={"events": [event]})
    wait_for(
        lambda: seeded.api.get(f"/v1/reconciliation/records/customers/{ada['id']}").json(),
        lambda found: found["diffs"] and found["diffs"][0]["status"] == "repaired",
    )
    return ada


async def test_a_records_story_tells_what_was_changed_where_when_and_why(
    seeded: System, drifted: dict
) -> None:
    story = seeded.api.get(f"/v1/reconciliation/records/customers/{drifted['id']}").json()

    assert story["document"]["first_name"] == story["relational"]["first_name"] == "Augusta"
    assert story["differing"] == []
    by_side = {change["side"]: change for change in story["changes"]}
    assert set(by_side) == {"document", "relational"}
    towards_tables = by_side["relational"]
    assert towards_tables["before"]["first_name"] == "Ada"
    assert towards_tables["after"]["first_name"] == "Augusta"
    assert towards_tables["policy"] == {"first_name": "the document side is right"}
    assert towards_tables["cause"] == "event"
    assert towards_tables["outcome"] == "applied"
    assert towards_tables["intended_at"] <= towards_tables["finished_at"]
    text = seeded.cli("history", "customers", str(drifted["id"]))
    for word in ("first_name", "Ada", "Augusta", "the document side is", "applied", "is_vip"):
        assert word in text


async def test_changes_are_listed_page_by_page_without_loss_or_repetition(
    seeded: System, drifted: dict
) -> None:
    first = seeded.api.get("/v1/reconciliation/changes", params={"limit": 1}).json()
    second = seeded.api.get(
        "/v1/reconciliation/changes", params={"limit": 1, "cursor": first["next_cursor"]}
    ).json()
    both = seeded.api.get("/v1/reconciliation/changes", params={"limit": 2}).json()
    assert both["items"] == first["items"] + second["items"]


async def test_an_operator_approves_a_review_and_the_record_is_repaired(
    seeded: System, databases: Stores
) -> None:
    gone = customer()
    await put_row(databases, "customers", gone)
    event = {"entity": "customers", "id": str(gone["id"])}
    seeded.api.post("/v1/reconciliation/events", json={"events": [event]})
    record = f"/v1/reconciliation/records/customers/{gone['id']}"
    found = wait_for(lambda: seeded.api.get(record).json(), lambda found: found["diffs"])
    (diff,) = found["diffs"]
    assert diff["status"] == "in_review"
    assert diff["id"] in seeded.cli("diffs", "--status", "in_review", "--limit", "1000")

    seeded.cli("diffs", "approve", diff["id"], "--side", "relational", "--reason", "deleted by mistake")

    wait_for(lambda: seeded.api.get(record).json(), lambda found: found["diffs"][0]["status"] == "repaired")
    assert (await document_of(databases, "customers", gone))["email"] == gone["email"]
    again = seeded.api.post(
        f"/v1/reconciliation/diffs/{diff['id']}/approve", json={"side": "relational", "reason": "twice"}
    )
    assert again.status_code == 409


async def test_an_operator_rejects_a_review_and_the_record_is_left_alone(
    seeded: System, databases: Stores
) -> None:
    gone = customer(updated_at=LONG_AGO)
    await put_row(databases, "customers", gone)
    event = {"events": [{"entity": "customers", "id": str(gone["id"])}]}
    seeded.api.post("/v1/reconciliation/events", json=event)
    record = f"/v1/reconciliation/records/customers/{gone['id']}"
    (diff,) = wait_for(lambda: seeded.api.get(record).json(), lambda found: found["diffs"])["diffs"]
    seeded.cli("diffs", "reject", diff["id"], "--reason", "known")

    seeded.api.post("/v1/reconciliation/events", json=event)
    wait_for(lambda: seeded.api.get(record).json(), lambda found: found["waiting"] is None)

    assert [each["status"] for each in seeded.api.get(record).json()["diffs"]] == ["rejected"]
    assert await row_of(databases, "customers", gone) is not None


def test_every_command_speaks_json(seeded: System) -> None:
    assert [run["status"] for run in seeded.cli_json("reconcile", "customers", "--dry-run")] == ["done"]
    assert {job["entity"] for job in seeded.cli_json("jobs")} == {"customers", "launches", "bookings"}
    assert seeded.cli_json("runs")["items"]
    assert "items" in seeded.cli_json("diffs")
    assert all(check["ok"] for check in seeded.cli_json("doctor"))
    assert any(each["name"] == "ASTROCORE_WEB_PORT" for each in seeded.cli_json("config"))


def test_a_stopped_system_is_reported_in_one_line_with_a_hint(seeded: System, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "env").write_text("ASTROCORE_WEB_PORT=1\n")  # where nothing can listen
    elsewhere = System(tmp_path, seeded.settings, seeded.api)
    complaint = elsewhere.cli("runs", expect=1)
    assert complaint.startswith("astrocore: ")
    assert "astrocore up" in complaint
    assert "Traceback" not in complaint


def test_the_time_of_a_record_is_shown_in_utc(seeded: System) -> None:
    dry = {"entity": "customers", "dry_run": True}
    run = seeded.follow(seeded.api.post("/v1/reconciliation/runs", json=dry).json()["id"])
    assert datetime.fromisoformat(run["created_at"]).utcoffset() == UTC.utcoffset(None)


async def test_an_operator_undoes_a_run_and_nothing_does_it_again_until_the_records_are_released(
    seeded: System, databases: Stores
) -> None:
    ada = customer()
    await put_document(databases, "customers", ada | {"city": "Paris"})
    await put_row(databases, "customers", ada)
    (run,) = seeded.cli_json("reconcile", "customers")
    assert (await row_of(databases, "customers", ada))["city"] == "Paris"

    undone = seeded.cli("undo", "--run", run["id"], "--reason", "a wrong import", "--yes")
    assert run["id"] in undone
    assert (await row_of(databases, "customers", ada))["city"] == "London"
    key = str(ada["id"])
    assert key in {hold["key"] for hold in seeded.cli_json("holds", "--limit", "1000")["items"]}

    seeded.cli("reconcile", "customers")
    assert (await row_of(databases, "customers", ada))["city"] == "London"
    assert "held: undone: a wrong import" in " ".join(seeded.cli("history", "customers", key).split())

    seeded.cli("holds", "release", "customers", key, "--reason", "it was right")
    record = f"/v1/reconciliation/records/customers/{key}"
    wait_for(lambda: seeded.api.get(record).json(), lambda found: found["waiting"] is None)
    assert (await row_of(databases, "customers", ada))["city"] == "Paris"
    (change, undoing, first) = seeded.api.get(record).json()["changes"]
    assert (undoing["undoes"], change["undoes"]) == (first["id"], None)
