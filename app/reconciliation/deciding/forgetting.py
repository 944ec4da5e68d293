"""Forgetting a person: the key of their values in the audit store is destroyed, and their values leave our own tables.

What the two services hold of them is not touched. All that happens in the core DB is one transaction, the fact that says
who wanted it included.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from app.accounts.addresses import address
from app.audit import outbox
from app.audit.entries import Fact, IntentEntry
from app.audit.indexes import of_person, of_record
from app.audit.persons import PersonKeys, destroy_key
from app.audit.store import END, AuditStore
from app.errors import Fault, InvalidInputError, StoreUnavailableError
from app.notifications.ledger.forgetting import count_mails, forget_mails
from app.reconciliation.ledger.erasing import count_diffs, erase_diffs, values_in_diffs
from app.reconciliation.ledger.views import ErasureView
from app.reconciliation.mapping import mapping_of, mappings
from app.reconciliation.sides.ports import Reading, RecordFaultError
from app.reconciliation.sides.records import entity_sides
from app.stores.connections import Stores

# Shorter texts are in too much that has nothing to do with the person.
_TELLING = 6
_PAGE = 1000

# What tells of a person: of one of these, at least one text out of each set.
Tells = Sequence[Sequence[Collection[str]]]
# Texts by entity and field.
_Values = Mapping[tuple[str, str], Collection[str]]


class Letters(Protocol):
    """Messages that did not succeed: those that nobody could work off, and tracebacks of those that wait for another try."""

    async def count(self, tells: Tells) -> int:
        """How many tell of the person."""

    async def clear(self, tells: Tells) -> int:
        """Remove those that tell of the person; answers how many."""


@dataclass
class _Past:
    """What the audit store has of a person: their changes, the records that these changed, the values that can be read.

    `unread` says that there may be more of it, in an archive that cannot be read.
    """

    unread: bool = False
    changes: set[int] = field(default_factory=set)
    records: set[tuple[str, str]] = field(default_factory=set)
    values: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))


@dataclass(frozen=True)
class _Traces:
    """What is held of a person: records whose changes hold their values, and what tells of them elsewhere."""

    view: ErasureView
    records: set[tuple[str, str]]
    tells: Tells
    addresses: Collection[str]


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
    cleared = await letters.clear(traces.tells)
    async with stores.core.acquire() as connection, connection.transaction():
        destroyed = await destroy_key(connection, f"{entity}/{key}")
        diffs = await erase_diffs(connection, entity, key)
        mails = await forget_mails(connection, entity, key, traces.addresses)
        facts = await outbox.erase(connection, {(entity, key), *traces.records, *diffs})
        erased = ErasureView(
            entity=entity,
            id=key,
            key=destroyed is not None,
            changes=traces.view.changes if destroyed else 0,
            diffs=len(diffs),
            facts=facts,
            letters=cleared,
            mails=mails,
            document=traces.view.document,
            relational=traces.view.relational,
            unread=traces.view.unread,
        )
        if erased.something:
            told = {
                "changes": erased.changes, "diffs": erased.diffs, "facts": facts, "letters": cleared, "mails": mails,
                "key": destroyed and str(destroyed), "unread": erased.unread,
            }  # fmt: skip
            await outbox.record(
                connection, Fact.PERSON_FORGOTTEN, by=by, target=f"{entity}/{key}", reason=reason,
                detail=told, entity=entity, key=key,
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
    past = await _past(stores, entity, key)
    document, relational = await _readings(stores, entity, key)
    for each in (document, relational):
        _keep(past.values, entity, (each and each.record) or {})
    for of, name, text in await values_in_diffs(stores.core, entity, key):
        past.values[of, name].add(text)
    tells = _tells(entity, key, past.values)
    addresses = {each for (of, _), texts in past.values.items() if of == entity for each in _addresses(texts)}
    view = ErasureView(
        entity=entity,
        id=key,
        key=bool(
            await stores.core.fetchval(
                "SELECT true FROM person_keys WHERE person = $1 AND key IS NOT NULL", f"{entity}/{key}"
            )
        ),
        changes=len(past.changes),
        diffs=await count_diffs(stores.core, entity, key),
        facts=await outbox.count(stores.core, {(entity, key), *past.records}),
        letters=await letters.count(tells),
        mails=await count_mails(stores.core, entity, key, addresses),
        document=document is None or document.record is not None,
        relational=relational is None or relational.record is not None,
        unread=past.unread,
    )
    return _Traces(view, past.records, tells, addresses)


def _addresses(texts: Iterable[str]) -> Iterator[str]:
    """Those that are e-mail addresses, as mails are found by them."""
    for text in texts:
        with suppress(InvalidInputError):
            yield address(text).key


async def _past(stores: Stores, entity: str, key: str) -> _Past:
    """What the audit store has. A lost archive must not keep a person from being forgotten: then, without any of them."""
    try:
        return await _changes(AuditStore.of(stores), entity, key)
    except StoreUnavailableError:
        hot = AuditStore(stores.audit, stores.settings.namespace, PersonKeys(stores.core))
        past = await _changes(hot, entity, key)
        past.unread = True
        return past


async def _changes(audit: AuditStore, entity: str, key: str) -> _Past:
    """The changes that hold values of the person, and can still be read."""
    past, person = _Past(), f"{entity}/{key}"
    for index in (of_record(entity, key), of_person(person)):
        greatest: int | None = END - 1
        while greatest:
            page, last = await audit.page(index, 1, greatest, newest_first=True, limit=_PAGE)
            for each in page:
                entry = each.entry
                if isinstance(entry, IntentEntry) and entry.personal and person in entry.personal.persons:
                    past.records.add((entry.entity, entry.key))
                    past.changes |= set() if entry.personal.is_erased else {each.sequence}
                    _keep_changed(past.values, person, entry)
            greatest = last and last - 1
    return past


def _keep_changed(values: dict[tuple[str, str], set[str]], person: str, intent: IntentEntry) -> None:
    """Of a change that moves a record from one person to another, only what is this one's."""
    mapping = mappings().get(intent.entity)
    for record in (intent.before, intent.after):
        if mapping and record and person in mapping.persons(intent.key, record):
            _keep(values, intent.entity, record)


