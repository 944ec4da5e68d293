"""Dry runs: what would become of each finding is noted with it, and nothing else is written."""

import asyncio
from typing import Any

import pytest

from app.reconciliation.ledger import runs, steering
from app.reconciliation.running import execution, proposals
from app.stores.connections import Stores
from tests.app.reconciliation.running.run_steps import WHY, compare_all, compared
from tests.app.reconciliation.worlds import customer, put_both, put_document, put_row


async def test_a_dry_run_tells_what_would_become_of_each_finding(stores: Stores) -> None:
    await put_both(stores, "customers", customer())
    await put_row(stores, "customers", customer())
    await put_document(stores, "customers", customer())

    ended = await compared(stores, "customers", dry_run=True)

    assert (ended.status, ended.outcomes) == ("done", {"repair": 1, "in_review": 1})
    assert (ended.nominated, await stores.core.fetchval("SELECT count(*) FROM suspects")) == (0, 0)


async def test_a_dry_run_that_is_paused_while_it_proposes_proposes_everything_once_resumed(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals, "_BATCH", 1)
    monkeypatch.setattr(execution, "_WATCH_SECONDS", 0.02)
    for _ in range(3):
        await put_row(stores, "customers", customer())
    run = await runs.start_run(stores, "customers", dry_run=True, by="test")
    judge = proposals.judge

    async def judge_and_pause(*arguments: Any) -> Any:
        await steering.pause_run(stores, run.id, **WHY)
        await asyncio.sleep(0.5)  # until the lease's watcher has seen it
        return await judge(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(proposals, "judge", judge_and_pause)
        await compare_all(stores, run.id)
    resting = await runs.get_run(stores, run.id)
    assert (resting.status, resting.outcomes, resting.partitions_done) == ("comparing", {"in_review": 1}, 0)

    await steering.resume_run(stores, run.id, **WHY)
    await compare_all(stores, run.id)

    ended = await runs.get_run(stores, run.id)
    assert (ended.status, ended.outcomes) == ("done", {"in_review": 3})


async def test_nobody_else_proposes_while_one_does(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    await put_row(stores, "customers", customer())
    run = await runs.start_run(stores, "customers", dry_run=True, by="test")
    judge, judged, left = proposals.judge, [], []

    async def judge_slowly(*arguments: Any) -> Any:
        judged.append(arguments)
        left.extend(await execution.left_behind(stores))
        await execution.compare(stores, run.id, 0)  # a message that comes twice
        return await judge(*arguments)

    monkeypatch.setattr(proposals, "judge", judge_slowly)
    await compare_all(stores, run.id)

    assert (len(judged), left) == (1, [])
    assert (await runs.get_run(stores, run.id)).status == "done"
