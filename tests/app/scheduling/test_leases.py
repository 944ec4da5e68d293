import asyncio

import asyncpg

from app.scheduling import leases
from app.scheduling.leases import SCHEDULER, claim, leader, release


async def test_one_of_many_claimants_leads(pool: asyncpg.Pool) -> None:
    claims = await asyncio.gather(*(claim(pool, SCHEDULER, f"holder-{n}", seconds=5) for n in range(8)))
    assert sum(one.held for one in claims) == 1


async def test_a_leader_renews_its_lease_and_keeps_the_date_it_took_it(pool: asyncpg.Pool) -> None:
    await claim(pool, SCHEDULER, "first", seconds=5)
    before = await leader(pool)
    assert (await claim(pool, SCHEDULER, "first", seconds=5)).held
    after = await leader(pool)
    assert before is not None
    assert after is not None
    assert after.acquired_at == before.acquired_at
    assert after.expires_at > before.expires_at


async def test_a_lease_that_ran_out_passes_to_the_next_claimant_only_then(pool: asyncpg.Pool) -> None:
    await claim(pool, SCHEDULER, "first", seconds=0.3)
    assert not (await claim(pool, SCHEDULER, "second", seconds=5)).held
    await asyncio.sleep(0.35)
    assert await leader(pool) is None
    assert (await claim(pool, SCHEDULER, "second", seconds=5)).held
    assert not (await claim(pool, SCHEDULER, "first", seconds=5)).held


async def test_a_lease_that_is_given_up_is_free_at_once(pool: asyncpg.Pool) -> None:
    await claim(pool, SCHEDULER, "first", seconds=5)
    await release(pool, SCHEDULER, "second")
    assert not (await claim(pool, SCHEDULER, "second", seconds=5)).held
    await release(pool, SCHEDULER, "first")
    assert (await claim(pool, SCHEDULER, "second", seconds=5)).held


async def test_offices_are_independent(pool: asyncpg.Pool) -> None:
    assert (await claim(pool, SCHEDULER, "first", seconds=5)).held
    assert (await claim(pool, "sealer", "second", seconds=5)).held


def test_no_two_holders_bear_one_name() -> None:
    assert leases.new_holder() != leases.new_holder()
