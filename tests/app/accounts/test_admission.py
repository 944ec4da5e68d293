"""What a call may do is what is true at that moment, whatever the token says that it bears."""

import asyncio
from base64 import b32decode
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from app.accounts import clients, devices, sessions, users
from app.accounts.admission import Caller, admit, recognise
from app.accounts.housekeeping import keep_house
from app.accounts.limits import Attempt, SignInLimits
from app.accounts.permissions import ORDINARY_ROLES, Role, Scope
from app.accounts.service import Accounts
from app.accounts.sessions import Origin, RefreshRefusedError, SignedIn
from app.accounts.signing_in import Credentials, sign_in
from app.accounts.tokens import TokenRefusedError
from app.accounts.users import ProfileChange
from app.accounts.views import UserView
from app.stores.connections import open_redis
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Time, user_with

TWO_FACTORS = ("pwd", "otp", "mfa")


@pytest.fixture
async def grace(accounts: Accounts) -> UserView:
    """An admin who has set up a second factor."""
    user = await user_with(accounts, "grace@example.com", Role.ADMIN, Role.EMPLOYEE)
    await accounts.stores.core.execute("UPDATE users SET totp_confirmed_at = now()")
    return user


async def signed_in(accounts: Accounts, user: UserView, *methods: str) -> SignedIn:
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        origin = Origin(SHOP.name, methods)
        started = await sessions.start(connection, user.id, origin, accounts.clock())
    return await sessions.refresh(accounts, started.refresh_token, SHOP.name, SHOP.scopes)


async def client_token(accounts: Accounts, *scopes: Scope) -> str:
    """An access token of the shop for itself."""
    made = await clients.add_credential(accounts.stores, SHOP.name, by="test")
    client = await accounts.clients.by_secret(SHOP.name, made.secret or "")
    issued = await accounts.tokens.for_client(client.name, client.credential, scopes)
    return issued.token


async def test_an_admin_gives_no_more_than_the_client_lets_them(accounts: Accounts, grace: UserView) -> None:
    few = [Scope.USERS_AUTHENTICATE, Scope.USERS_WRITE]
    await clients.create_client(accounts.stores, "web-shop", few, by="test")
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        origin = Origin("web-shop", TWO_FACTORS)
        started = await sessions.start(connection, grace.id, origin, accounts.clock())
    through = await sessions.refresh(accounts, started.refresh_token, "web-shop", few)
    caller = await admit(accounts, through.access_token)
    assert (Role.ADMIN in caller.roles, caller.scopes) == (True, {Scope.USERS_WRITE})
    assert caller.may_grant == ORDINARY_ROLES
    there = await admit(accounts, (await signed_in(accounts, grace, *TWO_FACTORS)).access_token)
    assert there.may_grant == EVERY


async def test_a_role_that_needs_a_second_factor_counts_in_a_session_of_two_alone(
    accounts: Accounts, grace: UserView
) -> None:
    strong, weak = [await signed_in(accounts, grace, *how) for how in (TWO_FACTORS, ("pwd",))]
    told = [(await accounts.tokens.read(each.access_token)).roles for each in (strong, weak)]
    assert told == [["admin", "employee"], ["employee"]]
    assert (Scope.CLIENTS_ADMIN in strong.scope, weak.scope) == (True, "")
    caller = await admit(accounts, weak.access_token)
    assert (caller.roles, caller.scopes, caller.may_grant & {Role.ADMIN}) == (
        {Role.EMPLOYEE},
        frozenset(),
        frozenset(),
    )


@pytest.mark.parametrize("methods", [TWO_FACTORS, ("pwd",)])
async def test_who_stays_signed_in_may_do_what_the_session_is_good_for(
    accounts: Accounts, grace: UserView, methods: tuple[str, ...]
) -> None:
    session = await signed_in(accounts, grace, *methods)
    caller = await recognise(accounts, session.refresh_token, SHOP.name)
    assert caller
    assert (Role.ADMIN in caller.roles) is (Scope.CLIENTS_ADMIN in caller.scopes) is (methods == TWO_FACTORS)


