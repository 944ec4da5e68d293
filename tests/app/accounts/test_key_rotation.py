"""Keys that come and go: what is locked with the old one is locked anew, and what does not open holds up nothing."""

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from loguru import logger

from app import doctor
from app.accounts import second_factor
from app.accounts.encryption import Safe
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.token_keys import TokenKeys
from app.accounts.tokens import TokenRefusedError, Tokens
from app.accounts.views import UserView
from app.stores.connections import Stores
from config.log_entries import entry_of
from config.settings import Settings
from tests.app.accounts.conftest import ISSUER, PASSWORD, SAFE, SHOP, Time

OLD, NEW = b"1" * 32, b"2" * 32
BOTH = Safe({"b": NEW, "a": OLD}, current="b")
LATER = Safe({"b": NEW}, current="b")
KEY = b"12345678901234567890"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    events: list[str] = []

    def keep(message: Any) -> None:
        events.append(entry_of(message.record, "test", 1).event)

    sink = logger.add(keep, filter="app.accounts", catch=False)
    yield events
    logger.remove(sink)


def tokens_with(stores: Stores, safe: Safe, time: Time) -> Tokens:
    return Tokens(TokenKeys(stores.core, safe, time), ISSUER, time)


async def issued(tokens: Tokens) -> str:
    return (await tokens.for_client("shop", uuid4(), [Scope.LOGS_READ])).token


async def test_keys_of_tokens_outlive_the_key_that_they_were_locked_with(stores: Stores, time: Time) -> None:
    token = await issued(tokens_with(stores, SAFE, time))
    await tokens_with(stores, BOTH, time).read(token)  # which locks it anew
    await tokens_with(stores, LATER, time).read(token)
    assert await stores.core.fetchval("SELECT count(*) FROM token_keys WHERE private_key LIKE 'a:%'") == 0


async def test_a_key_of_tokens_that_does_not_open_is_as_none(
    stores: Stores, time: Time, logged: list[str]
) -> None:
    lost = await issued(tokens_with(stores, SAFE, time))
    tokens = tokens_with(stores, LATER, time)
    for _ in range(2):
        with pytest.raises(TokenRefusedError):
            await tokens.read(lost)
        time.passes(timedelta(minutes=2))
    fresh = await issued(tokens)
    assert (await tokens.read(fresh)).sub == "shop"
    assert len(await tokens.keys.public()) == 1
    assert logged.count("key.skipped") == 1


@pytest.fixture
async def device(accounts: Accounts, ada: UserView) -> TOTP:
    """The second factor of Ada, locked with the old key."""
    await accounts.stores.core.execute(
        "UPDATE users SET totp_key = $2, totp_confirmed_at = now() WHERE id = $1",
        ada.id,
        SAFE.lock(KEY, place=second_factor.place_of(ada.id)),
    )
    return TOTP(KEY, 6, SHA1(), 30)


def with_code(device: TOTP, time: Time) -> Credentials:
    return Credentials(
        "ada@example.com", PASSWORD, device.generate(int(time().timestamp())).decode(), "192.0.2.1"
    )


async def test_a_second_factor_is_locked_anew_when_it_is_used(
    accounts: Accounts, device: TOTP, time: Time
) -> None:
    await sign_in(replace(accounts, safe=BOTH), with_code(device, time), SHOP)
    time.passes(timedelta(minutes=1))
    await sign_in(replace(accounts, safe=LATER), with_code(device, time), SHOP)


async def test_a_second_factor_that_does_not_open_lets_nobody_in_and_is_told(
    accounts: Accounts, device: TOTP, time: Time, logged: list[str]
) -> None:
    with pytest.raises(SignInRefusedError):
        await sign_in(replace(accounts, safe=LATER), with_code(device, time), SHOP)
    assert "device.refused" in logged


async def test_the_doctor_tells_how_much_each_key_has(
    accounts: Accounts, device: TOTP, ada: UserView
) -> None:
    def named(**keys: bytes) -> str:
        return ",".join(f"{name}:{b64encode(key).decode()}" for name, key in keys.items())

    assert device
    values = accounts.stores.settings.model_dump()
    known = Settings(
        **values | {"password_peppers": named(q=b"4" * 32, p=b"3" * 32), "encryption_keys": named(b=NEW)}
    )
    peppers, keys = await doctor._look_at_keys(known)
    assert (peppers.name, peppers.ok, peppers.found) == ("password peppers", True, "rows under q: 0, p: 1")
    assert (keys.name, keys.ok, keys.found) == ("encryption keys", False, "rows under b: 0, a: 1")
    assert "ASTROCORE_ENCRYPTION_KEYS lacks a" in (keys.advice or "")