def _keep(values: dict[tuple[str, str], set[str]], entity: str, record: Mapping[str, object]) -> None:
    for name, value in record.items():
        if isinstance(value, str):
            values[entity, name].add(value)


def _tells(entity: str, key: str, values: _Values) -> Tells:
    """The key, and what the mappings say that the person is known by."""
    names = {f"{entity}/{key}", *([key] if len(key) >= _TELLING else [])}
    own = (each for each in mappings().values() if each.personal_fields and each.person_entity == entity)
    known_by = [
        [values.get((each.entity, name), ()) for name in names] for each in own for names in each.known_by
    ]
    telling = [
        [set(_telling(texts, alone=len(together) == 1)) for texts in together] for together in known_by
    ]
    return [[names], *(together for together in telling if all(together))]


def _telling(texts: Iterable[str], *, alone: bool) -> Iterable[str]:
    """Those that stand for somebody: alone, what might be an address or a number, and no word like `unknown`."""
    stripped = {text.strip() for text in texts}
    if alone:
        return (each for each in stripped if len(each) >= _TELLING and re.search(r"[\d@]", each))
    return (each for each in stripped if len(each) > 1 or not each.isascii())


async def _readings(stores: Stores, entity: str, key: str) -> tuple[Reading | None, Reading | None]:
    """The person's record on both sides; None, None where a side has it and cannot tell what it holds."""
    if entity not in mappings():
        return Reading(), Reading()
    try:
        return (await entity_sides(stores, mapping_of(entity)).read([key]))[key]
    except RecordFaultError:
        return None, None