async def test_a_role_that_is_taken_away_is_gone_at_once(accounts: Accounts, grace: UserView) -> None:
    session = await signed_in(accounts, grace, *TWO_FACTORS)
    assert (await admit(accounts, session.access_token)).may_grant == EVERY
    change = ProfileChange(roles=[Role.AUDITOR])
    await users.change_user(accounts, grace.id, change, by="test", may_grant=EVERY)
    caller = await admit(accounts, session.access_token)
    assert (caller.roles, caller.may_grant & {Role.ADMIN}) == (frozenset(), frozenset())
    assert Scope.CLIENTS_ADMIN not in caller.scopes
    assert Scope.AUDIT_READ in caller.scopes  # which both the token and the new role give


async def test_a_role_that_is_given_counts_from_the_next_token(accounts: Accounts, ada: UserView) -> None:
    session = await signed_in(accounts, ada, *TWO_FACTORS)
    change = ProfileChange(roles=[Role.ADMIN])
    await users.change_user(accounts, ada.id, change, by="test", may_grant=EVERY)
    assert (await admit(accounts, session.access_token)).scopes == frozenset()
    fresh = await sessions.refresh(accounts, session.refresh_token, SHOP.name, SHOP.scopes)
    assert Role.ADMIN in (await admit(accounts, fresh.access_token)).roles


async def test_scopes_that_are_taken_from_a_client_are_gone_at_once_for_it_and_for_its_users(
    accounts: Accounts, grace: UserView
) -> None:
    own = await client_token(accounts, Scope.CLIENTS_ADMIN, Scope.LOGS_READ)
    session = await signed_in(accounts, grace, *TWO_FACTORS)
    await clients.change_scopes(accounts.stores, SHOP.name, [Scope.LOGS_READ], by="test", reason="x")
    for token in (own, session.access_token):
        assert (await admit(accounts, token)).scopes == {Scope.LOGS_READ}


async def test_a_token_asks_for_less_and_never_gets_more(accounts: Accounts) -> None:
    token = await client_token(accounts, Scope.LOGS_READ)
    assert await admit(accounts, token) == Caller(
        "client:shop",
        "shop",
        frozenset({Scope.LOGS_READ}),
        credential=(await clients.get_client(accounts.stores, "shop")).credentials[0].id,
    )


@pytest.mark.parametrize("how", ["revoked", "expired", "of another client", "never there"])
async def test_a_clients_token_is_good_as_long_as_the_credential_it_was_got_with(
    accounts: Accounts, time: Time, how: str
) -> None:
    stores = accounts.stores
    token = await client_token(accounts, Scope.LOGS_READ)
    other = await client_token(accounts, Scope.LOGS_READ)
    credential = (await clients.get_client(stores, "shop")).credentials[0].id
    await admit(accounts, token)
    match how:
        case "revoked":
            await clients.revoke_credential(stores, "shop", credential, by="test", reason="stolen")
        case "expired":
            await stores.core.execute(
                "UPDATE client_credentials SET expires_at = now() - interval '1 second' WHERE id = $1",
                credential,
            )
        case "of another client":
            await clients.create_client(stores, "other", list(Scope), by="test")
            token = (await accounts.tokens.for_client("other", credential, [Scope.LOGS_READ])).token
        case _:
            token = (await accounts.tokens.for_client("shop", uuid4(), [Scope.LOGS_READ])).token
    with pytest.raises(TokenRefusedError):
        await admit(accounts, token)
    await admit(accounts, other)


async def test_a_user_of_a_client_is_not_signed_out_with_its_credential(
    accounts: Accounts, ada: UserView
) -> None:
    await client_token(accounts, Scope.USERS_AUTHENTICATE)
    session = await signed_in(accounts, ada, "pwd")
    (credential,) = (await clients.get_client(accounts.stores, "shop")).credentials
    await clients.revoke_credential(accounts.stores, "shop", credential.id, by="test", reason="rotated")
    assert (await admit(accounts, session.access_token)).user == ada.id


