"""Real stores with templates, and a clock that the test turns."""

import pytest

from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.post import make_template


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def booked(stores: Stores) -> Stores:
    """The stores, with a template for mail about bookings."""
    await make_template(stores)
    return stores
