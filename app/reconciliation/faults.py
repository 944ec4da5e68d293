"""What makes a mapping impossible: found when it is declared, and, between mappings, when all are loaded."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_never

from app.errors import Fault
from app.reconciliation.declarations import (
    COLUMN,
    Authority,
    Derived,
    Field,
    Missing,
    Precedence,
    Review,
    Side,
    Total,
    is_plain,
)
from app.reconciliation.values import Kind

if TYPE_CHECKING:
    from app.reconciliation.mapping import Mapping

_TABLE = re.compile(r"(?:[a-z_][a-z0-9_]*\.)?[a-z_][a-z0-9_]*\Z")
_COLLECTION = re.compile(r"(?!system\.)[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*\Z")
_PATH = re.compile(r"[^.$\0][^.\0]*(?:\.[^.$\0][^.\0]*)*\Z")
KEY_KINDS = {Kind.UUID, Kind.INTEGER, Kind.TEXT}


def faults_of(mapping: "Mapping") -> Iterable[Fault]:
    """Everything that is wrong with one declaration."""
    yield from _name_faults(mapping)
    if mapping.key_kind not in KEY_KINDS:
        yield Fault("key_kind", "a key is a uuid, an integer or a text")
    if not mapping.compared_fields:
        yield Fault("fields", "names no field that both sides keep")
    for each in mapping.fields:
        yield from _rule_faults(mapping, each)
        yield from _converter_faults(each)
    yield from _place_faults(mapping)
    yield from _marker_faults(mapping)
    for reference in mapping.references:
        named = mapping.field_by_name.get(reference.field)
        if named is None:
            yield Fault(reference.field, "a reference names no field of the mapping")
        elif named.document_converter or named.relational_converter:
            yield Fault(reference.field, "holds a key, which is stored as it is: no converter")
    if mapping.whose:
        yield from _whose_faults(mapping)
    for name in sorted({name for names in mapping.known_by for name in names} - mapping.personal_fields):
        yield Fault(name, "says who a person is, and is no personal field")


def _name_faults(mapping: "Mapping") -> Iterable[Fault]:
    tables = [mapping.table, *(each.table for each in mapping.joins)]
    yield from _unless(COLUMN, [mapping.entity], "is no entity name: small letters, digits and _")
    yield from _unless(
        _TABLE, tables, "is no plain table name: small letters, digits and _, perhaps behind a schema"
    )
    for table in _repeated(tables):
        yield Fault(table, "is joined twice or to itself: name a view instead")
    collections = [mapping.collection, *(each.collection for each in mapping.sources)]
    yield from _unless(_COLLECTION, collections, "is no plain collection name")
    columns = [mapping.key_relational, mapping.updated_at, *(each.updated_at for each in mapping.joins)]
    columns += [mapping.relational_deleted.at] if mapping.relational_deleted else []
    yield from _unless(COLUMN, columns, "is no plain column")
    paths = [*_paths(mapping), *(each.key for each in mapping.sources)]
    yield from _unless(_PATH, paths, "is no dotted path")


def _unless(pattern: re.Pattern[str], names: Iterable[str], message: str) -> Iterable[Fault]:
    return (Fault(name, message) for name in names if not pattern.match(name))


def _repeated(names: list[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


def _paths(mapping: "Mapping") -> list[str]:
    """Where a document holds something that the mapping names."""
    marker = [mapping.document_deleted.at] if mapping.document_deleted else []
    return [mapping.key_document, mapping.updated_at_path, *marker, *(each.path for each in mapping.fields)]


def _columns(mapping: "Mapping") -> list[str]:
    """The columns of the mapped table that the mapping names."""
    marker = [mapping.relational_deleted.at] if mapping.relational_deleted else []
    plain = [each.expression or "" for each in mapping.fields if is_plain(each)]
    return [mapping.key_relational, mapping.updated_at, *marker, *plain]


def _rule_faults(mapping: "Mapping", each: Field) -> Iterable[Fault]:
    match each.rule:
        case Derived(base=base):
            if not any(other.name == base and isinstance(other.rule, Authority) for other in mapping.fields):
                yield Fault(each.name, f"is derived from {base}, which is no field with an authority")
            elif {each.kind, mapping.field_by_name[base].kind} != {Kind.INTEGER}:
                yield Fault(each.name, "is derived, and so both it and its base are integers")
            if each.expression:
                yield Fault(each.name, "is derived: the relational side does not keep it (relational=None)")
        case Precedence(beats=beats) if each.kind is not Kind.TEXT or any(
            (loser, winner) in beats for winner, loser in beats
        ):
            yield Fault(each.name, "precedence is between texts, and no two beat each other")
        case Authority(side=Side.RELATIONAL) if mapping.missing_relational is Missing.REMOVE:
            if not each.expression:
                yield Fault(each.name, "the relational side is right for it but does not keep it")
        case Authority() | Precedence() | Review():
            if not is_plain(each):
                yield Fault(
                    each.name, "may be written on the relational side and must be a plain column there"
                )
        case _:
            assert_never(each.rule)


def _whose_faults(mapping: "Mapping") -> Iterable[Fault]:
    """The field tells whose values are to be hidden, and so is not hidden itself."""
    if mapping.whose not in {each.field for each in mapping.references}:
        yield Fault(mapping.whose, "says whose the personal fields are, and is no field with a reference")
    if mapping.whose in mapping.personal_fields:
        yield Fault(mapping.whose, "says whose the personal fields are, and cannot be one of them")
    if not mapping.personal_fields:
        yield Fault(mapping.whose, "says whose the personal fields are, and there is none")


def _converter_faults(each: Field) -> Iterable[Fault]:
    converters = [found for found in (each.document_converter, each.relational_converter) if found]
    if converters and isinstance(each.rule, Derived):
        yield Fault(each.name, "is derived and has no converter")
    if not all(found.name for found in converters):
        yield Fault(each.name, "has a converter without a name")


def _place_faults(mapping: "Mapping") -> Iterable[Fault]:
    """What lies in the same place as something else, or below it."""
    own = "key, updated_at, the marker of deletion and each field have places of their own"
    for name in _repeated([each.name for each in mapping.fields]):
        yield Fault(name, "is declared twice")
    paths = _paths(mapping)
    for place in (*_repeated(paths), *_repeated(_columns(mapping))):
        yield Fault(place, f"is named twice: {own}")
    for path in sorted({path for path in paths for other in paths if path.startswith(f"{other}.")}):
        yield Fault(path, f"lies within another path of the mapping: {own}")


def _marker_faults(mapping: "Mapping") -> Iterable[Fault]:
    for marker in (mapping.document_deleted, mapping.relational_deleted):
        if marker and marker.kind not in {Kind.TIMESTAMP, Kind.BOOLEAN}:
            yield Fault(marker.at, "a marker of deletion is a timestamp or a boolean")


def faults_between(mapping: "Mapping", entities: "dict[str, Mapping]") -> Iterable[Fault]:
    """Everything that is wrong with what a mapping says of others."""
    for reference in mapping.references:
        where = f"{mapping.entity}/{reference.field}"
        if reference.entity not in entities:
            yield Fault(where, f"refers to {reference.entity}, which is not declared")
        elif mapping.field_by_name[reference.field].kind is not entities[reference.entity].key_kind:
            yield Fault(where, f"is not of the kind of the key of {reference.entity}")
        elif mapping.entity in _referred(reference.entity, entities):
            yield Fault(where, f"{reference.entity} refers back to {mapping.entity}: neither can come first")
        elif reference.field == mapping.whose and entities[reference.entity].whose:
            yield Fault(where, f"says whose the personal fields are, and {reference.entity} are no persons")
    for each in mapping.derived_fields:
        assert isinstance(each.rule, Derived)
        yield from _total_faults(f"{mapping.entity}/{each.name}", mapping, each.rule.less, entities)


def _referred(entity: str, entities: "dict[str, Mapping]") -> set[str]:
    """The entity and those that it refers to, at whatever distance."""
    found, waiting = set[str](), [entity]
    while waiting:
        if (next_one := waiting.pop()) in entities and next_one not in found:
            waiting += [each.entity for each in entities[next_one].references]
            found.add(next_one)
    return found


def _total_faults(
    where: str, mapping: "Mapping", total: Total, entities: "dict[str, Mapping]"
) -> Iterable[Fault]:
    counted = entities.get(total.entity)
    if counted is None:
        yield Fault(where, f"counts records of {total.entity}, which is not declared")
        return
    wanted = (
        (total.reference, mapping.key_kind),
        (total.field, Kind.INTEGER),
        (total.where_field, Kind.TEXT),
    )
    for name, kind in wanted:
        found = counted.field_by_name.get(name)
        if found is None or found.kind is not kind or isinstance(found.rule, Derived):
            yield Fault(where, f"needs a field {name} of {total.entity} of kind {kind}")
        elif name == total.reference and (found.document_converter or found.relational_converter):
            yield Fault(where, f"needs {name} of {total.entity} without a converter")
