"""Erased values: told with the verdict, and a fault where they were not erased as they should be."""

import hashlib
from typing import Any
from uuid import uuid4

import msgspec
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


async def forget(store: SealedStore, person: str) -> dict[str, Any]:
    """What the fact says of it."""
    async with store.stores.core.acquire() as connection, connection.transaction():
        destroyed = await destroy_key(connection, person)
    assert destroyed
    nothing = dict.fromkeys(("changes", "diffs", "facts", "letters"), 0)
    return nothing | {"key": str(destroyed), "unread": False}


async def told(store: SealedStore, person: str, detail: dict[str, Any]) -> None:
    fact = FactEntry(uuid4(), NOW, Fact.PERSON_FORGOTTEN, "ann", person, detail=detail)
    await store_of(store).append([fact])


async def test_nothing_is_erased_while_the_keys_are_there(store: SealedStore) -> None:
    report = await store.verify()
    assert (report.ok, report.erased_entries, report.erased_persons) == (True, 0, 0)


async def test_what_was_forgotten_is_told_and_every_seal_holds(store: SealedStore) -> None:
    await told(store, ADA, await forget(store, ADA))
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
    detail = await forget(store, BOB)
    assert (await store.verify()).ok
    await store.stores.core.execute(LONG_AGO)
    assert await store.found() == [("erased unseen", None, 5)]
    for other in (str(uuid4()), None):
        await told(store, BOB, detail | {"key": other})
    assert await store.found() == [("erased unseen", None, 5)]
    async with store.stores.core.acquire() as connection:
        await record(
            connection, Fact.PERSON_FORGOTTEN, by="ann", target=BOB, detail=detail | {"key": str(uuid4())}
        )
        assert await store.found() == [("erased unseen", None, 5)]
        await record(connection, Fact.PERSON_FORGOTTEN, by="ann", target=BOB, detail=detail)
    assert (await store.verify()).ok, "its fact is on its way"


async def test_a_fact_covers_the_key_that_it_names_and_no_later_one_of_the_person(store: SealedStore) -> None:
    await told(store, ADA, await forget(store, ADA))
    later = intent(personal=Personal((ADA,), ("x",)))
    await store_of(store).append([later, end(later)])
    await forget(store, ADA)
    await store.stores.core.execute(LONG_AGO)
    assert await store.found() == [("erased unseen", None, 8)]
    assert (await store.verify()).erased_persons == 1


async def test_a_key_that_was_overwritten_is_a_fault_with_the_first_entry_that_needs_it(
    store: SealedStore,
) -> None:
    await store.stores.core.execute("UPDATE person_keys SET key = sha256(key) WHERE person = $1", BOB)
    assert await store.found() == [("key changed", None, 5)]
    await store.stores.core.execute("UPDATE person_keys SET key = sha256(key)")
    assert await store.found() == [("key changed", None, 1)]


async def test_entries_of_before_there_were_check_values_stay_valid(sealed: SealedStore) -> None:
    audit = store_of(sealed)
    await audit.append([intent(personal=Personal((ADA,), ("x",)))])

    def strip(entries):
        place, fields = entries[0]
        told = msgspec.json.decode(fields["entry"])
        key = told["personal"].pop("checks")
        assert len(key) == 1
        entries[0] = (place, {"entry": msgspec.json.encode(told).decode()})

    await sealed.change(strip)
    await sealed.seal()
    assert (await sealed.verify()).ok


async def test_the_check_value_is_what_the_documentation_says(store: SealedStore) -> None:
    secret = await store.stores.core.fetchval("SELECT key FROM person_keys WHERE person = $1", BOB)
    (entry,) = [
        msgspec.json.decode(fields["entry"]) for place, fields in await store.entries() if place == "5-0"
    ]
    checks = entry["personal"]["checks"]
    assert (
        msgspec.convert(checks[entry["personal"]["persons"].index(BOB)], bytes)
        == hashlib.sha256(secret).digest()[:8]
    )


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
