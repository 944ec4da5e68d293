"""Forgetting a person: the key of their values in the audit store is destroyed, and their values leave our own tables.

What the two services hold of them is not touched. All that happens in the core DB is one transaction, the fact that says
who wanted it included.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from app.audit import outbox
from app.audit.entries import Fact, IntentEntry
from app.audit.indexes import of_person, of_record
from app.audit.persons import destroy_key
from app.audit.store import END, AuditStore
from app.errors import Fault, InvalidInputError
from app.reconciliation.ledger.erasing import count_diffs, erase_diffs, values_in_diffs
from app.reconciliation.ledger.views import ErasureView
from app.reconciliation.mapping import mapping_of, mappings
from app.reconciliation.sides.ports import Reading, RecordFaultError
from app.reconciliation.sides.records import entity_sides
from app.stores.connections import Stores

# Shorter texts are in too much that has nothing to do with the person.
_TELLING = 6
_PAGE = 1000


class Letters(Protocol):
    """Messages that nobody could work off. Both methods take texts, of which a letter holds at least one."""

    async def count(self, texts: Collection[str]) -> int:
        """How many hold one of them."""

    async def clear(self, texts: Collection[str]) -> int:
        """Remove those that hold one of them; answers how many."""


@dataclass(frozen=True)
class _Traces:
    """What is held of a person: records whose changes hold their values, how many changes, and texts that tell of them."""

    view: ErasureView
    records: set[tuple[str, str]]
    texts: set[str]


async def preview(stores: Stores, letters: Letters, *, entity: str, key: str) -> ErasureView:
    """What `forget` would erase; raises as it does."""
    return (await _trace(stores, letters, entity, await _checked(stores, entity, key))).view


async def forget(
    stores: Stores, letters: Letters, *, entity: str, key: str, by: str, reason: str
) -> ErasureView:
    """Forget the person that this record is; answers what was erased. Doing it again finds nothing left.

    Raises NotFoundError for an unknown entity, InvalidInputError for a malformed key and for an entity whose records are
    no persons, StoreUnavailableError where a store is away: then nothing is erased but letters perhaps.
    """
    key = await _checked(stores, entity, key)
    traces = await _trace(stores, letters, entity, key)
    # They lie in no transaction: gone first, whoever comes again after a crash finds the rest.
    cleared = await letters.clear(traces.texts)
    async with stores.core.acquire() as connection, connection.transaction():
        was_known = await destroy_key(connection, f"{entity}/{key}")
        diffs = await erase_diffs(connection, entity, key)
        facts = await outbox.erase(connection, {(entity, key), *traces.records, *diffs})
        erased = ErasureView(
            entity=entity,
            id=key,
            key=was_known,
            changes=traces.view.changes if was_known else 0,
            diffs=len(diffs),
            facts=facts,
            letters=cleared,
            document=traces.view.document,
            relational=traces.view.relational,
        )
        if erased.something:
            counts = {"changes": erased.changes, "diffs": erased.diffs, "facts": facts, "letters": cleared}
            await outbox.record(
                connection, Fact.PERSON_FORGOTTEN, by=by, target=f"{entity}/{key}", reason=reason,
                detail=counts, entity=entity, key=key,
            )  # fmt: skip
    return erased


async def _checked(stores: Stores, entity: str, key: str) -> str:
    """The key in its one spelling. A person whose entity is no longer mapped is known by their key alone."""
    if entity not in mappings() and await stores.core.fetchval(
        "SELECT EXISTS (SELECT FROM person_keys WHERE person = $1)", f"{entity}/{key}"
    ):
        return key
    mapping = mapping_of(entity)
    persons = {
        name
        for each in mappings().values()
        if each.personal_fields
        for name in (each.entity, each.person_entity)
    }
    if entity not in persons:
        fault = Fault("entity", f"is one of {', '.join(sorted(persons))}")
        raise InvalidInputError(f"{entity} are no persons: nothing personal is kept of them", [fault])
    return mapping.normal_key(key)


async def _trace(stores: Stores, letters: Letters, entity: str, key: str) -> _Traces:
    changes, records = await _changes(AuditStore.of(stores), entity, key)
    document, relational = await _readings(stores, entity, key)
    held = _texts(entity, document, relational) | await values_in_diffs(stores.core, entity, key)
    texts = {key, *(each for each in held if len(each) >= _TELLING)}
    view = ErasureView(
        entity=entity,
        id=key,
        key=bool(
            await stores.core.fetchval(
                "SELECT true FROM person_keys WHERE person = $1 AND key IS NOT NULL", f"{entity}/{key}"
            )
        ),
        changes=changes,
        diffs=await count_diffs(stores.core, entity, key),
        facts=await outbox.count(stores.core, {(entity, key), *records}),
        letters=await letters.count(texts),
        document=document is None or document.record is not None,
        relational=relational is None or relational.record is not None,
    )
    return _Traces(view, records, texts)


async def _changes(audit: AuditStore, entity: str, key: str) -> tuple[int, set[tuple[str, str]]]:
    """How many changes hold values of the person that can still be read, and the records that they changed."""
    found: set[int] = set()
    records: set[tuple[str, str]] = set()
    person = f"{entity}/{key}"
    for index in (of_record(entity, key), of_person(person)):
        greatest: int | None = END - 1
        while greatest:
            page, last = await audit.page(index, 1, greatest, newest_first=True, limit=_PAGE)
            for each in page:
                entry = each.entry
                if isinstance(entry, IntentEntry) and entry.personal and person in entry.personal.persons:
                    records.add((entry.entity, entry.key))
                    found |= set() if entry.personal.is_erased else {each.sequence}
            greatest = last and last - 1
    return len(found), records


async def _readings(stores: Stores, entity: str, key: str) -> tuple[Reading | None, Reading | None]:
    """The person's record on both sides; None, None where a side has it and cannot tell what it holds."""
    if entity not in mappings():
        return Reading(), Reading()
    try:
        return (await entity_sides(stores, mapping_of(entity)).read([key]))[key]
    except RecordFaultError:
        return None, None


def _texts(entity: str, *readings: Reading | None) -> set[str]:
    """The personal texts that a record holds."""
    if entity not in mappings():
        return set()
    names = mapping_of(entity).personal_fields
    held = (each.record for each in readings if each and each.record)
    return {value for record in held for name in names if isinstance(value := record.get(name), str)}
