"""What leads to an entry: its id, its second, and the names that it is listed under, as the audit store lists it.

An entry that this version cannot read was listed by the newer one that wrote it. What is told of it here is what its JSON
says in the words of the entries that are known.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, get_args
from uuid import UUID

import msgspec
from msgspec import Struct

from app.audit import indexes
from app.audit.entries import Entry, Fact, Kind, Outcome, UnreadableEntry, kind_of
from app.audit.stored import read_stored

Value = TypeVar("Value")

KNOWN = frozenset(
    str(each) for each in (*(kind.__struct_config__.tag for kind in get_args(Entry)), *Fact, *Outcome)
)
"""The kinds and the names that this version can read."""


class Listed(Struct, frozen=True):
    """`shared` are the names that the outcome of an intent is listed under too; what is not known is None or empty."""

    sequence: int
    id: UUID | None
    kind: str
    second: int | None
    own: Sequence[str] = ()
    shared: Sequence[str] = ()
    is_read: bool = True


def listed(sequence: int, body: bytes) -> Listed:
    """What leads to the entry that was stored so."""
    entry = read_stored(b"%d" % sequence, body).entry
    if isinstance(entry, UnreadableEntry):
        return _guessed(sequence, _told(body))
    own, shared = indexes.indexes_of(entry)
    return Listed(sequence, entry.id, kind_of(entry), second_of(entry.at), own, shared)


def second_of(at: datetime) -> int:
    """The second of an instant, as the audit store counts them."""
    return max(0, int(at.timestamp()))


def _guessed(sequence: int, told: Mapping[str, Any]) -> Listed:
    kind = (_as(told.get("type"), str) or "").partition(".")[0]
    entity, key, run = _as(told.get("entity"), str), _as(told.get("key"), str), _as(told.get("run_id"), UUID)
    name, actor = _as(told.get("name"), str), _as(told.get("actor"), str)
    about = [indexes.of_entity(entity)] if entity else []
    about += [indexes.of_record(entity, key)] if entity and key else []
    about += [indexes.of_run(run)] if run else []
    own, shared = [indexes.of_kind(kind)] if kind else [], list[str]()
    own += [indexes.of_name(name)] if name else []
    own += [indexes.of_actor(actor)] if actor else []
    if kind == Kind.INTENT:
        own += [indexes.of_intents(entity)] if entity else []
        shared = [*about, *_other_persons(told, f"{entity}/{key}")]
    else:
        own += about
    at = _as(told.get("at"), datetime)
    second = second_of(at) if at and at.tzinfo else None
    return Listed(sequence, _as(told.get("id"), UUID), kind, second, own, shared, is_read=False)


def _other_persons(told: Mapping[str, Any], own: str) -> list[str]:
    personal = _as(told.get("personal"), dict) or {}
    return [indexes.of_person(each) for each in _as(personal.get("persons"), list[str]) or [] if each != own]


def _told(body: bytes) -> Mapping[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _as(value: object, kind: type[Value]) -> Value | None:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None
