"""How a key that somebody types may be spelled in what we keep."""

from collections.abc import Sequence

from app.errors import Fault, InvalidInputError, NotFoundError
from app.reconciliation.mapping import mapping_of, mappings

MOST = 1000


def spellings(key: str | None, entity: str | None = None) -> list[str] | None:
    """A key as its entity spells it (every entity, where none is named) and as it is given; None for no key.

    As it is given finds keys that are not of the declared kind.
    """
    if key is None:
        return None
    known = [each for name, each in mappings().items() if entity in (None, name)]
    return sorted({key, *(each.normal_key(key) for each in known if each.is_key(key))})


def normal(records: Sequence[tuple[str, str]], *, what: str) -> list[tuple[str, str]]:
    """1 to 1,000 records (entity and key) in their normal spelling, each once, in order.

    Raises InvalidInputError naming every malformed one by its place in `what`.
    """
    if not 1 <= len(records) <= MOST:
        raise InvalidInputError(f"bad number of {what}", [Fault(what, f"takes 1 to {MOST} {what}")])
    faults: list[Fault] = []
    found: set[tuple[str, str]] = set()
    for at, (entity, key) in enumerate(records):
        try:
            found.add((entity, mapping_of(entity).normal_key(key)))
        except NotFoundError as error:
            faults.append(Fault(f"{what}/{at}/entity", str(error)))
        except InvalidInputError as error:
            faults.append(Fault(f"{what}/{at}/id", str(error)))
    if faults:
        raise InvalidInputError(f"{len(faults)} of {len(records)} {what} are malformed", faults)
    return sorted(found)
