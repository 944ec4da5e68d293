"""How often signing in may be tried, against a real Redis."""

import asyncio
from functools import partial
from hashlib import sha256
from typing import Any

import pytest

from app.accounts.limits import Limit, SignInLimits, TooManyAttemptsError
from app.errors import StoreUnavailableError
from app.stores.connections import Stores, open_redis
from tests.app.accounts.conftest import PEPPERS


@pytest.fixture
def limits(stores: Stores) -> SignInLimits:
    return SignInLimits(stores.broker, stores.settings.namespace, PEPPERS.pseudonym)


def of(stores: Stores, **limits: Limit) -> SignInLimits:
    free = {name: Limit(1000, 1000) for name in ("account", "address", "everybody")}
    return SignInLimits(stores.broker, stores.settings.namespace, PEPPERS.pseudonym, **free | limits)


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


async def test_a_network_has_the_tries_of_ten_of_its_lines_and_shuts_out_no_other(stores: Stores) -> None:
    limits = of(stores, address=Limit(2, 2), everybody=Limit(21, 21))
    for take in (limits.take, limits.take_reset):
        for number in range(20):
            await take(f"user {number}", f"2001:db8:1:{number}::1")
        with pytest.raises(TooManyAttemptsError):
            await take("user 21", "2001:db8:1:ffff::1")
        await take("user 21", "2001:db8:2::1")


async def test_a_try_that_is_right_so_far_counts_against_its_machine_until_the_account_is_in(
    stores: Stores,
) -> None:
    limits = of(stores, account=Limit(1, 1), address=Limit(3, 3))
    for name, machine in (("ada", "192.0.2.1"), ("eve", "192.0.2.3")):
        for _ in range(2):
            await limits.hold(await limits.take(name, machine))
    await limits.settle(await limits.take("ada", "192.0.2.2"))  # whoever sits at the other machine is not in
    await limits.take("bob", "192.0.2.1")
    with pytest.raises(TooManyAttemptsError):
        await limits.take("ada", "192.0.2.1")
    await limits.settle(await limits.take("eve", "192.0.2.3"))
    for number in range(3):
        await limits.take(f"user {number}", "192.0.2.3")


async def test_asking_for_links_and_proving_oneself_shut_nobody_out(stores: Stores) -> None:
    one = Limit(failures=1, free=1)
    limits = of(stores, account=one, address=one, everybody=Limit(2, 2))
    for number in range(2):
        await limits.take_reset(f"user {number}", f"192.0.2.{number}")
        await limits.take_proof(f"user {number}")
        await limits.take_mail(f"user {number}")
    for call in (
        limits.take_reset("user 1", "192.0.2.9"),
        limits.take_reset("user 9", "192.0.2.1"),
        limits.take_reset("user 9", "192.0.2.9"),
        limits.take_proof("user 1"),
        limits.take_mail("user 1"),
    ):
        with pytest.raises(TooManyAttemptsError):
            await call
    await limits.take("user 1", "192.0.2.1")


@pytest.mark.parametrize("what", ["mail", "reset"])
async def test_a_mail_a_minute_is_sent_and_five_an_hour(
    limits: SignInLimits, stores: Stores, what: str
) -> None:
    async def take() -> None:
        await (limits.take_mail("ada") if what == "mail" else limits.take_reset("ada", None))

    for count in range(5):
        await take()
        with pytest.raises(TooManyAttemptsError) as told:
            await take()
        assert 55 <= told.value.retry_after <= 60 or count == 4
        (soon,) = await stores.broker.keys(f"{stores.settings.namespace}:*{what}:account-soon*")
        await stores.broker.delete(soon)  # a minute passes
    with pytest.raises(TooManyAttemptsError) as told:
        await take()
    assert 3590 <= told.value.retry_after <= 3600


async def test_every_kind_that_was_tried_too_often_is_logged(
    stores: Stores, logged: list[dict[str, Any]]
) -> None:
    limits = of(stores, account=Limit(1, 1))
    for take in (
        partial(limits.take, "ada", "192.0.2.1"),
        partial(limits.take_reset, "ada", "192.0.2.1"),
        partial(limits.take_proof, "ada"),
        partial(limits.take_mail, "ada"),
    ):
        await take()
        with pytest.raises(TooManyAttemptsError):
            await take()
    told = [each for each in logged if each["event"] == "signin.throttled"]
    assert [each["what"] for each in told] == ["sign-in", "reset", "proof", "mail"]
    assert {each["account"] for each in told} == {PEPPERS.pseudonym("ada").hex()[:16]}
    assert all(each["seconds"] > 0 for each in told)


async def test_lifting_lifts_what_was_asked_for_too(stores: Stores) -> None:
    one = Limit(failures=1, free=1)
    limits = of(stores, account=one)
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
    await limits.take("ada@example.com", "192.0.2.1")
    await limits.take_reset("ada@example.com", "2001:db8::1")
    names = ("ada@example.com", "192.0.2.1", "2001:db8::", "2001:db8::/64", "2001:db8::/48")
    plain = {*names, *(sha256(each.encode()).hexdigest() for each in names)}
    keys = [key.rsplit(":sign-in:")[1] for key in await stores.broker.keys(f"{stores.settings.namespace}:*")]
    assert len(keys) == 8
    assert not [key for key in keys if any(each in key for each in plain)]


async def test_nobody_signs_in_while_the_counts_are_away() -> None:
    redis = open_redis("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailableError):
        await SignInLimits(redis, "t", PEPPERS.pseudonym).take("ada", None)
    await redis.aclose()
