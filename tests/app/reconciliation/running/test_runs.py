"""Runs, their partitions and what operators do to them, against real stores; the scans themselves are staged."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pytest

from app.audit.entries import Fact
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, jobs, runs, steering, suspects
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import execution, partitions
from app.reconciliation.running.partitions import Call
from app.reconciliation.running.schema import Drift
from app.reconciliation.scanning.scan import Finding, KeyRange, ScanResult, ScanStoppedError
from app.stores.connections import Stores, open_stores
from config.settings import Settings
from tests.app.reconciliation.worlds import customer, put_document, row_of

WHY = {"by": "test", "reason": "test"}


@dataclass
class Stage:
    """Stands in for the scan: partitions whose first key is in `endless` are read until they are stopped."""

    endless: set[str] = field(default_factory=set)
    seconds: float = 0.0
    found: dict[str, list[Finding]] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    paces: list[float | None] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def scan(self, _settings: Settings, _mapping: Any, key_range: KeyRange, **told: Any) -> ScanResult:
        low = key_range.low or ""
        self.read.append(low)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            return self._scan(low, **told)
        finally:
            self.at_once -= 1

    def _scan(
        self,
        low: str,
        *,
        stopped: Callable[[], bool],
        pace: Callable[[], float | None],
        on_progress: Callable[[int, int], None],
        on_findings: Callable[[list[Finding]], None],
    ) -> ScanResult:
        on_progress(40, 30)
        on_findings(self.found.get(low, []))
        until = time.monotonic() + self.seconds
        while low in self.endless or time.monotonic() < until:
            if not self.paces or self.paces[-1] != pace():
                self.paces.append(pace())
            if stopped():
                raise ScanStoppedError
            time.sleep(0.01)
        return ScanResult(100, 90)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Runs have the partitions "", "1", "2", each read in no time."""
    made = Stage()
    monkeypatch.setattr(execution, "scan", made.scan)
    borders = [None, "1", "2", None]
    ranges = [KeyRange(low, high) for low, high in pairwise(borders)]
    monkeypatch.setattr(execution, "plan_ranges", lambda *_: ranges)
    return made


async def start(stores: Stores, **order: Any) -> UUID:
    """A run of customers that has been planned."""
    run = await runs.start_run(stores, "customers", by="test", **order)
    await execution.begin(stores, run.id)
    return run.id


async def compare_all(stores: Stores, run_id: UUID) -> None:
    for call in await execution.begin(stores, run_id):
        await execution.compare(stores, call.run_id, call.number)


async def until(look: Callable[[], Any]) -> None:
    for _ in range(2000):
        if look():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


async def states(stores: Stores, run_id: UUID) -> list[tuple[str, int]]:
    page = await partitions.list_partitions(stores, run_id)
    return [(each.status, each.attempts) for each in page.items]


async def facts(stores: Stores, run_id: UUID) -> list[Any]:
    rows = await stores.core.fetch("SELECT entry FROM audit_outbox ORDER BY position")
    entries = [msgspec.json.decode(row["entry"]) for row in rows]
    return [each for each in entries if each["target"] == str(run_id)]


async def test_a_pause_soon_stops_a_scan_and_a_resumed_run_repeats_only_what_was_stopped(
    stores: Stores, stage: Stage
) -> None:
    stage.endless = {"1"}
    run_id = await start(stores)
    await execution.compare(stores, run_id, 0)
    comparing = asyncio.create_task(execution.compare(stores, run_id, 1))
    await until(lambda: stage.read == ["", "1"])

    await steering.pause_run(stores, run_id, **WHY)
    paused = time.monotonic()
    assert await comparing == []

    assert time.monotonic() - paused < 3.0, "it is a second where nothing else keeps the machine busy"
    assert await states(stores, run_id) == [("done", 1), ("pending", 1), ("pending", 0)]

    stage.endless.clear()
    await steering.resume_run(stores, run_id, **WHY)
    await compare_all(stores, run_id)

    assert stage.read == ["", "1", "1", "2"]
    assert await states(stores, run_id) == [("done", 1), ("done", 2), ("done", 1)]
    run = await runs.get_run(stores, run_id)
    assert (run.status, run.document_records) == ("done", 300)


