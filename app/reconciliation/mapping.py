"""How an entity lies on the two sides: declared here, never coded.

A mapping names the collection and the table, each field with its kind, its place on both sides and the rule that says
which side is right, and what a missing record means. `mappings()` is the registry; further modules of other teams are
named in the setting `mappings` and call `declare`.
"""

import hashlib
import importlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import assert_never

from app.errors import Fault, InvalidInputError, NotFoundError
from app.reconciliation.values import Kind, Value, parse_key

# A column of the mapped table itself: what may be written.
COLUMN = re.compile(r"[a-z_][a-z0-9_]*\Z")


class Side(StrEnum):
    DOCUMENT = "document"
    RELATIONAL = "relational"

    @property
    def other(self) -> "Side":
        return Side.RELATIONAL if self is Side.DOCUMENT else Side.DOCUMENT


@dataclass(frozen=True)
class Authority:
    """The side that is right for a field."""

    side: Side


@dataclass(frozen=True)
class Precedence:
    """(winner, loser) pairs of values, whichever side has them; what no pair settles goes to review."""

    beats: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Total:
    """A sum over the records of another entity that refer to this one, counted on the document side."""

    entity: str
    reference: str
    field: str
    where_field: str
    where_values: tuple[str, ...]


@dataclass(frozen=True)
class Derived:
    """A document field that must equal another field of the record, by its authority, less a total."""

    base: str
    less: Total


@dataclass(frozen=True)
class Review:
    """Neither side is right by rule: an operator decides."""


Rule = Authority | Precedence | Derived | Review


class Missing(StrEnum):
    """What to do when one side lacks a record: create it there, remove it from the other side, or ask."""

    CREATE = "create"
    REMOVE = "remove"
    REVIEW = "review"


@dataclass(frozen=True)
class Converter:
    """How one side stores a field otherwise than the mapping means it: codes for words, cents for an amount.

    `read` makes the field's value of a stored one of kind `stored`, `write` the reverse; both are pure, are never
    given a missing value, and raise ValueError for what they cannot convert. `name` tells one converter from another:
    it stands for both functions in the hash of a mapping.
    """

    name: str
    stored: Kind
    read: Callable[[Value], Value] = field(repr=False, compare=False)
    write: Callable[[Value], Value] = field(repr=False, compare=False)


@dataclass(frozen=True)
class SoftDelete:
    """A marker that makes a record count as absent although a side still has it.

    `at` is a dotted path or a plain column, of kind timestamp (set: deleted then) or boolean (true: deleted).
    """

    at: str
    kind: Kind = Kind.TIMESTAMP


@dataclass(frozen=True)
class Field:
    """One field of an entity.

    `document` is a dotted path, `relational` a column of the mapped table or an SQL expression over its joins; both
    default to the name. A converter says how that side stores it where that is not its kind. `personal` marks what
    tells about a person.
    """

    name: str
    kind: Kind
    rule: Rule
    document: str = ""
    relational: str | None = ""
    personal: bool = False
    document_converter: Converter | None = None
    relational_converter: Converter | None = None

    @property
    def path(self) -> str:
        return self.document or self.name

    @property
    def expression(self) -> str | None:
        """Where the relational side keeps it; None for what it does not keep."""
        return self.name if self.relational == "" else self.relational


@dataclass(frozen=True)
class Join:
    """A table joined to the mapped one; its `updated_at` makes the joined record suspect too."""

    table: str
    on: str
    updated_at: str = "updated_at"


@dataclass(frozen=True)
class Reference:
    """A field that holds the key of a record of another entity, which must exist first."""

    field: str
    entity: str


@dataclass(frozen=True)
class Source:
    """Documents of another collection whose change makes a record of this entity suspect: `key` leads to it."""

    collection: str
    key: str
    updated_at: str = "updated_at"


