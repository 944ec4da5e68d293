"""The circuit breaker's idea of how many records an entity has."""

import pytest

from app.reconciliation.ledger import breaker
from app.stores.connections import Stores


async def test_the_stores_are_asked_once_a_minute_how_many_records_there_are_about(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def estimate(*_: object) -> int:
        asked.append(_)
        return 70 + len(asked)

    monkeypatch.setattr(breaker, "_estimated", estimate)
    assert [await breaker.known_records(stores, "customers") for _ in range(3)] == [71, 71, 71]
    await stores.core.execute("UPDATE breakers SET estimated_at = now() - interval '61 seconds'")
    assert await breaker.known_records(stores, "customers") == 72


async def test_what_was_granted_and_not_tried_is_counted_no_longer(stores: Stores) -> None:
    one = breaker.Limits(changes=1, deletes=1)
    for _ in range(10):
        granted = await breaker.reserve(stores, "customers", [one] * 20)
        assert granted.repairs == 20
        await breaker.give_back(stores.core, "customers", granted, [one] * 20)
    assert (await breaker.reserve(stores, "customers", [one] * 20)).repairs == 20
    assert (await breaker.reserve(stores, "customers", [one])).stopped
