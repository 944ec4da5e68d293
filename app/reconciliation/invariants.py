"""What must hold on each side by itself, whatever the other one says: declared here, never coded.

An invariant belongs to the entity whose record breaks it. It is checked and reported, never repaired: which of the
numbers is wrong, no rule can say.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from app.errors import Fault
from app.reconciliation.mapping import Mapping, Side, Total, mapping_of
from app.reconciliation.values import Kind


@dataclass(frozen=True)
class AtMost:
    """A total of the records that refer to one is never more than its field `limit`; `noun` says of what."""

    limit: str
    total: Total
    noun: str

    @property
    def own_fields(self) -> tuple[str, ...]:
        return (self.limit,)


@dataclass(frozen=True)
class Refers:
    """The record that a reference of the mapping names exists on the same side; `field` is the reference's."""

    field: str

    @property
    def own_fields(self) -> tuple[str, ...]:
        return (self.field,)


@dataclass(frozen=True)
class Product:
    """A field is `factor` times the `price` that the record referred to had at a moment, the earliest of `moments`.

    A price is not kept for later. Where the record referred to has changed at that moment or since, nobody can tell
    what it was, and the invariant is not judged.
    """

    field: str
    factor: str
    reference: str
    price: str
    moments: tuple[str, ...]

    @property
    def own_fields(self) -> tuple[str, ...]:
        return (self.field, self.factor, self.reference, *self.moments)


Form = AtMost | Refers | Product


@dataclass(frozen=True)
class Invariant:
    """One rule about the records of an entity, in words and as a form that can be checked, and where it is."""

    name: str
    entity: str
    rule: str
    form: Form
    sides: tuple[Side, ...] = (Side.DOCUMENT, Side.RELATIONAL)


def referred_by(mapping: Mapping, field: str) -> Mapping:
    """The mapping of the entity that a reference leads to."""
    return mapping_of(next(each.entity for each in mapping.references if each.field == field))


def faults_of(invariant: Invariant) -> Iterable[Fault]:
    """Why an invariant cannot be checked; raises NotFoundError for an entity that is not mapped."""
    form, mapping = invariant.form, mapping_of(invariant.entity)
    if not invariant.name:
        yield Fault("name", "is empty")
    match form:
        case AtMost():
            yield from _field_faults(invariant, mapping, form.limit, Kind.INTEGER)
            yield from _field_faults(invariant, mapping_of(form.total.entity), form.total.field, Kind.INTEGER)
        case Refers():
            yield from _reference_faults(invariant, mapping, form.field)
        case Product():
            yield from _field_faults(invariant, mapping, form.field, Kind.DECIMAL)
            yield from _field_faults(invariant, mapping, form.factor, Kind.INTEGER)
            for moment in form.moments:
                yield from _field_faults(invariant, mapping, moment, Kind.TIMESTAMP)
            unsound = list(_reference_faults(invariant, mapping, form.reference))
            if not unsound:
                referred = referred_by(mapping, form.reference)
                yield from _field_faults(invariant, referred, form.price, Kind.DECIMAL)
            yield from unsound
        case _:
            assert_never(form)


def _field_faults(invariant: Invariant, mapping: Mapping, name: str, kind: Kind) -> Iterable[Fault]:
    field = mapping.field_by_name.get(name)
    if field is None or field.kind is not kind:
        yield Fault(name, f"is no {kind} field of {mapping.entity}")
    elif Side.RELATIONAL in invariant.sides and not field.expression:
        yield Fault(name, "is not kept by the relational side")


def _reference_faults(invariant: Invariant, mapping: Mapping, name: str) -> Iterable[Fault]:
    if all(each.field != name for each in mapping.references):
        yield Fault(name, f"is no reference of {mapping.entity}")
    else:
        yield from _field_faults(invariant, mapping, name, referred_by(mapping, name).key_kind)
