"""How runs go on and end, against real stores; the scans themselves are staged."""

import asyncio

import pytest

from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, retention, runs
from app.reconciliation.running import execution
from app.reconciliation.running.schema import Drift
from app.stores.connections import Stores
from tests.app.reconciliation.running.run_steps import (
    WHY,
    Stage,
    compare_all,
    compared,
    start,
)


async def test_progress_is_told_while_a_run_compares(stores: Stores, stage: Stage) -> None:
    stage.endless = {"1"}
    run_id = await start(stores)
    await stores.core.execute("UPDATE runs SET expected_records = 300, started_at = now() - interval '10 s'")
    await execution.compare(stores, run_id, 0)
    comparing = asyncio.create_task(execution.compare(stores, run_id, 1))
    for _ in range(400):
        run = await runs.get_run(stores, run_id)
        if run.document_records > 100:
            break
        await asyncio.sleep(0.05)

    assert (run.document_records, run.relational_records) == (140, 120)
    assert run.rate is not None
    assert 140 / 20 < run.rate < 140 / 10
    assert run.eta_seconds == pytest.approx(160 / run.rate)
    await runs.cancel_run(stores, run_id, **WHY)
    await comparing


async def test_a_run_whose_sides_have_drifted_from_the_mapping_fails_and_reads_nothing(
    stores: Stores, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drifted(*_: object) -> Drift:
        return Drift(blocking=["column email is gone", "field is_vip is text"], warnings=["odd"])

    monkeypatch.setattr(execution, "find_drift", drifted)
    run = await runs.start_run(stores, "customers", by="test")

    assert await execution.begin(stores, run.id) == []

    ended = await runs.get_run(stores, run.id)
    assert (ended.status, ended.reason) == (
        "failed",
        "schema drift: column email is gone; field is_vip is text",
    )
    assert (ended.partitions, ended.document_records, stage.read) == (0, 0, [])


async def test_drift_that_stops_nothing_is_a_warning(
    stores: Stores, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drifted(*_: object) -> Drift:
        return Drift(blocking=[], warnings=["unknown field nickname"])

    monkeypatch.setattr(execution, "find_drift", drifted)
    run_id = await start(stores)
    await compare_all(stores, run_id)

    run = await runs.get_run(stores, run_id)
    assert (run.status, run.warnings) == ("done", ["unknown field nickname"])


@pytest.mark.parametrize("compared", [0, 1])
async def test_a_run_ends_where_the_mapping_is_another_one_than_when_it_was_started(
    stores: Stores, stage: Stage, compared: int
) -> None:
    run = await runs.start_run(stores, "customers", by="test")
    if compared:
        await execution.begin(stores, run.id)
        await execution.compare(stores, run.id, 0)
    await stores.core.execute("UPDATE runs SET mapping_hash = 'of the release before'")

    assert await execution.compare(stores, run.id, 1) == []

    ended = await runs.get_run(stores, run.id)
    assert ended.status == "failed"
    assert "the mapping of customers is another one" in str(ended.reason)
    assert stage.read == [""] * compared
    assert await execution.begin(stores, run.id) == []


async def test_a_dry_run_proposes_to_review_a_record_that_nothing_can_address(stores: Stores) -> None:
    await stores.customer["customers"].insert_one({"_id": 5, "email": "odd@example.com"})
    ended = await compared(stores, "customers", dry_run=True)

    assert (ended.status, ended.kinds, ended.outcomes) == ("done", {"unreadable_key": 1}, {"in_review": 1})


async def test_a_rejected_record_that_nothing_can_address_is_left_alone(stores: Stores) -> None:
    await stores.customer["customers"].insert_one({"_id": 5, "email": "odd@example.com"})
    for _ in range(2):
        await compared(stores, "customers")
        known = (await diffs.list_diffs(stores, kind="unreadable_key")).items
        if known[0].status == "in_review":
            await decisions.reject(stores, [known[0].id], by="test", reason="theirs to correct")

    assert [diff.status for diff in (await diffs.list_diffs(stores)).items] == ["rejected"]


async def test_results_are_kept_90_days_but_open_diffs_and_standing_rejections_stay(
    stores: Stores, stage: Stage
) -> None:
    ended = []
    for days in (91, 89):
        for mode in ("full", "incremental"):
            run = await compared(stores, "customers", mode=mode)
            await stores.core.execute(
                "UPDATE runs SET finished_at = now() - make_interval(days => $2) WHERE id = $1", run.id, days
            )
            ended.append(run.id)
    for key, status, days in (
        ("repaired", "repaired", 91),
        ("young", "repaired", 89),
        ("open", "open", None),
        ("standing", "rejected", 91),
        ("overtaken", "rejected", 91),
        ("overtaken", "repaired", 89),
    ):
        await stores.core.execute(
            "INSERT INTO diffs (entity, key, cause, kind, status, fingerprint, first_seen_at, closed_at) "
            "VALUES ('customers', $1, 'test', 'fields', $2, '', now() - interval '1 year', "
            "now() - make_interval(days => $3))",
            key,
            status,
            days,
        )

    await retention.forget_old(stores)

    left = (await runs.list_runs(stores)).items
    assert {run.id for run in left} == set(ended[2:])
    assert {row["run_id"] for row in await stores.core.fetch("SELECT DISTINCT run_id FROM partitions")} == {
        ended[2]
    }
    kept = (await diffs.list_diffs(stores)).items
    assert {(diff.key, diff.status) for diff in kept} == {
        ("young", "repaired"),
        ("open", "open"),
        ("standing", "rejected"),
        ("overtaken", "repaired"),
    }