@dataclass(frozen=True)
class Mapping:
    """An entity on its two sides. Raises InvalidInputError, listing every fault, where the declaration cannot hold."""

    entity: str
    collection: str
    table: str
    fields: tuple[Field, ...]
    missing_document: Missing
    missing_relational: Missing
    key_kind: Kind = Kind.UUID
    key_document: str = "_id"
    key_relational: str = "id"
    updated_at: str = "updated_at"
    joins: tuple[Join, ...] = ()
    references: tuple[Reference, ...] = ()
    sources: tuple[Source, ...] = ()
    document_deleted: SoftDelete | None = None
    relational_deleted: SoftDelete | None = None
    ignored: tuple[str, ...] = ()
    """Top-level fields and columns that the mapping leaves out on purpose: they are no drift of the schema."""

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise InvalidInputError(f"mapping {self.entity} cannot hold", faults)

    @cached_property
    def field_by_name(self) -> dict[str, Field]:
        return {each.name: each for each in self.fields}

    @cached_property
    def compared_fields(self) -> tuple[Field, ...]:
        """The fields that both sides keep."""
        return tuple(each for each in self.fields if not isinstance(each.rule, Derived))

    @cached_property
    def derived_fields(self) -> tuple[Field, ...]:
        return tuple(each for each in self.fields if isinstance(each.rule, Derived))

    @cached_property
    def hash(self) -> str:
        """Tells one version of a mapping and its policy from another: SHA-256 of the declaration, shortened."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def parse_key(self, text: str) -> object:
        """The key that `text` spells; raises InvalidInputError where it spells none."""
        try:
            return parse_key(self.key_kind, text)
        except ValueError:
            raise InvalidInputError(
                f"{text!r} is not a key of {self.entity}: expected {self.key_kind}"
            ) from None

    def normal_key(self, text: str) -> str:
        """The one spelling of a key that may be written in several ways (upper-case UUIDs, leading zeros)."""
        return str(self.parse_key(text))

    def is_key(self, text: str) -> bool:
        """Whether `text` spells a key: a document may have an `_id` of another kind, which nothing can address."""
        try:
            parse_key(self.key_kind, text)
        except ValueError:
            return False
        return True

    def missing(self, side: Side) -> Missing:
        return self.missing_document if side is Side.DOCUMENT else self.missing_relational


def _faults(mapping: Mapping) -> Iterable[Fault]:
    names = [each.name for each in mapping.fields]
    for name in {name for name in names if names.count(name) > 1}:
        yield Fault(name, "declared twice")
    if mapping.key_kind not in {Kind.UUID, Kind.INTEGER, Kind.TEXT}:
        yield Fault("key_kind", "a key is a uuid, an integer or a text")
    for each in mapping.fields:
        yield from _rule_faults(mapping, each)
    for reference in mapping.references:
        if reference.field not in names:
            yield Fault(reference.field, "a reference names no field of the mapping")


def _rule_faults(mapping: Mapping, each: Field) -> Iterable[Fault]:
    match each.rule:
        case Derived(base=base):
            if not any(other.name == base and isinstance(other.rule, Authority) for other in mapping.fields):
                yield Fault(each.name, f"is derived from {base}, which is no field with an authority")
        case Authority(side=Side.RELATIONAL) if mapping.missing_relational is Missing.REMOVE:
            if not each.expression:
                yield Fault(each.name, "the relational side is right for it but does not keep it")
        case Authority() | Precedence() | Review():
            if not each.expression or not COLUMN.match(each.expression):
                yield Fault(
                    each.name, "may be written on the relational side and must be a plain column there"
                )
        case _:
            assert_never(each.rule)


_registry: dict[str, Mapping] = {}


def declare(mapping: Mapping) -> Mapping:
    """Add a mapping to the registry; a second one for the same entity raises InvalidInputError."""
    known = _registry.setdefault(mapping.entity, mapping)
    if known != mapping:
        raise InvalidInputError(f"entity {mapping.entity} is mapped twice")
    return mapping


def load_mappings(modules: str) -> None:
    """Import our own mappings and those of other teams (`modules`, comma-separated)."""
    for name in (
        "app.reconciliation.entities",
        *(part.strip() for part in modules.split(",") if part.strip()),
    ):
        importlib.import_module(name)


def mappings() -> dict[str, Mapping]:
    """Every mapping by its entity, referenced entities before those that refer to them."""
    ordered: dict[str, Mapping] = {}

    def place(mapping: Mapping) -> None:
        for reference in mapping.references:
            if reference.entity not in ordered and reference.entity in _registry:
                place(_registry[reference.entity])
        ordered.setdefault(mapping.entity, mapping)

    for mapping in _registry.values():
        place(mapping)
    return ordered


def mapping_of(entity: str) -> Mapping:
    """The mapping of an entity; raises NotFoundError, naming the known ones."""
    try:
        return _registry[entity]
    except KeyError:
        known = ", ".join(mappings())
        raise NotFoundError(f"unknown entity {entity!r}; known are {known}") from None
