"""How a key that somebody types may be spelled in what we keep."""

from app.reconciliation.mapping import mappings


def spellings(key: str | None, entity: str | None = None) -> list[str] | None:
    """A key as its entity spells it (every entity, where none is named) and as it is given; None for no key.

    As it is given finds keys that are not of the declared kind.
    """
    if key is None:
        return None
    known = [each for name, each in mappings().items() if entity in (None, name)]
    return sorted({key, *(each.normal_key(key) for each in known if each.is_key(key))})
