"""How an entity lies on the two sides: declared here, never coded.

A mapping names the collection and the table, each field with its kind, its place on both sides and the rule that says
which side is right, and what a missing record means. `mappings()` is the registry; further modules of other teams are
named in the setting `mappings` and call `declare`.
"""

import hashlib
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from app.errors import InvalidInputError, NotFoundError
from app.reconciliation.declarations import (
    COLUMN,
    Authority,
    Converter,
    Derived,
    Field,
    Join,
    Missing,
    Precedence,
    Reference,
    Review,
    Rule,
    Side,
    SoftDelete,
    Source,
    Total,
    is_plain,
)
from app.reconciliation.faults import faults_between, faults_of
from app.reconciliation.values import Kind, Record, Unreadable, parse_key

# What a declaration is made of can be had from here too: who declares needs no other module of ours.
__all__ = [
    "COLUMN",
    "Authority",
    "Converter",
    "Derived",
    "Field",
    "Join",
    "Kind",
    "Mapping",
    "Missing",
    "Precedence",
    "Reference",
    "Review",
    "Rule",
    "Side",
    "SoftDelete",
    "Source",
    "Total",
    "check_mappings",
    "declare",
    "is_plain",
    "load_mappings",
    "mapping_of",
    "mappings",
]


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
    updated_at_document: str = ""
    """Where documents keep their `updated_at`, if not at a field of the same name."""
    joins: tuple[Join, ...] = ()
    references: tuple[Reference, ...] = ()
    sources: tuple[Source, ...] = ()
    document_deleted: SoftDelete | None = None
    relational_deleted: SoftDelete | None = None
    ignored: tuple[str, ...] = ()
    """Columns and (dotted paths of) fields that the mapping leaves out on purpose: they are no drift of the schema."""
    whose: str = ""
    """The reference that leads to the person whose the personal fields are; empty where the record is that person."""
    known_by: tuple[tuple[str, ...], ...] = ()
    """Personal fields whose values, together, tell of one person and of nobody else."""

    def __post_init__(self) -> None:
        faults = list(faults_of(self))
        if faults:
            raise InvalidInputError(f"mapping {self.entity} cannot hold", faults)

    @property
    def updated_at_path(self) -> str:
        return self.updated_at_document or self.updated_at

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
    def personal_fields(self) -> frozenset[str]:
        return frozenset(each.name for each in self.fields if each.personal)

    @cached_property
    def person_entity(self) -> str:
        """The entity whose records are the persons."""
        referred = {each.field: each.entity for each in self.references}
        return referred[self.whose] if self.whose else self.entity

    def persons(self, key: str, *held: Record | None) -> tuple[str, ...]:
        """Whose the personal values of a record are, as each of `held` has it: each person as `entity/key`, in order.

        Where the record names nobody, its values are found with itself.
        """
        keys = {self._person(key, record) for record in held if record is not None}
        return tuple(sorted(keys or {f"{self.entity}/{key}"}))

    def _person(self, key: str, record: Record) -> str:
        named = record.get(self.whose) if self.whose else None
        # No text of the core DB holds a NUL.
        if named is None or isinstance(named, Unreadable) or "\0" in str(named):
            return f"{self.entity}/{key}"
        return f"{self.person_entity}/{named}"

    @cached_property
    def hash(self) -> str:
        """Tells one version of a mapping and its policy from another: SHA-256 of the declaration, shortened."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]

    def parse_key(self, text: str) -> object:
        """The key that `text` spells; raises InvalidInputError where it spells none."""
        try:
            return self._parse(text)
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
            self._parse(text)
        except ValueError:
            return False
        return True

    def _parse(self, text: str) -> object:
        # No PostgreSQL text holds it, neither theirs nor ours.
        if "\0" in text:
            raise ValueError("a key has no NUL")
        return parse_key(self.key_kind, text)

    def missing(self, side: Side) -> Missing:
        return self.missing_document if side is Side.DOCUMENT else self.missing_relational


_registry: dict[str, Mapping] = {}


def declare(mapping: Mapping) -> Mapping:
    """Add a mapping to the registry; a second one for the same entity raises InvalidInputError."""
    known = _registry.setdefault(mapping.entity, mapping)
    if known != mapping:
        raise InvalidInputError(f"entity {mapping.entity} is mapped twice")
    return mapping


def load_mappings(modules: str) -> None:
    """Import our own mappings and those of other teams (`modules`, comma-separated).

    Raises InvalidInputError, listing every fault, where one names an entity or a field of one that is not there.
    """
    for name in (
        "app.reconciliation.entities",
        *(part.strip() for part in modules.split(",") if part.strip()),
    ):
        importlib.import_module(name)
    check_mappings(_registry.values())


def check_mappings(declared: Iterable[Mapping]) -> None:
    """Raises InvalidInputError, listing every fault, where mappings do not fit each other."""
    entities = {each.entity: each for each in declared}
    faults = [fault for each in entities.values() for fault in faults_between(each, entities)]
    if faults:
        raise InvalidInputError("mappings that do not fit each other", faults)


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
