import pytest

from app.reconciliation.entities import CUSTOMERS
from app.reconciliation.sides.records import EntitySides, entity_sides
from app.stores.connections import Stores


@pytest.fixture
def customers(stores: Stores) -> EntitySides:
    return entity_sides(stores, CUSTOMERS)