async def test_nobody_takes_up_a_run_that_rests(stores: Stores, stage: Stage) -> None:
    queued = (await runs.start_run(stores, "launches", by="test")).id
    comparing = await start(stores)
    await stores.core.execute("UPDATE runs SET created_at = now() - interval '1 hour'")
    for run_id in (queued, comparing):
        await steering.pause_run(stores, run_id, **WHY)

    assert await execution.left_behind(stores) == []
    assert [await execution.begin(stores, run_id) for run_id in (queued, comparing)] == [[], []]
    assert await execution.compare(stores, comparing, 0) == []
    assert await partitions.take(stores, comparing, 0) is None, "nor who was about to when it was paused"
    assert stage.read == []
    assert (await runs.get_run(stores, queued)).status == "queued"
    for run_id in (queued, comparing):
        await steering.resume_run(stores, run_id, **WHY)
    assert set(await execution.left_behind(stores)) == {queued, comparing}


async def test_a_run_paused_after_its_last_partition_is_concluded_when_it_is_resumed(
    stores: Stores, stage: Stage
) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, **WHY)
    await stores.core.execute("UPDATE partitions SET status = 'done'")
    await execution.conclude(stores, run_id)
    assert (await runs.get_run(stores, run_id)).status == "comparing"

    await steering.resume_run(stores, run_id, **WHY)
    await execution.begin(stores, run_id)

    assert (await runs.get_run(stores, run_id)).status == "done"


async def test_a_paused_run_repairs_nothing_that_it_found_but_what_an_event_reports(stores: Stores) -> None:
    await jobs.ensure_jobs(stores.core)
    for mode in ("full", "incremental"):
        await jobs.change_job(stores, f"customers-{mode}", repairs=True, **WHY)
    found, reported = customer(), customer()
    for each in (found, reported):
        await put_document(stores, "customers", each)
    run = await runs.start_run(stores, "customers", by="test")
    await compare_all(stores, run.id)
    await steering.pause_run(stores, run.id, **WHY)

    await suspects.nominate(stores.core, "customers", [str(reported["id"])], cause="event")
    seconds = await repairer_of(stores).run_due()

    assert await row_of(stores, "customers", found) is None
    assert await row_of(stores, "customers", reported) is not None
    assert seconds is None, "what rests does not wake anybody"
    assert (await runs.get_run(stores, run.id)).status == "repairing"

    await steering.resume_run(stores, run.id, **WHY)
    await repairer_of(stores).run_due()

    assert await row_of(stores, "customers", found) is not None
    assert (await runs.get_run(stores, run.id)).status == "done"


async def test_a_held_run_may_rest_and_be_approved_meanwhile(stores: Stores, stage: Stage) -> None:
    stage.found = {"": [Finding(str(customer()["id"]), "fields", ()) for _ in range(101)]}
    run_id = await start(stores)
    await compare_all(stores, run_id)
    assert (await runs.get_run(stores, run_id)).status == "held"

    await steering.pause_run(stores, run_id, **WHY)
    run = await runs.approve_run(stores, run_id, **WHY)

    assert (run.status, run.nominated, run.pending) == ("repairing", 101, 101)
    assert run.paused_at is not None
    assert await repairer_of(stores).run_due() is None


async def test_a_run_whose_last_suspect_went_while_it_rested_ends_when_it_is_resumed(
    stores: Stores, stage: Stage
) -> None:
    stage.found = {"": [Finding(str(customer()["id"]), "fields", ())]}
    run_id = await start(stores)
    await compare_all(stores, run_id)
    await steering.pause_run(stores, run_id, **WHY)
    await stores.core.execute("DELETE FROM suspects")

    await runs.settle(stores, {run_id})
    assert (await runs.get_run(stores, run_id)).status == "repairing"
    assert (await steering.resume_run(stores, run_id, **WHY)).status == "done"


