"""Second factors: how long a proposal waits, and which password may stay when one goes."""

from base64 import b32decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from app.accounts import credentials, devices, sessions, users
from app.accounts.devices import MOST_CODES, PROPOSED
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.views import Status, UserView
from app.errors import ConflictError, InvalidInputError, StoreUnavailableError
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Mailbox, Time, facts
from tests.app.accounts.test_signing_in import code, device_of

SHORT = "xk7#pQ2z"


async def proposed(accounts: Accounts, user: UserView) -> TOTP:
    device = await devices.propose_device(accounts, user.id, session=None, by="test")
    return TOTP(b32decode(device.secret), 6, SHA1(), 30)


async def confirm(accounts: Accounts, user: UserView, given: str) -> list[str]:
    return await devices.confirm_device(accounts, user.id, given, session=None, by="test")


async def test_a_proposal_waits_for_five_codes(accounts: Accounts, ada: UserView, time: Time) -> None:
    totp = await proposed(accounts, ada)
    for _ in range(MOST_CODES):
        with pytest.raises(InvalidInputError):
            await confirm(accounts, ada, "000000")
    with pytest.raises(ConflictError):
        await confirm(accounts, ada, code(totp, time))
    assert await confirm(accounts, ada, code(await proposed(accounts, ada), time))
    assert "second-factor:propose" in await facts(accounts.stores)


async def test_a_proposal_waits_for_ten_minutes(accounts: Accounts, ada: UserView, time: Time) -> None:
    totp = await proposed(accounts, ada)
    time.passes(PROPOSED)
    with pytest.raises(ConflictError):
        await confirm(accounts, ada, code(totp, time))


async def shortened(accounts: Accounts, ada: UserView, time: Time) -> None:
    await device_of(accounts, ada, time)
    await credentials.change_password(accounts, ada.id, PASSWORD, SHORT, keep=None, by="test")


async def test_who_has_a_short_password_keeps_the_second_factor(
    accounts: Accounts, ada: UserView, time: Time
) -> None:
    await shortened(accounts, ada, time)
    with pytest.raises(ConflictError, match="15 characters"):
        await devices.remove_own_device(accounts, ada.id, session=None, by="test")
    await credentials.change_password(accounts, ada.id, SHORT, PASSWORD, keep=None, by="test")
    await devices.remove_own_device(accounts, ada.id, session=None, by="test")
    await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)


async def test_a_short_password_goes_with_the_second_factor(
    accounts: Accounts, ada: UserView, time: Time, mails: Mailbox
) -> None:
    await shortened(accounts, ada, time)
    await devices.remove_device(accounts, ada.id, by="test", reason="lost", may_grant=EVERY)
    assert (await users.get_user(accounts.stores, ada.id)).status is Status.PENDING
    with pytest.raises(SignInRefusedError):
        await sign_in(accounts, Credentials("ada@example.com", SHORT), SHOP)
    await credentials.reset_password(accounts, mails.links[0].token, PASSWORD, by="client:shop")
    await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    assert "password:remove" in await facts(accounts.stores)


async def test_a_long_password_stays(accounts: Accounts, ada: UserView, time: Time) -> None:
    await device_of(accounts, ada, time)
    await devices.remove_device(accounts, ada.id, by="test", reason="lost", may_grant=EVERY)
    await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)


@pytest.mark.parametrize("how", ["changed", "reset"])
async def test_a_short_password_is_not_set_for_whom_the_second_factor_was_just_removed(
    *,
    accounts: Accounts,
    ada: UserView,
    time: Time,
    mails: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    await device_of(accounts, ada, time)
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    hashed = accounts.hashing.hash

    async def slowly(password: str) -> str:
        await devices.remove_own_device(accounts, ada.id, session=None, by="test")
        return await hashed(password)

    monkeypatch.setattr(accounts.hashing, "hash", slowly)
    call = (
        credentials.change_password(accounts, ada.id, PASSWORD, SHORT, keep=None, by="test")
        if how == "changed"
        else credentials.reset_password(accounts, mails.links[0].token, SHORT, by="test")
    )
    with pytest.raises(ConflictError):
        await call


async def test_recovery_codes_are_long_and_renewed(accounts: Accounts, ada: UserView, time: Time) -> None:
    with pytest.raises(ConflictError):
        await devices.renew_recovery_codes(accounts, ada.id, session=None, by="test")
    _, old = await device_of(accounts, ada, time)
    new = await devices.renew_recovery_codes(accounts, ada.id, session=None, by="test")
    assert {len(each) for each in new} == {24}  # of 31 signs: 118 bits
    with pytest.raises(SignInRefusedError):
        await sign_in(accounts, Credentials("ada@example.com", PASSWORD, code=old[0]), SHOP)
    await sign_in(accounts, Credentials("ada@example.com", PASSWORD, code=new[0]), SHOP)
    assert "recovery-codes:renew" in await facts(accounts.stores)


@pytest.mark.parametrize("what", ["propose", "confirm", "renew", "remove"])
async def test_a_session_that_has_ended_meanwhile_changes_no_second_factor(
    accounts: Accounts, ada: UserView, time: Time, what: str
) -> None:
    ended = (await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)).session
    totp = await proposed(accounts, ada)
    if what in ("renew", "remove"):
        await confirm(accounts, ada, code(totp, time))
    else:
        await sessions.sign_out(accounts.stores, ada.id, ended, by="test")
    before = await accounts.stores.core.fetchval("SELECT users::text FROM users")
    mine = {"session": ended, "by": "test"}
    call = {
        "propose": lambda: devices.propose_device(accounts, ada.id, **mine),
        "confirm": lambda: devices.confirm_device(accounts, ada.id, code(totp, time), **mine),
        "renew": lambda: devices.renew_recovery_codes(accounts, ada.id, **mine),
        "remove": lambda: devices.remove_own_device(accounts, ada.id, **mine),
    }[what]
    with pytest.raises(ConflictError, match="the session has ended"):
        await call()
    assert await accounts.stores.core.fetchval("SELECT users::text FROM users") == before


async def test_a_device_and_the_secret_of_its_session_count_together_or_not_at_all(
    accounts: Accounts, ada: UserView, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    exchange, totp = sessions.exchange_of(here.refresh_token), await proposed(accounts, ada)

    async def confirmed() -> list[str]:
        return await devices.confirm_device(
            accounts, ada.id, code(totp, time), session=here.session, by="test", exchange=exchange
        )

    async def away(*_: object) -> None:
        raise StoreUnavailableError("the core DB has gone away")

    with monkeypatch.context() as patched:
        patched.setattr(devices, "rekey", away)
        with pytest.raises(StoreUnavailableError):
            await confirmed()
    assert not (await users.get_user(accounts.stores, ada.id)).second_factor
    assert len(await confirmed()) == 10
    assert await sessions.session_of_token(accounts.stores, here.refresh_token, "shop") is None
    assert await sessions.session_of_token(accounts.stores, exchange.fresh, "shop") == (ada.id, here.session)


async def test_a_wrong_code_of_a_new_device_is_logged(
    accounts: Accounts, ada: UserView, logged: list[dict[str, Any]]
) -> None:
    await proposed(accounts, ada)
    with pytest.raises(InvalidInputError):
        await confirm(accounts, ada, "000000")
    assert [each["by"] for each in logged if each["event"] == "signin.refused"] == ["test"]
