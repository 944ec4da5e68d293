"""Personal values: hidden in the store, in clear in the process, and gone for ever with their key."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from app.audit.entries import IntentEntry, Outcome, OutcomeEntry, Personal, decode, encode
from app.audit.persons import PersonKey, PersonKeys, destroy_key, hidden, revealed
from app.audit.queries import EntryFilter, list_entries
from app.audit.store import AuditStore
from app.errors import StoreUnavailableError
from app.stores.connections import Stores
from tests.app.audit.entries import NOW, fact, intent

ADA, BOB = "customers/ada", "customers/bob"
EMAIL = "ada@personal.example"
KEYS = {person: PersonKey(uuid4(), bytes([at]) * 32) for at, person in enumerate((ADA, BOB))}
SECRETS = {each.id: each.secret for each in KEYS.values()}


def of_ada(*persons: str, **about: Any) -> IntentEntry:
    """A change of an e-mail address and of a field that tells nothing."""
    before, after = {"email": "old@personal.example", "is_vip": False}, {"email": EMAIL, "is_vip": True}
    told = {"before": before, "after": after, "personal": Personal(persons or (ADA,), ("email",))} | about
    return replace(intent("ada"), **told)


def of_found(of: IntentEntry) -> OutcomeEntry:
    return OutcomeEntry(of.id, NOW, Outcome.INDETERMINATE, f"found {EMAIL}", Personal((ADA,), ("detail",)))


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()
SECRET_VALUES = st.text(min_size=6).map(lambda text: f"secret {text}")
RECORDS = st.none() | st.builds(
    lambda personal, other: personal | other,
    st.dictionaries(st.sampled_from(["email", "name.first", "phone"]), SECRET_VALUES | st.none()),
    st.dictionaries(st.sampled_from(["is_vip", "created_at", "personal"]), VALUES),
)


@given(before=RECORDS, after=RECORDS, persons=st.sampled_from([(ADA,), (BOB,), (ADA, BOB)]))
def test_what_was_hidden_comes_back_and_is_nowhere_to_be_read_in_between(
    before: dict | None, after: dict | None, persons: tuple[str, ...]
) -> None:
    personal = Personal(persons, ("email", "name.first", "phone"))
    entry = of_ada(before=before, after=after, personal=personal)
    stored = encode(hidden(entry, KEYS))
    told = json.loads(stored)
    assert "secret" not in json.dumps([told["before"], told["after"]])
    assert b"secret" not in stored
    assert revealed(decode(stored), SECRETS) == entry


@given(detail=st.text(min_size=8))
def test_what_was_found_of_a_person_is_hidden_too(detail: str) -> None:
    entry = replace(of_found(intent()), detail=detail)
    stored = hidden(entry, KEYS)
    assert stored.detail is None
    assert revealed(stored, SECRETS) == entry


def test_whoever_lacks_one_of_the_keys_reads_nothing() -> None:
    stored = hidden(of_ada(ADA, BOB), KEYS)
    for key in KEYS.values():
        shown = revealed(stored, {key.id: key.secret})
        assert shown == stored
        assert shown.personal.is_erased
        assert (shown.before, shown.after) == ({"is_vip": False}, {"is_vip": True})


def test_a_text_that_was_moved_to_another_entry_or_kind_is_not_taken_for_its_own() -> None:
    first, second = hidden(of_ada(), KEYS), hidden(of_ada(), KEYS)
    assert revealed(replace(first, personal=second.personal), SECRETS).personal.is_erased
    found = of_found(first)
    moved = replace(found, detail=None, personal=replace(first.personal, fields=("detail",)))
    assert revealed(moved, SECRETS).personal.is_erased


def test_the_same_values_are_never_encrypted_alike() -> None:
    entry = of_ada()
    assert hidden(entry, KEYS).personal.text != hidden(entry, KEYS).personal.text


async def raw(stores: Stores) -> str:
    """Everything that the stream holds."""
    return str(await stores.audit.xrange(f"{stores.settings.namespace}:audit:entries"))


async def forget(stores: Stores, person: str) -> object:
    async with stores.core.acquire() as connection, connection.transaction():
        return await destroy_key(connection, person)


async def test_the_process_sees_values_that_the_store_does_not(stores: Stores, audit: AuditStore) -> None:
    tried, other = of_ada(), intent("b")
    found = of_found(tried)
    await audit.append([tried, other])
    assert await audit.open_intents_of("customers", ["ada"]) == [tried]
    await audit.append([found])

    assert "personal.example" not in await raw(stores)
    assert (await audit.changes_by_id([tried.id]))[tried.id].outcome == found
    assert [(each.intent, each.outcome) for each in await audit.changes()] == [(other, None), (tried, found)]
    page = await list_entries(audit, EntryFilter(entity="customers", key="ada"))
    assert [each.entry for each in page.items] == [found, tried]


async def test_with_the_key_the_values_are_gone_for_good_and_later_ones_have_another(
    stores: Stores, audit: AuditStore
) -> None:
    tried = of_ada()
    await audit.append([tried, of_found(tried)])
    before = await raw(stores)
    assert await forget(stores, ADA)
    assert not await forget(stores, ADA)

    (change,) = await audit.changes()
    assert (change.intent.after, change.intent.personal.is_erased) == ({"is_vip": True}, True)
    assert (change.outcome.detail, change.outcome.personal.is_erased) == (None, True)
    assert await raw(stores) == before, "what is sealed stays as it is"
    later = of_ada()
    await audit.append([later])
    assert [each.intent.personal.is_erased for each in await audit.changes()] == [False, True]
    rows = await stores.core.fetch("SELECT key IS NULL AS gone FROM person_keys ORDER BY id")
    assert [row["gone"] for row in rows] == [True, False]


async def test_changes_of_a_person_by_another_record_are_found(stores: Stores, audit: AuditStore) -> None:
    await audit.append([of_ada(BOB, key="booking"), of_ada()])
    page, _ = await audit.page(f"by:person:{BOB}", 1, 9, newest_first=True, limit=9)
    assert [each.entry.key for each in page] == ["booking"]
    assert not (await audit.page(f"by:person:{ADA}", 1, 9, newest_first=True, limit=9))[0]


async def test_one_person_has_one_key_however_many_ask_at_once(stores: Stores) -> None:
    keys = PersonKeys(stores.core)
    people = [f"customers/{number}" for number in range(50)]
    found = await asyncio.gather(*(keys.of(people[::step]) for step in (1, -1, 1, -1, 1)))
    assert all(each == found[0] for each in found)
    assert len({key.secret for key in found[0].values()}) == 50


@dataclass
class Counting:
    """A core DB that counts what it is asked."""

    core: Any
    asked: int = 0

    async def fetch(self, *query: Any) -> Any:
        self.asked += 1
        return await self.core.fetch(*query)

    async def execute(self, *query: Any) -> Any:
        self.asked += 1
        return await self.core.execute(*query)


async def test_a_batch_and_a_page_take_one_statement_and_none_without_personal_values(stores: Stores) -> None:
    core = Counting(stores.core)
    audit = AuditStore(stores.audit, stores.settings.namespace, PersonKeys(core))
    await audit.append([of_ada(ADA if number % 2 else BOB) for number in range(20)])
    core.asked = 0
    await audit.append([of_ada(ADA if number % 2 else BOB) for number in range(20)])
    assert core.asked == 1
    assert len((await list_entries(audit, EntryFilter())).items) == 40
    assert core.asked == 2
    await audit.append([intent(), fact()])
    assert len((await list_entries(audit, EntryFilter(), limit=2)).items) == 2
    assert (await audit.page(None, 41, 42, newest_first=True, limit=2))[0]
    assert core.asked == 3, "a page looks at one entry more than it shows"


async def test_nothing_is_stored_while_there_are_no_keys(stores: Stores, audit: AuditStore) -> None:
    await audit.append([of_ada()])
    await stores.core.execute("ALTER TABLE person_keys RENAME TO lost")
    try:
        with pytest.raises(StoreUnavailableError, match="core database"):
            await audit.append([intent(), of_ada()])
        with pytest.raises(StoreUnavailableError, match="core database"):
            await audit.changes()
    finally:
        await stores.core.execute("ALTER TABLE lost RENAME TO person_keys")
    assert (await audit.count()).counted == 1


async def test_without_keys_a_store_shows_what_is_stored_and_takes_nothing_personal(
    stores: Stores, audit: AuditStore
) -> None:
    tried = of_ada()
    await audit.append([tried])
    bare = AuditStore(stores.audit, stores.settings.namespace)
    ((begun, _),) = (await bare.find([tried.id])).values()
    assert begun.entry.personal.is_erased
    with pytest.raises(AssertionError, match="takes no values"):
        await bare.append([of_ada()])


async def test_what_cannot_be_revealed_stays_as_it_is_beside_what_can(
    stores: Stores, audit: AuditStore
) -> None:
    await audit.append([of_ada(BOB), of_ada()])
    await stores.core.execute("UPDATE person_keys SET key = $1 WHERE person = $2", bytes(32), BOB)
    assert [each.intent.personal.is_erased for each in await audit.changes()] == [False, True]