async def test_a_paused_run_stays_the_active_one_of_its_job_until_it_is_cancelled(
    stores: Stores, stage: Stage
) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, **WHY)

    started = await runs.start_due(stores, "full", by="scheduler")

    skipped = (await runs.list_runs(stores, entity="customers", status="skipped")).items
    assert len(started) == 2
    assert str(run_id) in str(skipped[0].reason)
    cancelled = await runs.cancel_run(stores, run_id, **WHY)
    assert (cancelled.status, cancelled.paused_at) == ("cancelled", None)
    assert (await runs.start_run(stores, "customers", by="test")).status == "queued"


async def test_the_time_that_a_run_rests_is_told_and_no_time_that_it_works(
    stores: Stores, stage: Stage
) -> None:
    queued = await runs.start_run(stores, "launches", by="test")
    run_id = await start(stores)
    for each in (queued.id, run_id):
        await steering.pause_run(stores, each, **WHY)
    await stores.core.execute(
        "UPDATE runs SET started_at = started_at - interval '70 s', paused_at = paused_at - interval '60 s'"
    )
    for each in (queued.id, run_id):
        await steering.resume_run(stores, each, **WHY)
    await compare_all(stores, run_id)

    run = await runs.get_run(stores, run_id)
    assert 60 <= run.paused_seconds < 65
    assert run.compare_seconds is not None
    assert 10 <= run.compare_seconds < 15
    assert (await runs.get_run(stores, queued.id)).paused_seconds == 0, "it had not started"


