"""Runs whose records, connections or approvals are out of the ordinary."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from app.errors import ConflictError
from app.reconciliation.deciding import decisions
from app.reconciliation.ledger import diffs, runs, steering
from app.reconciliation.ledger.views import RunView
from app.reconciliation.mapping import Side
from app.reconciliation.repairing.repair import repairer_of
from app.reconciliation.running import breaches
from app.reconciliation.running.breaches import Breach
from app.reconciliation.running.looks import Look
from app.reconciliation.scanning.check import CheckResult
from app.stores.connections import Stores
from app.stores.health import FAULTS
from tests.app.reconciliation.museum import put, show, ticket
from tests.app.reconciliation.repairing.repair_steps import look_again, look_at, only_diff
from tests.app.reconciliation.running.run_steps import WHY, compared
from tests.app.reconciliation.worlds import customer, put_document, put_row


async def test_more_starts_at_once_than_there_are_connections_are_all_answered(stores: Stores) -> None:
    size = stores.settings.pool_size
    await asyncio.gather(*(stores.core.execute("SELECT pg_sleep(0.2)") for _ in range(size)))
    starts = (runs.start_run(stores, "customers", by="test") for _ in range(2 * size))
    async with asyncio.timeout(10):
        answers = await asyncio.gather(*starts, return_exceptions=True)
    assert Counter(map(type, answers)) == {RunView: 1, ConflictError: 2 * size - 1}


async def test_an_approved_diff_that_its_look_gave_up_is_taken_up_by_the_next_full_run(
    repairing: Stores,
) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    await look_at(repairing, "customers", ada)
    diff = await only_diff(repairing, "customers", ada)
    await decisions.approve(repairing, [diff.id], side="relational", **WHY)
    await repairing.core.execute("DELETE FROM suspects")
    await repairing.admin.execute("DELETE FROM customers")
    await compared(repairing, "customers")
    await look_again(repairing)
    assert (await only_diff(repairing, "customers", ada)).status in {"repaired", "vanished"}


async def test_what_an_operator_approved_stays_allowed_as_long_as_that_run_is_under_way(
    repairing: Stores,
) -> None:
    for _ in range(110):
        await put_document(repairing, "customers", customer())
    run = await compared(repairing, "customers")
    assert run.status == "held"
    await runs.approve_run(repairing, run.id, **WHY)
    await steering.pause_run(repairing, run.id, **WHY)
    await repairing.core.execute("UPDATE breakers SET counted_from = now() - interval '3 hours'")
    await steering.resume_run(repairing, run.id, **WHY)
    await repairer_of(repairing).run_due()
    assert (await runs.get_run(repairing, run.id)).status == "done"
    assert await repairing.admin.fetchval("SELECT count(*) FROM customers") == 110

    await repairing.core.execute("UPDATE runs SET finished_at = now() - interval '61 minutes'")
    grace = customer()
    await put_document(repairing, "customers", grace)
    await look_at(repairing, "customers", grace)
    stopped = await repairing.core.fetchval("SELECT reason FROM breakers WHERE entity = 'customers'")
    assert stopped == "111 changes within an hour, more than 100", "an hour after its end it is over"


async def test_a_dry_run_ends_where_the_key_of_a_record_is_the_empty_text(
    museum: None, stores: Stores
) -> None:
    await put(stores, "shows", *show(1))
    await put(stores, "tickets", ticket("")[0])
    run = await compared(stores, "tickets", dry_run=True)
    assert (run.status, run.findings) == ("done", 1)
    assert sum(run.outcomes.values()) == 1


async def test_a_breach_of_a_record_whose_key_is_the_empty_text_is_looked_at_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    async def look(_confirming: Any, keys: list[str], _stopped: Any) -> None:
        looked.extend(keys)

    monkeypatch.setattr(breaches, "_confirm_some", look)
    run = await runs.start_run(stores, "launches", by="test")
    await stores.core.execute(
        "INSERT INTO findings (run_id, key, partition, kind) VALUES ($1, '', 0, 'invariant')", run.id
    )
    await breaches.confirm(stores, run.id, "launches", CheckResult(), stopped=lambda: False)
    assert looked == [""]


async def test_a_breach_that_quotes_a_text_with_a_nul_is_recorded(stores: Stores) -> None:
    breach = Breach(
        "a", "customer-exists", None, {Side.DOCUMENT: Look({}, reason="customers a\0b is not there")}
    )
    await diffs.record(stores.core, [breaches._as_discrepancy(UUID(int=1), "bookings", breach, None)])
    page = await diffs.list_diffs(stores, entity="bookings")
    assert [each.reason for each in page.items] == ["customers a\u2400b is not there"]


async def test_a_key_that_cannot_be_read_takes_no_place_of_a_record_that_is_spelled_as_it_is_shown(
    museum: None, stores: Stores
) -> None:
    await put(stores, "shows", *show(1))
    await put(stores, "tickets", ticket("null")[0])
    await put(stores, "tickets", ticket("x")[0] | {"code": None})
    dry = await compared(stores, "tickets", dry_run=True)
    assert dry.kinds == {"unreadable_key": 1, "missing_relational": 1}
    assert (dry.status, sum(dry.outcomes.values())) == ("done", 2)
    proposals = await stores.core.fetch("SELECT kind, proposal ->> 'reason' AS reason FROM findings")
    reasons = {row["kind"]: row["reason"] for row in proposals}
    assert reasons["unreadable_key"] == "its key is not of the declared kind" != reasons["missing_relational"]

    for _ in range(2):
        await compared(stores, "tickets")
        await repairer_of(stores).run_due()
    page = await diffs.list_diffs(stores, entity="tickets")
    assert sorted((each.key, each.kind) for each in page.items) == [
        ("null", "missing_relational"),
        ("null", "unreadable_key"),
    ]
    assert (await diffs.standing(stores.core, "tickets", ["null"]))["null"].kind == "missing_relational"


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (asyncpg.CharacterNotInRepertoireError, False),
        (asyncpg.ProgramLimitExceededError, False),
        (asyncpg.UniqueViolationError, False),
        (asyncpg.CannotConnectNowError, True),
        (asyncpg.TooManyConnectionsError, True),
        (asyncpg.QueryCanceledError, True),
        (asyncpg.DeadlockDetectedError, True),
        (asyncpg.ReadOnlySQLTransactionError, True),
        (asyncpg.InvalidPasswordError, True),
        (asyncpg.InsufficientPrivilegeError, True),
    ],
)
def test_what_no_other_try_can_mend_is_no_outage(error: type[Exception], is_away: bool) -> None:
    assert issubclass(error, FAULTS) is is_away
