"""An entity's two sides, bound to the stores."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.reconciliation.mapping import Mapping, Side, mappings
from app.reconciliation.sides.documents import DocumentSide
from app.reconciliation.sides.ports import ABSENT, Reading, SidePort
from app.reconciliation.sides.relational import RelationalSide
from app.stores.connections import Stores


@dataclass(frozen=True)
class EntitySides:
    """A mapping and the ports to its two sides."""

    mapping: Mapping
    document: SidePort
    relational: SidePort

    def side(self, side: Side) -> SidePort:
        return self.document if side is Side.DOCUMENT else self.relational

    async def read(self, keys: Sequence[str]) -> dict[str, tuple[Reading, Reading]]:
        """Both sides of some records as (document, relational), read at the same time."""
        document, relational = await asyncio.gather(self.document.read(keys), self.relational.read(keys))
        return {key: (document.get(key, ABSENT), relational.get(key, ABSENT)) for key in keys}


def entity_sides(stores: Stores, mapping: Mapping) -> EntitySides:
    return EntitySides(mapping, DocumentSide(stores.customer, mapping), RelationalSide(stores.admin, mapping))


def every_entity(stores: Stores) -> dict[str, EntitySides]:
    """The sides of every declared entity, referenced entities first."""
    return {entity: entity_sides(stores, mapping) for entity, mapping in mappings().items()}
