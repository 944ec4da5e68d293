"""Forgetting a person, against real stores."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import asyncpg
import msgspec
import pytest
from redis import Redis
from redis.exceptions import RedisError

from actors.letters import DeadLetters
from actors.queues import Queue
from app.audit.entries import Fact, IntentEntry, Outcome
from app.audit.outbox import relay
from app.errors import ConflictError, InvalidInputError, NotFoundError, StoreUnavailableError
from app.reconciliation import mapping
from app.reconciliation.deciding import decisions, forgetting, history, undo
from app.reconciliation.deciding.inverse import ERASED
from app.reconciliation.entities import BOOKINGS
from app.reconciliation.ledger import diffs
from app.reconciliation.ledger.views import DiffView, ErasureView
from app.stores.connections import Stores, open_redis
from tests.app.reconciliation.deciding.forgetting_steps import forget, left, put_letter
from tests.app.reconciliation.deciding.undo_steps import (
    applied,
    audit_of,
    refusals,
    repair,
    repaired_city,
    run_over,
    undo_changes,
)
from tests.app.reconciliation.worlds import (
    LONG_AGO,
    booking,
    customer,
    launch,
    put_both,
    put_document,
    put_row,
)

FORGETTINGS = "SELECT count(*) FROM audit_outbox WHERE entry ->> 'name' = 'operator:person:forget'"
VALUES = ("Paris", "London", "King", "Lovelace", "@example.com", "+44 20")


async def review(stores: Stores, person: dict) -> DiffView:
    """A diff that waits for an operator: the customer is gone from the document side."""
    await stores.customer.customers.delete_one({"_id": person["id"]})
    await repair(stores, "customers", person)
    page = await diffs.list_diffs(stores, entity="customers", key=str(person["id"]), status="in_review")
    return page.items[0]


async def core_of(stores: Stores) -> str:
    """All that the core DB holds, as text."""
    tables = await stores.core.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        await stores.core.fetch(f"SELECT t::text AS row FROM {name['tablename']} AS t") for name in tables
    ]
    return "\n".join(row["row"] for each in rows for row in each)


async def test_nothing_of_a_person_is_left_to_be_read(repairing: Stores, letters: DeadLetters) -> None:
    ada = await repaired_city(repairing)
    bob = customer(city="Berlin", last_name="Jones", email="bob@other.example", contact_number="none")
    await put_document(repairing, "customers", bob)
    await put_row(repairing, "customers", bob | {"city": "Munich", "contact_number": "some"})
    await repair(repairing, "customers", bob)
    waiting = await review(repairing, ada)
    await decisions.reject(repairing, [waiting.id], by="ann", reason="Lovelace said so")
    put_letter(letters, Queue.RUNS, traceback=f"Key (email)=({ada['email']}) exists")
    put_letter(letters, Queue.REPAIRS, str(ada["id"]))
    other = put_letter(letters, Queue.REPAIRS, str(bob["id"]))

    seen = await forgetting.preview(repairing, letters, entity="customers", key=str(ada["id"]).upper())
    erased = await forget(repairing, letters, ada)

    assert erased == seen == ErasureView("customers", str(ada["id"]), True, 1, 2, 1, 2, False, True)
    assert (left(letters, Queue.RUNS), left(letters, Queue.REPAIRS)) == ([], [other])
    held = await core_of(repairing)
    assert [value for value in VALUES if value in held.replace("Lovelace said so", "")] == []
    assert "Berlin" in held, "of others everything stays"
    assert held.count("Lovelace said so") == 1, "the decision stays with its diff"
    story = await history.record(repairing, "customers", str(ada["id"]))
    (change,) = story.changes
    assert (change.outcome, set(change.policy)) == ("applied", {"address.city", "last_name"})
    assert (set(change.before), set(change.after)) == ({"is_vip", "created_at"}, {"is_vip", "created_at"})
    assert {"address.city", "last_name", "email"} <= set(change.erased)
    gone, repaired = story.diffs
    assert [each.erased_at is not None for each in (gone, repaired)] == [True, True]
    assert [each.name for each in repaired.fields] == ["last_name", "address.city"]
    assert {(each.document, each.relational, each.value) for each in repaired.fields} == {(None, None, None)}
    assert {each.winner for each in repaired.fields} == {"document"}


async def test_who_wanted_it_is_recorded_in_the_same_transaction(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    await forget(repairing, letters, ada)
    await relay(repairing.core, audit_of(repairing))
    page, _ = await audit_of(repairing).page(
        f"by:name:{Fact.PERSON_FORGOTTEN}", 1, 99, newest_first=True, limit=9
    )
    (fact,) = [each.entry for each in page]
    assert (fact.actor, fact.reason, fact.target) == ("ann", "asked for it", f"customers/{ada['id']}")
    assert (fact.entity, fact.key) == ("customers", str(ada["id"]))
    destroyed = await repairing.core.fetchval("SELECT id FROM person_keys WHERE key IS NULL")
    counts = {"changes": 1, "diffs": 1, "facts": 0, "letters": 0, "mails": 0, "unread": False}
    assert fact.detail == counts | {"key": str(destroyed)}


async def test_doing_it_again_finds_nothing_and_records_nothing(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    assert (await forget(repairing, letters, ada)).something
    again = await forget(repairing, letters, ada)
    assert not again.something
    assert again.changes == 0
    assert (again.document, again.relational) == (True, True)
    assert await repairing.core.fetchval(FORGETTINGS) == 1
    nobody = await forget(repairing, letters, customer())
    assert not nobody.something


async def test_two_at_once_forget_once(repairing: Stores, letters: DeadLetters) -> None:
    ada = await repaired_city(repairing)
    both = await asyncio.gather(*(forget(repairing, letters, ada) for _ in range(2)))
    assert sorted(each.key for each in both) == [False, True]
    assert sorted(each.diffs for each in both) == [0, 1]
    assert await repairing.core.fetchval(FORGETTINGS) == 1


async def test_a_later_change_of_the_person_can_be_read_again(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    await forget(repairing, letters, ada)
    await repairing.customer.customers.update_one({"_id": ada["id"]}, {"$set": {"last_name": "Byron"}})
    await repair(repairing, "customers", ada)
    later, earlier = (await history.record(repairing, "customers", str(ada["id"]))).changes
    assert (later.after["last_name"], later.erased) == ("Byron", [])
    assert "last_name" not in earlier.after


async def test_an_open_diff_gets_its_values_again_when_its_record_is_looked_at(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = customer()
    await put_row(repairing, "customers", ada)
    waiting = await review(repairing, ada)
    await forget(repairing, letters, ada)
    assert (await diffs.get_diff(repairing, waiting.id)).fingerprint == "erased"
    with pytest.raises(ConflictError):
        await decisions.approve(repairing, [waiting.id, uuid4()], side="document", by="ann", reason="x")
    await repair(repairing, "customers", ada)
    again = await diffs.get_diff(repairing, waiting.id)
    assert (again.fingerprint, again.erased_at) == (waiting.fingerprint, None)


async def test_undo_of_a_forgotten_change_is_refused_with_the_reason(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada, bob = customer(), customer()
    for each in (ada, bob):
        await put_document(repairing, "customers", each)
    run = await run_over(repairing, "customers", ada, bob)
    changes = await applied(repairing)
    await forget(repairing, letters, ada)
    own = {each.intent.key: each.intent.id for each in await audit_of(repairing).changes()}

    with pytest.raises(ConflictError, match=ERASED):
        await undo_changes(repairing, own[str(ada["id"])])
    with pytest.raises(ConflictError, match=ERASED):
        await undo.preview(repairing, change_ids=[own[str(ada["id"])]])
    assert (await undo.preview(repairing, change_ids=changes)).refused == 1
    done = await undo_changes(repairing, run_id=run)
    assert (done.undone, done.refused) == (1, 1)
    assert await refusals(repairing, done) == [ERASED]


async def test_an_undo_that_was_asked_for_before_is_refused_too(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    started = await undo.start(repairing, change_ids=await applied(repairing), by="ann", reason="x")
    await forget(repairing, letters, ada)
    await undo.carry_out(repairing, started.id)
    assert await refusals(repairing, await undo.get_undo(repairing, started.id)) == [ERASED]


async def test_a_write_of_a_dead_writer_is_judged_without_its_values(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = await repaired_city(repairing)
    (change,) = await audit_of(repairing).changes()
    lost = replaced(change.intent)
    await audit_of(repairing).append([lost])
    await forget(repairing, letters, ada)
    await repair(repairing, "customers", ada)
    ended = (await audit_of(repairing).changes_by_id([lost.id]))[lost.id].outcome
    assert (ended.outcome, ended.detail) == (Outcome.INDETERMINATE, "what it was to write is erased")
    assert not ended.personal
    assert await repairing.core.fetchval("SELECT count(*) FROM person_keys WHERE key IS NOT NULL") == 0


async def test_what_is_found_of_a_person_in_place_of_a_lost_write_is_hidden(repairing: Stores) -> None:
    ada = await repaired_city(repairing)
    (change,) = await audit_of(repairing).changes()
    lost = replaced(change.intent, before={"last_name": "Once"}, after={"last_name": "Never"})
    await audit_of(repairing).append([lost])
    await repair(repairing, "customers", ada)
    ended = (await audit_of(repairing).changes_by_id([lost.id]))[lost.id].outcome
    assert "King" in ended.detail
    assert "King" not in str(await repairing.audit.xrange(f"{repairing.settings.namespace}:audit:entries"))


def replaced(of: IntentEntry, **values: object) -> IntentEntry:
    """Another intent for the same record, whose writer is long dead."""
    return msgspec.structs.replace(of, id=uuid4(), at=LONG_AGO, deadline=LONG_AGO, **values)


async def test_values_that_hang_on_another_record_are_forgotten_with_their_person(
    repairing: Stores, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = tuple(replace(each, personal=each.name == "total_price") for each in BOOKINGS.fields)
    ours = replace(BOOKINGS, fields=fields, whose="customer_id")
    monkeypatch.setattr(mapping, "_registry", mapping._registry | {"bookings": ours})
    flight, ada, bob = launch(), customer(), customer()
    await put_both(repairing, "launches", flight)
    for each in (ada, bob):
        await put_both(repairing, "customers", each)
        trip = booking(flight, each)
        await put_document(repairing, "bookings", trip | {"total_price": 777})
        await put_row(repairing, "bookings", trip)
        await repair(repairing, "bookings", trip)
    found = await diffs.list_diffs(repairing, entity="bookings")
    assert len(found.items) == 2

    erased = await forget(repairing, letters, ada)

    assert (erased.key, erased.changes, erased.diffs) == (True, 1, 1)
    told = await diffs.list_diffs(repairing, entity="bookings")
    assert sorted(each.erased_at is None for each in told.items) == [False, True]
    shown = (await history.list_changes(repairing, entity="bookings")).items
    assert sorted(each.erased for each in shown) == [[], ["total_price"]]


async def test_what_broke_an_invariant_is_forgotten_with_the_reason_that_quotes_it(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = customer()
    await repairing.core.execute(
        """
        INSERT INTO diffs (entity, key, cause, kind, status, fingerprint, reason, invariant, fields)
        VALUES ('customers', $1, 'x', 'invariant', 'in_review', 'f', 'born 1990-05-17', 'grown_up',
            '[{"name": "date_of_birth", "document": "1990-05-17", "relational": null, "rule": "", "winner": null, "value": null},
              {"name": "is_vip", "document": true, "relational": false, "rule": "", "winner": null, "value": null}]')
        """,
        str(ada["id"]),
    )
    assert (await forget(repairing, letters, ada)).diffs == 1
    (told,) = (await diffs.list_diffs(repairing, entity="customers")).items
    assert told.reason == "erased"
    assert [(each.name, each.document) for each in told.fields] == [("date_of_birth", None), ("is_vip", True)]


async def test_a_diff_without_personal_values_keeps_the_decision_about_it(
    repairing: Stores, letters: DeadLetters
) -> None:
    ada = customer()
    await put_document(repairing, "customers", ada | {"is_vip": True})
    await put_row(repairing, "customers", ada)
    await repair(repairing, "customers", ada)
    assert (await forget(repairing, letters, ada)).diffs == 0
    (told,) = (await diffs.list_diffs(repairing, entity="customers")).items
    assert told.fields[0].document is True
    assert told.erased_at is None


async def test_who_is_meant_must_be_known(repairing: Stores, letters: DeadLetters) -> None:
    async def wrong(entity: str, key: str) -> None:
        await forgetting.forget(repairing, letters, entity=entity, key=key, by="ann", reason="x")

    with pytest.raises(NotFoundError, match="unknown entity"):
        await wrong("customer", str(uuid4()))
    with pytest.raises(InvalidInputError, match="are no persons"):
        await wrong("launches", str(uuid4()))
    with pytest.raises(InvalidInputError, match="not a key"):
        await wrong("customers", "ada")


async def test_a_person_of_an_entity_that_is_no_longer_mapped_can_be_forgotten(
    repairing: Stores, letters: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await repaired_city(repairing)
    others = {name: each for name, each in mapping._registry.items() if name == "launches"}
    monkeypatch.setattr(mapping, "_registry", others)
    erased = await forget(repairing, letters, ada)
    assert (erased.key, erased.changes, erased.diffs) == (True, 1, 1)
    held = await core_of(repairing)
    assert [value for value in VALUES if value in held] == []


async def test_nothing_is_erased_while_a_store_is_away(repairing: Stores, letters: DeadLetters) -> None:
    ada = await repaired_city(repairing)
    closed = DeadLetters(Redis.from_url("redis://127.0.0.1:1"), letters.namespace)
    with pytest.raises(RedisError):
        await forget(repairing, closed, ada)
    await repairing.core.execute("ALTER TABLE audit_outbox RENAME TO lost")
    with pytest.raises(asyncpg.UndefinedTableError):
        await forget(repairing, letters, ada)
    await repairing.core.execute("ALTER TABLE lost RENAME TO audit_outbox")
    async with open_redis("redis://127.0.0.1:1") as nowhere:
        with pytest.raises(StoreUnavailableError):
            await forget(replace(repairing, audit=nowhere), letters, ada)
    assert await repairing.core.fetchval("SELECT count(*) FROM person_keys WHERE key IS NOT NULL") == 1
    assert await repairing.core.fetchval("SELECT count(*) FROM diffs WHERE erased_at IS NULL") == 1
