"""The indexes of the audit store: what an entry is listed under, and under which name."""

from uuid import UUID

from app.audit.entries import Entry, FactEntry, IntentEntry, Kind, OutcomeEntry, kind_of


def of_kind(kind: str) -> str:
    return f"by:kind:{kind}"


def of_name(name: str) -> str:
    return f"by:name:{name}"


def of_actor(actor: str) -> str:
    return f"by:actor:{actor}"


def of_run(run_id: UUID) -> str:
    return f"by:run:{run_id}"


def of_entity(entity: str) -> str:
    return f"by:entity:{entity}"


def of_record(entity: str, key: str) -> str:
    return f"by:record:{entity}:{key}"


def of_person(person: str) -> str:
    return f"by:person:{person}"


def of_intents(entity: str) -> str:
    return f"by:intent:{entity}"


def changes_index(entity: str | None, key: str | None, run_id: UUID | None) -> str:
    """Where the changes of a record, a run, an entity or all are listed, with other entries or without."""
    if run_id:
        return of_run(run_id)
    if entity and key:
        return of_record(entity, key)
    return of_intents(entity) if entity else of_kind(Kind.INTENT)


def indexes_of(entry: Entry) -> tuple[list[str], list[str]]:
    """The indexes that an entry is listed in: those of itself, and those that its outcome will be listed in too.

    Of an intent's shared ones the first is its record's.
    """
    own, shared = [of_kind(kind_of(entry))], list[str]()
    match entry:
        case IntentEntry():
            own.append(of_intents(entry.entity))
            shared += [of_record(entry.entity, entry.key), of_entity(entry.entity)]
            shared += [of_run(entry.run_id)] if entry.run_id else []
            shared += [of_person(each) for each in _other_persons(entry)]
        case FactEntry():
            own += [of_name(entry.name), of_actor(entry.actor)]
            own += [of_run(entry.run_id)] if entry.run_id else []
            own += [of_entity(entry.entity)] if entry.entity else []
            own += [of_record(entry.entity, entry.key)] if entry.entity and entry.key else []
        case OutcomeEntry():
            pass
    return own, shared


def _other_persons(intent: IntentEntry) -> list[str]:
    """Those that the record is not itself: what has to do with the record leads to its own values."""
    own = f"{intent.entity}/{intent.key}"
    return [each for each in intent.personal.persons if each != own] if intent.personal else []
