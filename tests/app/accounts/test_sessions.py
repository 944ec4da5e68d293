"""Sessions and refresh tokens, against a real core DB."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.accounts import credentials, devices, sessions, users
from app.accounts.permissions import Scope
from app.accounts.service import Accounts
from app.accounts.sessions import ABSOLUTE, IDLE, LOST_ANSWER, RefreshRefusedError, SignedIn
from app.accounts.signing_in import Credentials, sign_in
from app.accounts.views import Status, UserView
from app.errors import NotFoundError
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Time, facts

LATER = LOST_ANSWER + timedelta(seconds=1)


@pytest.fixture
async def signed_in(accounts: Accounts, ada: UserView) -> SignedIn:
    assert ada
    return await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)


async def refreshed(accounts: Accounts, token: str, client: str = "shop") -> SignedIn:
    return await sessions.refresh(accounts, token, client, [Scope.USERS_AUTHENTICATE])


async def test_tokens_follow_one_another_in_one_session(
    accounts: Accounts, signed_in: SignedIn, time: Time
) -> None:
    held = [signed_in]
    for _ in range(5):
        time.passes(timedelta(minutes=4))
        held.append(await refreshed(accounts, held[-1].refresh_token))
    assert {each.session for each in held} == {signed_in.session}
    assert len({each.refresh_token for each in held}) == 6
    first, last = [await accounts.tokens.read(each.access_token) for each in (held[-2], held[-1])]
    assert first.auth_time == last.auth_time  # when the password was given
    assert last.iat > first.iat


async def test_a_lost_answer_may_be_asked_for_again_and_is_the_same(
    accounts: Accounts, signed_in: SignedIn, time: Time
) -> None:
    first = await refreshed(accounts, signed_in.refresh_token)
    time.passes(LOST_ANSWER)
    again = await refreshed(accounts, signed_in.refresh_token)
    assert again.refresh_token == first.refresh_token
    await refreshed(accounts, again.refresh_token)


async def test_two_at_once_get_the_same_successor(accounts: Accounts, signed_in: SignedIn) -> None:
    both = await asyncio.gather(*(refreshed(accounts, signed_in.refresh_token) for _ in range(8)))
    assert len({each.refresh_token for each in both}) == 1


@pytest.mark.parametrize("used_on", [False, True])
async def test_a_token_that_is_used_twice_ends_the_session(
    accounts: Accounts, signed_in: SignedIn, time: Time, used_on: bool
) -> None:
    successor = await refreshed(accounts, signed_in.refresh_token)
    if used_on:
        successor = await refreshed(accounts, successor.refresh_token)
    else:
        time.passes(LATER)
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, signed_in.refresh_token)
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, successor.refresh_token)
    assert not await sessions.is_alive(accounts.stores, signed_in.session)
    assert (await facts(accounts.stores)).count("session:replay") == 1


async def test_a_token_in_the_hands_of_another_client_ends_the_session(
    accounts: Accounts, signed_in: SignedIn
) -> None:
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, signed_in.refresh_token, client="thief")
    assert not await sessions.is_alive(accounts.stores, signed_in.session)


@pytest.mark.parametrize("token", ["", "acr_x", "\ud800"])
async def test_what_is_no_token_is_refused(accounts: Accounts, token: str) -> None:
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, token)


async def test_a_session_that_nobody_uses_for_an_hour_has_ended(
    accounts: Accounts, signed_in: SignedIn, time: Time
) -> None:
    time.passes(IDLE - timedelta(seconds=1))
    later = await refreshed(accounts, signed_in.refresh_token)
    time.passes(IDLE)
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, later.refresh_token)


async def test_no_session_lasts_longer_than_a_day(
    accounts: Accounts, signed_in: SignedIn, time: Time
) -> None:
    held, steps = signed_in, int(ABSOLUTE / (IDLE / 2))
    for _ in range(steps - 1):
        time.passes(IDLE / 2)
        held = await refreshed(accounts, held.refresh_token)
    time.passes(IDLE / 2)
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, held.refresh_token)


@pytest.mark.parametrize(
    "what", ["disabled", "locked", "deleted", "password", "everywhere", "out", "second factor"]
)
async def test_what_ends_a_session_ends_it_at_once(
    accounts: Accounts, signed_in: SignedIn, ada: UserView, what: str
) -> None:
    stores = accounts.stores
    assert await sessions.is_alive(stores, signed_in.session)
    match what:
        case "disabled" | "locked":
            await users.move_user(stores, ada.id, Status(what), by="test", reason="x", may_grant=EVERY)
        case "deleted":
            await users.delete_user(accounts, ada.id, by="test", reason="x", may_grant=EVERY)
        case "password":
            await credentials.change_password(
                accounts, ada.id, PASSWORD, "another long enough secret", keep=None, by="test"
            )
        case "everywhere":
            assert await sessions.sign_out_everywhere(stores, ada.id, by="test", may_grant=EVERY) == 1
        case "out":
            await sessions.sign_out(stores, ada.id, signed_in.session, by="test")
        case _:
            await stores.core.execute("UPDATE users SET totp_confirmed_at = now()")
            await devices.remove_own_device(accounts, ada.id, session=None, by="test")
    assert not await sessions.is_alive(stores, signed_in.session)
    with pytest.raises(RefreshRefusedError):
        await refreshed(accounts, signed_in.refresh_token)


async def test_who_changes_their_password_stays_where_they_are(
    accounts: Accounts, signed_in: SignedIn, ada: UserView
) -> None:
    other = await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)
    await credentials.change_password(
        accounts, ada.id, PASSWORD, "another long enough secret", keep=other.session, by="test"
    )
    assert [each.id for each in await sessions.list_sessions(accounts.stores, ada.id)] == [other.session]


async def test_fewer_roles_count_from_the_next_refresh(accounts: Accounts, signed_in: SignedIn) -> None:
    await accounts.stores.core.execute("UPDATE users SET roles = '{supplier}'")
    later = await refreshed(accounts, signed_in.refresh_token)
    assert (await accounts.tokens.read(later.access_token)).roles == ["supplier"]


async def test_nobody_ends_the_session_of_another(
    accounts: Accounts, signed_in: SignedIn, ada: UserView
) -> None:
    with pytest.raises(NotFoundError):
        await sessions.sign_out(accounts.stores, uuid4(), signed_in.session, by="test")
    assert await sessions.session_of_token(accounts.stores, signed_in.refresh_token, "other") is None
    assert await sessions.session_of_token(accounts.stores, signed_in.refresh_token, "shop") == (
        ada.id,
        signed_in.session,
    )


async def test_signing_out_twice_is_no_fault_and_told_once(
    accounts: Accounts, signed_in: SignedIn, ada: UserView
) -> None:
    for _ in range(2):
        await sessions.sign_out(accounts.stores, ada.id, signed_in.session, by="test")
    assert (await facts(accounts.stores)).count("session:end") == 1


async def test_a_session_that_has_been_idle_for_too_long_is_listed_no_more(
    accounts: Accounts, signed_in: SignedIn, ada: UserView
) -> None:
    await refreshed(accounts, signed_in.refresh_token)
    assert [each.id for each in await sessions.list_sessions(accounts.stores, ada.id)] == [signed_in.session]
    assert await sessions.is_alive(accounts.stores, signed_in.session)
    await accounts.stores.core.execute("UPDATE refresh_tokens SET expires_at = now() WHERE used_at IS NULL")
    assert not await sessions.is_alive(accounts.stores, signed_in.session)
    assert await sessions.list_sessions(accounts.stores, ada.id) == []
