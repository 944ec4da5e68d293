"""One record's whole story, and the changes that were made: what operators read to learn why."""

from functools import partial
from uuid import UUID

from app.audit.entries import Fact
from app.audit.reads import record_read, recorded
from app.audit.store import AuditStore, Change
from app.errors import ConflictError, Fault, InvalidInputError
from app.pages import Page, check_limit, decode_cursor_number, encode_cursor
from app.reconciliation.deciding.inverse import erased
from app.reconciliation.ledger import diffs, holds
from app.reconciliation.ledger.views import ChangeView, RecordView
from app.reconciliation.mapping import mapping_of, mappings
from app.reconciliation.resolve import differ
from app.reconciliation.sides.ports import RecordFaultError
from app.reconciliation.sides.records import entity_sides
from app.reconciliation.values import Record, spell
from app.stores.connections import Stores

_MOST = 100  # diffs, and changes, of a record's story; older ones are listed by themselves


async def list_changes(
    stores: Stores,
    *,
    entity: str | None = None,
    key: str | None = None,
    run_id: UUID | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[ChangeView]:
    """Changes from the newest to the oldest: of a record (`entity` and `key`), an entity, a run, or all.

    Those of a run are of several entities, where it led to changes of records that its own refer to. A page looks at a
    bounded number of entries: one that is not full may be followed by others.
    """
    if entity is not None:
        mapping = mapping_of(entity)
        key = None if key is None else mapping.normal_key(key)
    elif key is not None:
        raise InvalidInputError("an id without its entity", [Fault("entity", "is needed with id")])
    if run_id is not None and entity is not None:
        raise InvalidInputError(
            "too many filters",
            [
                Fault(
                    "run_id", "goes without entity: the changes of a run, of any entity, are listed together"
                )
            ],
        )
    found, last = await _audit(stores).changes_page(
        entity=entity,
        key=key,
        run_id=run_id,
        before=decode_cursor_number(cursor),
        limit=check_limit(limit) + 1,
    )
    place = found[limit - 1].sequence if len(found) > limit else last
    return Page([_view(each) for each in found[:limit]], None if place is None else encode_cursor(str(place)))


async def read_changes(
    stores: Stores,
    *,
    by: str,
    entity: str | None,
    key: str | None,
    run_id: UUID | None,
    limit: int,
    cursor: str | None,
) -> Page[ChangeView]:
    """As `list_changes`, for a person: that they read is recorded."""
    answer = list_changes(stores, entity=entity, key=key, run_id=run_id, limit=limit, cursor=cursor)
    seen = partial(_record, stores, Fact.CHANGES_READ, by=by, entity=entity, key=key, run_id=run_id)
    return await recorded(answer, seen)


async def read_record(stores: Stores, entity: str, key: str, *, by: str) -> RecordView:
    """As `record`, for a person: that they read is recorded."""
    answer = record(stores, entity, key)
    seen = partial(_record, stores, Fact.RECORD_READ, by=by, entity=entity, key=key)
    return await recorded(answer, seen)


async def record(stores: Stores, entity: str, key: str) -> RecordView:
    """A record as both sides hold it now, and its latest diffs and changes, newest first.

    Raises NotFoundError for an unknown entity, InvalidInputError for a malformed key, ConflictError where a side cannot
    tell what it holds.
    """
    mapping = mapping_of(entity)
    key = mapping.normal_key(key)
    try:
        pairs = await entity_sides(stores, mapping).read([key])
    except RecordFaultError as error:
        raise ConflictError(f"{entity} {key} cannot be shown: {error}") from error
    document, relational = (reading.record for reading in pairs[key])
    known = await diffs.list_diffs(stores, entity=entity, key=key, limit=_MOST)
    changes = await list_changes(stores, entity=entity, key=key, limit=_MOST)
    waiting = await stores.core.fetchrow(
        "SELECT waiting_for FROM suspects WHERE entity = $1 AND key = $2", entity, key
    )
    return RecordView(
        entity=entity,
        key=key,
        document=_spelled(document),
        relational=_spelled(relational),
        differing=[
            each.name
            for each in mapping.compared_fields
            if document and relational and differ(document[each.name], relational[each.name])
        ],
        waiting=(waiting["waiting_for"] or "its turn") if waiting else None,
        diffs=known.items,
        changes=changes.items,
        hold=await holds.find(stores, entity, key),
        more_diffs=known.next_cursor,
        more_changes=changes.next_cursor,
    )


async def _record(
    stores: Stores, name: Fact, *, by: str, entity: str | None, key: str | None, run_id: UUID | None = None
) -> None:
    """Record a read, with its record where an entity of that name is mapped."""
    mapping = mappings().get(entity or "")
    key = mapping.normal_key(key) if mapping and key else key
    about = {"entity": entity, "key": key} if mapping else {}
    filters = {"entity": entity, "id": key, "run_id": run_id and str(run_id)}
    await record_read(_audit(stores), name, by=by, filters=filters, run_id=run_id, **about)


def _audit(stores: Stores) -> AuditStore:
    return AuditStore.of(stores)


def _view(change: Change) -> ChangeView:
    intent, outcome = change.intent, change.outcome
    return ChangeView(
        id=intent.id,
        entity=intent.entity,
        key=intent.key,
        side=intent.side,
        action=intent.action,
        before=intent.before,
        after=intent.after,
        policy=intent.policy,
        cause=intent.cause,
        diff_id=intent.diff_id,
        run_id=intent.run_id,
        intended_at=intent.at,
        outcome=outcome.outcome if outcome else None,
        detail=outcome.detail if outcome else None,
        finished_at=outcome.at if outcome else None,
        undoes=intent.undoes,
        erased=list(intent.personal.fields) if intent.personal and erased(intent) else [],
    )


def _spelled(held: Record | None) -> dict[str, object] | None:
    return None if held is None else {name: spell(value) for name, value in held.items()}
