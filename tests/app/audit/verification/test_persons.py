"""Erased values: told with the verdict, and a fault where they were not erased as they should be."""

from uuid import uuid4

import pytest
from msgspec.structs import replace

from app.audit.entries import Fact, FactEntry, Personal
from app.audit.outbox import record
from app.audit.persons import PersonKeys, destroy_key
from app.audit.store import AuditStore
from tests.app.audit.entries import NOW, end, intent
from tests.app.audit.sealed import SealedStore

ADA, BOB = "customers/ada", "customers/bob"
LONG_AGO = "UPDATE person_keys SET forgotten_at = now() - interval '1 day' WHERE key IS NULL"


def store_of(sealed: SealedStore) -> AuditStore:
    return AuditStore(sealed.redis, sealed.settings.namespace, PersonKeys(sealed.stores.core))


@pytest.fixture
async def store(sealed: SealedStore) -> SealedStore:
    """Two changes of Ada's and one of Bob's and Ada's, each with its outcome; four entries are sealed."""
    audit = store_of(sealed)
    for persons in ((ADA,), (ADA,), (BOB, ADA)):
        tried = intent(personal=Personal(persons, ("x",)))
        await audit.append([tried, end(tried)])
        if persons == (ADA,):
            await sealed.seal()
    return sealed


async def forget(store: SealedStore, person: str) -> None:
    async with store.stores.core.acquire() as connection, connection.transaction():
        assert await destroy_key(connection, person)


async def told(store: SealedStore, person: str) -> None:
    fact = FactEntry(uuid4(), NOW, Fact.PERSON_FORGOTTEN, "ann", person)
    await store_of(store).append([fact])


async def test_nothing_is_erased_while_the_keys_are_there(store: SealedStore) -> None:
    report = await store.verify()
    assert (report.ok, report.erased_entries, report.erased_persons) == (True, 0, 0)


async def test_what_was_forgotten_is_told_and_every_seal_holds(store: SealedStore) -> None:
    await forget(store, ADA)
    await told(store, ADA)
    await store.stores.core.execute(LONG_AGO)
    report = await store.verify()
    assert (report.ok, report.sealed, report.erased_entries, report.erased_persons) == (True, 4, 3, 1)
    await forget(store, BOB)
    report = await store.verify()
    assert (report.ok, report.erased_entries, report.erased_persons) == (True, 3, 2)


async def test_a_key_whose_row_is_gone_is_a_fault_with_the_first_entry(store: SealedStore) -> None:
    await store.stores.core.execute("DELETE FROM person_keys WHERE person = $1", BOB)
    assert await store.found() == [("key gone", None, 5)]
    await store.stores.core.execute("DELETE FROM person_keys")
    assert await store.found() == [("key gone", None, 1)]


async def test_a_key_that_was_destroyed_without_a_fact_is_a_fault_once_the_fact_had_time_to_come(
    store: SealedStore,
) -> None:
    await forget(store, BOB)
    assert (await store.verify()).ok
    await store.stores.core.execute(LONG_AGO)
    assert await store.found() == [("erased unseen", None, 5)]
    await told(store, ADA)
    assert await store.found() == [("erased unseen", None, 5)]
    async with store.stores.core.acquire() as connection:
        await record(connection, Fact.PERSON_FORGOTTEN, by="ann", target=BOB)
    assert (await store.verify()).ok, "its fact is on its way"


async def test_what_only_looks_like_personal_values_is_passed_over(sealed: SealedStore) -> None:
    odd = replace(intent(), before={"personal": {"unreadable": "x"}})
    await store_of(sealed).append([odd])
    await sealed.seal()
    assert (await sealed.verify()).ok


async def test_an_edited_ciphertext_is_found_by_its_seal(store: SealedStore) -> None:
    def edit(entries):
        place, fields = entries[0]
        head, text, tail = fields["entry"].partition('"text":"')
        entries[0] = (place, {"entry": head + text + ("B" if tail[0] == "A" else "A") + tail[1:]})

    await store.change(edit)
    assert await store.found() == [("edited", 1, 1)]
