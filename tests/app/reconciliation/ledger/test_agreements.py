"""Agreements: a version that was found to agree needs no other look, any other version does."""

from datetime import timedelta

import pytest

from app.reconciliation.ledger.agreements import Agreement, agree, forget, not_agreed
from app.reconciliation.mapping import Side
from app.stores.connections import Stores
from tests.app.reconciliation.worlds import LONG_AGO

LATER = LONG_AGO + timedelta(milliseconds=1)
LATEST = LONG_AGO + timedelta(hours=1)


async def left(stores: Stores, side: Side, *versions: tuple) -> set[str]:
    async with stores.core.acquire() as connection:
        return await not_agreed(connection, "customers", side, versions)


async def test_only_the_versions_that_agreed_are_left_out(stores: Stores) -> None:
    await agree(
        stores.core,
        [Agreement("customers", "b", LONG_AGO, LATEST), Agreement("customers", "a", LATER, LATEST)],
    )
    asked = [("a", LONG_AGO), ("b", LONG_AGO), ("c", LONG_AGO)]
    assert await left(stores, Side.DOCUMENT, *asked) == {"a", "c"}
    assert await left(stores, Side.RELATIONAL, *asked) == {"a", "b", "c"}
    assert await left(stores, Side.RELATIONAL, ("a", LATEST), ("b", LATEST)) == set()
    assert await left(stores, Side.DOCUMENT, ("a", None), ("b", None)) == {"a", "b"}


async def test_another_version_of_the_same_record_counts_whatever_came_with_it(stores: Stores) -> None:
    await agree(stores.core, [Agreement("customers", "a", LONG_AGO, LONG_AGO)])
    assert await left(stores, Side.DOCUMENT, ("a", LONG_AGO), ("a", LATER)) == {"a"}


async def test_another_entity_has_agreements_of_its_own(stores: Stores) -> None:
    await agree(stores.core, [Agreement("bookings", "a", LONG_AGO, LONG_AGO)])
    assert await left(stores, Side.DOCUMENT, ("a", LONG_AGO)) == {"a"}


@pytest.mark.parametrize("microseconds", [0, 1, 999])
async def test_times_count_to_the_millisecond_that_documents_keep(stores: Stores, microseconds: int) -> None:
    at = LATER + timedelta(microseconds=microseconds)
    await agree(stores.core, [Agreement("customers", "a", at, at)])
    assert await left(stores, Side.DOCUMENT, ("a", LATER)) == set()


async def test_a_newer_agreement_takes_the_place_of_an_older_one(stores: Stores) -> None:
    for at in (LONG_AGO, LATER):
        await agree(stores.core, [Agreement("customers", "a", at, at)])
    assert await left(stores, Side.DOCUMENT, ("a", LONG_AGO)) == {"a"}
    assert await left(stores, Side.DOCUMENT, ("a", LATER)) == set()


async def test_old_agreements_are_forgotten_but_not_those_that_were_renewed(stores: Stores) -> None:
    both = [Agreement("customers", key, LONG_AGO, LONG_AGO) for key in ("a", "b")]
    await agree(stores.core, both)
    await stores.core.execute("UPDATE agreements SET agreed_at = now() - interval '11 minutes'")
    await agree(stores.core, both[1:])
    await forget(stores.core)
    assert await left(stores, Side.DOCUMENT, ("a", LONG_AGO), ("b", LONG_AGO)) == {"a"}