async def test_a_refresh_waits_for_whoever_takes_a_role_away(accounts: Accounts, grace: UserView) -> None:
    session = await signed_in(accounts, grace, *TWO_FACTORS)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await connection.execute("UPDATE users SET roles = '{}' WHERE id = $1", grace.id)
        refreshing = asyncio.create_task(
            sessions.refresh(accounts, session.refresh_token, SHOP.name, SHOP.scopes)
        )
        await asyncio.wait([refreshing], timeout=0.3)
        assert not refreshing.done()
    assert (await refreshing).scope == ""


async def test_a_successor_can_be_read_until_it_is_used_and_then_by_nobody(
    accounts: Accounts, ada: UserView, time: Time
) -> None:
    first = await signed_in(accounts, ada, "pwd")
    assert await readable(accounts) == 1
    time.passes(timedelta(seconds=1))
    await sessions.refresh(accounts, first.refresh_token, SHOP.name, SHOP.scopes)
    assert await readable(accounts) == 1  # the one that has not been used yet
    assert await accounts.stores.core.fetchval("SELECT count(successor_hash) FROM refresh_tokens") == 2


async def readable(accounts: Accounts) -> int:
    count: int = await accounts.stores.core.fetchval("SELECT count(successor) FROM refresh_tokens")
    return count


async def test_who_confirms_a_device_goes_on_with_two_factors_and_nobody_else_goes_on(
    accounts: Accounts, time: Time
) -> None:
    user = await user_with(accounts, "otto@example.com", Role.ADMIN)
    own, stolen = await signed_in(accounts, user, "pwd"), await signed_in(accounts, user, "pwd")
    proposed = await devices.propose_device(accounts, user.id, session=None, by="test")
    code = TOTP(b32decode(proposed.secret), 6, SHA1(), 30).generate(int(time().timestamp())).decode()
    await devices.confirm_device(accounts, user.id, code, session=own.session, by="test")
    with pytest.raises(RefreshRefusedError):
        await sessions.refresh(accounts, stolen.refresh_token, SHOP.name, SHOP.scopes)
    with pytest.raises(TokenRefusedError):
        await admit(accounts, stolen.access_token)
    fresh = await sessions.refresh(accounts, own.refresh_token, SHOP.name, SHOP.scopes)
    assert (await admit(accounts, fresh.access_token)).roles == {Role.ADMIN}
    assert (await accounts.tokens.read(fresh.access_token)).amr == ["pwd", "otp", "mfa"]


async def test_what_nobody_asked_for_again_can_soon_be_read_no_more(
    accounts: Accounts, ada: UserView, time: Time
) -> None:
    first = await signed_in(accounts, ada, "pwd")
    await keep_house(accounts.stores, time)
    assert await readable(accounts) == 1  # its answer may still be asked for
    time.passes(timedelta(minutes=1))
    await keep_house(accounts.stores, time)
    assert await readable(accounts) == 0
    await sessions.refresh(accounts, first.refresh_token, SHOP.name, SHOP.scopes)


class Leaving(SignInLimits):
    """Counts whose Redis goes away once an attempt is taken."""

    async def take(self, *given: Any) -> Attempt:
        attempt = await super().take(*given)
        pool = self._redis.connection_pool
        await pool.disconnect()
        pool.reset()
        pool.connection_kwargs["port"] = 1
        return attempt


async def test_who_has_signed_in_is_told_so_although_the_counts_went_away(
    accounts: Accounts, ada: UserView
) -> None:
    assert ada
    settings = accounts.stores.settings
    redis = open_redis(settings.url("broker_url"))
    limits = Leaving(redis, settings.namespace, accounts.hashing.pseudonym)
    given = Credentials("ada@example.com", PASSWORD, client_ip="192.0.2.1")
    signed = await sign_in(replace(accounts, limits=limits), given, SHOP)
    assert [each.id for each in await sessions.list_sessions(accounts.stores, ada.id)] == [signed.session]
    await redis.aclose()
