"""Calls under an Idempotency-Key: carried out once, answered as before, and gone without a trace where they failed."""

import asyncio
from datetime import timedelta

import pytest

from app.errors import InvalidInputError
from app.idempotency import KEPT, CallInFlightError, Once, call_of, forget_keys, once
from app.stores.connections import Stores
from tests.app.accounts.conftest import Time
from tests.app.notifications.post import asked, make_template, until_blocked


class Caller:
    """Calls as a service does; counts how often it was carried out."""

    def __init__(self, stores: Stores, time: Time) -> None:
        self.stores, self.time, self.done = stores, time, 0
        self.fails, self.gate = False, asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()

    async def call(self, key: str = "k-1", wanted: object = ("a",), client: str = "shop") -> Once[list[int]]:
        async with self.stores.core.acquire() as connection, connection.transaction():

            async def work() -> list[int]:
                self.begun.set()
                await self.gate.wait()
                await asked(connection)
                self.done += 1
                if self.fails:
                    raise ZeroDivisionError
                return [self.done]

            return await once(connection, call_of(client, key, wanted), work, list[int], moment=self.time())


@pytest.fixture
async def caller(stores: Stores) -> Caller:
    await make_template(stores)
    return Caller(stores, Time())


async def mails(caller: Caller) -> int:
    return await caller.stores.core.fetchval("SELECT count(*) FROM notifications")


async def test_a_call_that_is_repeated_is_answered_as_before(caller: Caller) -> None:
    assert await caller.call(wanted={"a": 1, "b": 2}) == Once([1], replayed=False)
    assert await caller.call(wanted={"b": 2, "a": 1}) == Once([1], replayed=True)
    assert await mails(caller) == 1


async def test_another_call_under_the_same_key_is_refused(caller: Caller) -> None:
    await caller.call()
    with pytest.raises(InvalidInputError, match="used before"):
        await caller.call(wanted=("b",))
    assert await caller.call(key="k-2", wanted=("b",)) == Once([2], replayed=False)


async def test_keys_of_two_clients_are_two_keys(caller: Caller) -> None:
    await caller.call()
    assert not (await caller.call(client="other")).replayed


async def test_while_it_is_carried_out_nobody_else_does(caller: Caller) -> None:
    caller.gate.clear()
    first = asyncio.create_task(caller.call())
    await caller.begun.wait()
    with pytest.raises(CallInFlightError):
        await caller.call()
    caller.gate.set()
    assert not (await first).replayed
    assert (await caller.call()).replayed


async def test_a_call_that_fails_leaves_nothing_and_may_come_again_at_once(caller: Caller) -> None:
    caller.fails = True
    with pytest.raises(ZeroDivisionError):
        await caller.call()
    caller.fails = False
    assert not (await caller.call()).replayed
    assert await mails(caller) == 1


async def test_after_a_day_a_key_is_forgotten(caller: Caller) -> None:
    await caller.call()
    caller.time.passes(KEPT - timedelta(seconds=1))
    assert await forget_keys(caller.stores.core, caller.time()) == 0
    assert (await caller.call()).replayed
    caller.time.passes(timedelta(seconds=1))
    assert not (await caller.call()).replayed
    assert await forget_keys(caller.stores.core, caller.time() + KEPT) == 1


async def test_a_key_that_is_used_anew_while_keys_are_forgotten_is_kept(caller: Caller) -> None:
    await caller.call()
    caller.time.passes(KEPT + timedelta(seconds=1))
    core = caller.stores.core
    async with core.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE idempotency_keys SET expires_at = $1", caller.time() + KEPT)
        forgetting = asyncio.create_task(forget_keys(core, caller.time()))
        await until_blocked(caller.stores, "%DELETE FROM idempotency_keys%")
    assert await forgetting == 0
    assert (await caller.call()).replayed


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256, "a\n"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidInputError):
        call_of("shop", key, {})