async def test_what_operators_do_to_a_run_is_recorded_with_its_reason(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    await steering.pause_run(stores, run_id, by="ann", reason="too busy")
    await steering.resume_run(stores, run_id, by="bob", reason="quiet now")
    await steering.throttle_run(stores, run_id, 500, by="ann", reason="gently")

    recorded = await facts(stores, run_id)

    assert [(each["name"], each["actor"], each["reason"]) for each in recorded[1:]] == [
        (Fact.RUN_PAUSED, "ann", "too busy"),
        (Fact.RUN_RESUMED, "bob", "quiet now"),
        (Fact.RUN_THROTTLED, "ann", "gently"),
    ]
    assert recorded[-1]["detail"] == {"before": None, "after": 500}
    assert {each["entity"] for each in recorded} == {"customers"}


async def test_only_what_is_under_way_can_be_steered(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    with pytest.raises(ConflictError, match="is not paused"):
        await steering.resume_run(stores, run_id, **WHY)
    await steering.pause_run(stores, run_id, **WHY)
    with pytest.raises(ConflictError, match="paused already"):
        await steering.pause_run(stores, run_id, **WHY)
    await runs.cancel_run(stores, run_id, **WHY)
    for steer in (steering.pause_run, steering.resume_run):
        with pytest.raises(ConflictError, match="is cancelled"):
            await steer(stores, run_id, **WHY)
        with pytest.raises(NotFoundError):
            await steer(stores, UUID(int=7), **WHY)
    with pytest.raises(ConflictError, match="is cancelled"):
        await steering.throttle_run(stores, run_id, 500, **WHY)


async def test_only_a_run_that_scans_is_throttled(stores: Stores) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await runs.start_run(stores, "customers", mode="incremental", records_per_second=5, by="test")
    assert refused.value.faults[0].where == "records_per_second"
    with pytest.raises(InvalidInputError):
        await runs.start_run(stores, "customers", records_per_second=0, by="test")
    run = await runs.start_run(stores, "customers", mode="incremental", by="test")
    with pytest.raises(ConflictError, match="nothing to throttle"):
        await steering.throttle_run(stores, run.id, 500, **WHY)


async def test_a_throttle_below_which_cursors_expire_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await runs.start_run(stores, "customers", records_per_second=99, by="test")
    assert refused.value.faults[0].message == "is null, or a number from 100 on"
    run = await runs.start_run(stores, "customers", records_per_second=100, by="test")
    assert run.records_per_second == 100


async def test_a_throttle_is_shared_by_what_is_compared_and_changes_while_it_is(
    stores: Stores, stage: Stage
) -> None:
    stage.endless = {"", "1"}
    run_id = await start(stores, records_per_second=1000)
    first = asyncio.create_task(execution.compare(stores, run_id, 0))
    await until(lambda: stage.paces == [1000])
    second = asyncio.create_task(execution.compare(stores, run_id, 1))
    await until(lambda: 500 in stage.paces)
    stage.endless.remove("1")
    await second
    await until(lambda: stage.paces[-1] == 1000)

    await steering.throttle_run(stores, run_id, None, **WHY)
    await until(lambda: stage.paces[-1] is None)
    stage.endless.clear()
    await first


@pytest.fixture
async def workers(settings_of_test: Settings, stores: Stores) -> AsyncIterator[list[Stores]]:
    """The stores as two workers have them, where two partitions may be in hand at once."""
    narrow = settings_of_test.model_copy(update={"scans_in_flight": 2})
    async with open_stores(narrow) as one, open_stores(narrow) as other:
        yield [one, other]


async def work_off(workers: list[Stores], calls: list[Call]) -> None:
    """As the actors do it: every call is a message, and what a comparison answers are further ones."""

    async def answer(call: Call, at: int) -> None:
        stores = workers[at % len(workers)]
        await asyncio.sleep(call.seconds and 0.1)
        following = await execution.compare(stores, call.run_id, call.number)
        await asyncio.gather(*(answer(each, at + 1 + more) for more, each in enumerate(following)))

    await asyncio.gather(*(answer(call, at) for at, call in enumerate(calls)))


async def test_however_many_ask_no_more_partitions_are_in_hand_than_there_is_room_for_and_none_is_forgotten(
    workers: list[Stores], stage: Stage
) -> None:
    stage.seconds = 0.05
    started = [await runs.start_run(workers[0], each, by="test") for each in ("customers", "bookings")]
    calls = [call for run in started for call in await execution.begin(workers[1], run.id)]
    assert {call.run_id for call in calls} <= {run.id for run in started}
    assert len(calls) == 4, "each asks for as many as there is room for"

    # Messages may come twice, and too early.
    await work_off(workers, [*calls, *calls, *(Call(started[1].id, number) for number in range(3))])

    assert stage.most_at_once == 2
    assert sorted(stage.read) == ["", "", "1", "1", "2", "2"], "each partition once"
    for run in started:
        assert (await runs.get_run(workers[0], run.id)).status == "done"


async def test_of_many_that_ask_at_the_same_moment_only_as_many_get_in_as_there_is_room_for(
    workers: list[Stores], stage: Stage
) -> None:
    run_ids = [await start(workers[0])]
    for entity in ("launches", "bookings"):
        run_ids.append((await runs.start_run(workers[0], entity, by="test")).id)
        await execution.begin(workers[0], run_ids[-1])
    everything = [(run_id, number) for run_id in run_ids for number in range(3)]

    for _ in range(5):
        asking = (partitions.take(workers[at % 2], *each) for at, each in enumerate(everything))
        taken = [lease for lease in await asyncio.gather(*asking) if lease]
        assert len(taken) == 2
        for lease in taken:
            await partitions.give_back(workers[0].core, lease)


async def test_a_partition_without_room_is_called_by_whoever_ends_another_of_whatever_run(
    workers: list[Stores], stage: Stage
) -> None:
    stage.endless = {"", "1"}
    large = await start(workers[0])
    held = [asyncio.create_task(execution.compare(workers[0], large, number)) for number in (0, 1)]
    await until(lambda: stage.at_once == 2)
    small = await runs.start_run(workers[1], "bookings", by="test")

    assert await execution.begin(workers[1], small.id) == []
    assert await execution.compare(workers[1], small.id, 0) == [], "it is dropped, not asked for again"
    await runs.cancel_run(workers[1], large, **WHY)
    called = [call for each in held for call in await each]

    assert {(call.run_id, call.seconds) for call in called} == {(small.id, 0.0)}


async def test_the_first_partitions_of_a_small_run_do_not_wait_for_the_last_of_a_large_one(
    workers: list[Stores], stage: Stage
) -> None:
    large = await start(workers[0])
    await execution.compare(workers[0], large, 0)
    small = await runs.start_run(workers[0], "bookings", by="test")

    called = await execution.begin(workers[0], small.id)

    assert called == [Call(small.id, 0), Call(large, 1)]


async def test_a_partition_that_somebody_has_in_hand_is_asked_for_again_later_for_they_may_have_died(
    workers: list[Stores], stage: Stage
) -> None:
    run_id = await start(workers[0])
    lease = await partitions.take(workers[0], run_id, 1)
    assert lease is not None

    assert [call.number for call in await execution.compare(workers[1], run_id, 1)] == [1]
    assert stage.read == []
    await workers[0].core.execute("UPDATE partitions SET leased_until = now() - interval '1 s'")
    await execution.compare(workers[1], run_id, 1)

    assert stage.read == ["1"]
    terms = await partitions.renew(workers[0].core, lease, 7, 7)
    assert not terms.wanted, "the dead one, should it come back"
    await partitions.give_back(workers[0].core, lease)
    await partitions.finish(workers[0].core, lease, ScanResult(7, 7))
    assert (await states(workers[0], run_id))[1] == ("done", 2)


async def test_a_partition_whose_scan_breaks_is_given_back_at_once(
    stores: Stores, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await start(stores)

    def broken(*_: object, **__: object) -> ScanResult:
        raise ZeroDivisionError

    monkeypatch.setattr(execution, "scan", broken)
    with pytest.raises(ZeroDivisionError):
        await execution.compare(stores, run_id, 0)
    assert (await states(stores, run_id))[0] == ("pending", 1)

    other = await runs.start_run(stores, "bookings", by="test")
    await execution.begin(stores, other.id)
    called = await execution.fail(stores, run_id, ZeroDivisionError())
    assert {call.run_id for call in called} == {other.id}


async def test_partitions_are_listed_in_pages(stores: Stores, stage: Stage) -> None:
    run_id = await start(stores)
    await execution.compare(stores, run_id, 0)

    first = await partitions.list_partitions(stores, run_id, limit=2)
    second = await partitions.list_partitions(stores, run_id, limit=2, cursor=first.next_cursor)

    assert [(each.number, each.low, each.high) for each in first.items] == [(0, None, "1"), (1, "1", "2")]
    assert [(each.number, each.low, each.high) for each in second.items] == [(2, "2", None)]
    assert second.next_cursor is None
    done = first.items[0]
    assert (done.status, done.document_records, done.relational_records) == ("done", 100, 90)
    assert done.finished_at is not None
    with pytest.raises(NotFoundError):
        await partitions.list_partitions(stores, UUID(int=7))


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
    run = await runs.start_run(stores, "customers", dry_run=True, by="test")

    await compare_all(stores, run.id)

    ended = await runs.get_run(stores, run.id)
    assert (ended.status, ended.kinds, ended.outcomes) == ("done", {"unreadable_key": 1}, {"in_review": 1})


async def test_a_rejected_record_that_nothing_can_address_is_left_alone(stores: Stores) -> None:
    await stores.customer["customers"].insert_one({"_id": 5, "email": "odd@example.com"})
    for _ in range(2):
        run = await runs.start_run(stores, "customers", by="test")
        await compare_all(stores, run.id)
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
            run = await runs.start_run(stores, "customers", mode=mode, by="test")
            await compare_all(stores, run.id)
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

    await execution.forget_old(stores)

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
