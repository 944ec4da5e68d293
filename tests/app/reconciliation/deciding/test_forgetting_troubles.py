"""Forgetting a person where values lie in the broker alone, others are writing, or a store lacks something."""

import asyncio

import pytest

from actors.letters import DeadLetters
from actors.queues import Queue
from app.audit.entries import Fact
from app.audit.outbox import record, relay
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.reconciliation.deciding import forgetting, undo
from app.reconciliation.deciding.inverse import ERASED
from app.stores.connections import Stores, open_redis
from tests.app.reconciliation.deciding.forgetting_steps import forget, left, put_letter
from tests.app.reconciliation.deciding.undo_steps import (
    applied,
    audit_of,
    refusals,
    repair,
    repaired_city,
)
from tests.app.reconciliation.interposed import after_first, interpose
from tests.app.reconciliation.worlds import (
    customer,
    put_row,
    row_of,
)


async def test_letters_are_found_by_values_that_only_changes_tell(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    await repairing.customer.customers.delete_one({"_id": ada["id"]})
    await repairing.admin.execute("DELETE FROM customers WHERE id = $1", ada["id"])
    put_letter(letters, Queue.RUNS, traceback=f"Key (email)=({ada['email']}) exists")
    put_letter(letters, Queue.RUNS, traceback="Failing row contains (1, Ada, King, null)")
    erased = await forget(repairing, letters, ada)
    assert (erased.letters, erased.document, erased.relational) == (2, False, False)
    assert left(letters, Queue.RUNS) == []


async def test_letters_of_others_who_share_a_word_with_the_person_stay(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = customer(last_name="message_id", contact_number="unknown", city="Kourou")
    await put_row(repairing, "customers", ada)
    kept = [
        put_letter(letters, Queue.RUNS, traceback=each)
        for each in (
            "Key (x)=(Ada) unknown",
            "no message_id",
            f"x{ada['email']}",
            f"{ada['email']}.uk",
            "Kourou",
        )
    ]
    gone = put_letter(letters, Queue.RUNS, traceback="(Ada, message_id)")
    assert (await forget(repairing, letters, ada)).letters == 1
    assert sorted(left(letters, Queue.RUNS)) == sorted(kept)
    assert gone not in kept


async def test_a_fact_that_is_being_relayed_is_not_counted_as_erased(
    repairing: Stores, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    about = {
        "by": "ann",
        "target": "x",
        "reason": "Lovelace said so",
        "entity": "customers",
        "key": str(ada["id"]),
    }
    async with repairing.core.acquire() as connection:
        await record(connection, Fact.HOLD_PLACED, **about)
    reached, go_on = asyncio.Event(), asyncio.Event()
    append = AuditStore.append

    async def held_up(store: AuditStore, entries: list) -> int:
        reached.set()
        await go_on.wait()
        return await append(store, entries)

    monkeypatch.setattr(AuditStore, "append", held_up)
    relaying = asyncio.create_task(relay(repairing.core, audit_of(repairing)))
    await reached.wait()
    forgetting_ada = asyncio.create_task(forget(repairing, letters, ada))
    await asyncio.sleep(0.3)
    go_on.set()
    await relaying
    assert (await forgetting_ada).facts == 0


async def test_a_lost_archive_keeps_nobody_known(repairing: Stores, letters: DeadLetters) -> None:
    ada = await repaired_city(repairing)
    prefix = f"{repairing.settings.namespace}:audit"
    async with open_redis(repairing.settings.url("audit_retention_url")) as retention:
        await retention.set(f"{prefix}:archived", 2)
        await retention.xdel(f"{prefix}:entries", "1-0", "2-0")
    await repairing.customer.customers.update_one({"_id": ada["id"]}, {"$set": {"last_name": "Byron"}})
    await repair(repairing, "customers", ada)
    with pytest.raises(StoreUnavailableError, match="in which archive"):
        await audit_of(repairing).changes(entity="customers", key=str(ada["id"]))

    seen = await forgetting.preview(repairing, letters, entity="customers", key=str(ada["id"]))
    erased = await forget(repairing, letters, ada)

    assert seen == erased
    assert (erased.key, erased.changes, erased.unread) == (True, 1, True)
    assert await repairing.core.fetchval("SELECT count(*) FROM person_keys WHERE key IS NOT NULL") == 0
    told = await repairing.core.fetchval(
        "SELECT entry -> 'detail' ->> 'unread' FROM audit_outbox ORDER BY position DESC"
    )
    assert told == "true"


async def test_an_undo_under_way_does_not_write_back_what_is_forgotten_meanwhile(
    repairing: Stores, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="ann", reason="x")
    undoer = undo.undoer_of(repairing)

    async def forgotten() -> None:
        await forget(repairing, letters, ada)

    interpose(undoer.sides, "customers", "relational", read=after_first(forgotten))
    monkeypatch.setattr(undo, "undoer_of", lambda _: undoer)
    await undo.carry_out(repairing, started.id)
    assert await refusals(repairing, await undo.get_undo(repairing, started.id)) == [ERASED]
    assert (await row_of(repairing, "customers", ada))["city"] == "Paris"
