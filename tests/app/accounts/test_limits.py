"""How often signing in may be tried, against a real Redis."""

import asyncio

import pytest

from app.accounts.limits import Limit, SignInLimits, TooManyAttemptsError
from app.errors import StoreUnavailableError
from app.stores.connections import Stores, open_redis


@pytest.fixture
def limits(stores: Stores) -> SignInLimits:
    return SignInLimits(stores.broker, stores.settings.namespace)


def of(stores: Stores, **limits: Limit) -> SignInLimits:
    free = {name: Limit(1000, 1000) for name in ("account", "address", "everybody")}
    return SignInLimits(stores.broker, stores.settings.namespace, **free | limits)


async def test_after_a_few_failures_each_one_doubles_the_wait(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=10, free=2))
    for _ in range(3):
        await limits.take("ada", None)
    with pytest.raises(TooManyAttemptsError) as told:
        await limits.take("ada", None)
    assert told.value.retry_after == 1
    await asyncio.sleep(1.05)
    await limits.take("ada", None)
    with pytest.raises(TooManyAttemptsError) as told:
        await limits.take("ada", None)
    assert told.value.retry_after == 2


async def test_ten_failures_of_an_account_shut_it_until_the_first_is_five_minutes_old(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=10, free=10))
    for _ in range(10):
        await limits.take("ada", None)
    with pytest.raises(TooManyAttemptsError) as told:
        await limits.take("ada", None)
    assert 295 <= told.value.retry_after <= 300
    await limits.take("bob", None)


async def test_a_hundred_at_the_same_time_are_a_hundred(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=10, free=10))
    tries = await asyncio.gather(*(limits.take("ada", None) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(each, TooManyAttemptsError) for each in tries) == 90


async def test_an_attempt_that_is_taken_back_counts_for_nothing(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=2, free=2))
    for _ in range(20):
        await limits.take_back(await limits.take("ada", "192.0.2.1"))


async def test_one_machine_is_stopped_whatever_account_it_tries(limits: SignInLimits) -> None:
    for number in range(10):
        await limits.take(f"user {number}", "192.0.2.1")
    with pytest.raises(TooManyAttemptsError):
        await limits.take("user 11", "192.0.2.1")
    await limits.take("user 11", "192.0.2.2")


async def test_one_line_is_one_machine_whatever_addresses_of_it_are_used(limits: SignInLimits) -> None:
    for number in range(10):
        await limits.take(f"user {number}", f"2001:db8:1:2::{number}")
    with pytest.raises(TooManyAttemptsError):
        await limits.take("user 11", "2001:db8:1:2:ffff::1")
    await limits.take("user 11", "2001:db8:1:3::1")


async def test_asking_for_links_and_proving_oneself_shut_nobody_out(stores: Stores) -> None:
    one = Limit(failures=1, free=1)
    limits = SignInLimits(
        stores.broker, stores.settings.namespace, account=one, address=one, everybody=Limit(2, 2)
    )
    for number in range(3):
        await limits.take_reset(f"user {number}", f"192.0.2.{number}")
        await limits.take_proof(f"user {number}")
        await limits.take_mail(f"user {number}")
    for call in (
        limits.take_reset("user 1", "192.0.2.9"),
        limits.take_reset("user 9", "192.0.2.1"),
        limits.take_proof("user 1"),
        limits.take_mail("user 1"),
    ):
        with pytest.raises(TooManyAttemptsError):
            await call
    await limits.take("user 1", "192.0.2.1")
    await limits.take_reset("reset:user 1", "192.0.2.7")  # no name is another kind's


async def test_a_mail_a_minute_is_sent_and_five_an_hour(limits: SignInLimits, stores: Stores) -> None:
    for count in range(5):
        await limits.take_mail("ada")
        with pytest.raises(TooManyAttemptsError) as told:
            await limits.take_mail("ada")
        assert 55 <= told.value.retry_after <= 60 or count == 4
        (soon,) = await stores.broker.keys(f"{stores.settings.namespace}:*mail-soon*")
        await stores.broker.delete(soon)  # a minute passes
    with pytest.raises(TooManyAttemptsError) as told:
        await limits.take_mail("ada")
    assert 3590 <= told.value.retry_after <= 3600


async def test_lifting_lifts_what_was_asked_for_too(stores: Stores) -> None:
    one = Limit(failures=1, free=1)
    limits = SignInLimits(stores.broker, stores.settings.namespace, account=one)
    for _ in range(2):
        await limits.take("ada", None)
        await limits.take_reset("ada", None)
        await limits.take_proof("ada")
        assert await limits.lift("ada")


async def test_everybody_together_is_stopped(stores: Stores) -> None:
    limits = of(stores, everybody=Limit(failures=30, free=30))
    for number in range(30):
        await limits.take(f"user {number}", f"192.0.2.{number}")
    with pytest.raises(TooManyAttemptsError):
        await limits.take("another", "198.51.100.1")


async def test_what_is_refused_counts_for_nothing(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=1, free=1))
    await limits.take("ada", "192.0.2.1")
    for _ in range(20):
        with pytest.raises(TooManyAttemptsError):
            await limits.take("ada", "192.0.2.1")
    for number in range(9):
        await limits.take(f"user {number}", "192.0.2.1")


async def test_an_operator_lets_an_account_try_again(stores: Stores) -> None:
    limits = of(stores, account=Limit(failures=1, free=1))
    await limits.take("ada", None)
    assert await limits.lift("ada")
    await limits.take("ada", None)
    assert not await limits.lift("bob")


async def test_the_counts_name_nobody(stores: Stores, limits: SignInLimits) -> None:
    await limits.take("ada@example.com", None)
    keys = await stores.broker.keys(f"{stores.settings.namespace}:*")
    assert keys
    assert not [key for key in keys if "ada" in key]


async def test_nobody_signs_in_while_the_counts_are_away() -> None:
    redis = open_redis("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError):
        await SignInLimits(redis, "t").take("ada", None)
    await redis.aclose()
