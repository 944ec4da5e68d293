"""What ends, ends for whoever is being told something at that moment too; and nobody ends what is not theirs."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from app.accounts import clients, sessions, users
from app.accounts.admission import admit
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.sessions import Origin, Started
from app.accounts.views import Status, UserView
from app.logs.queries import LogFilter
from app.logs.store import LogStore
from tests.app.accounts.conftest import EVERY, user_with
from tests.web.accounts.conftest import Client
from tests.web.logs.conftest import entry
from web import standing
from web.logs.exporting import CUT_OFF

STREAM = "/v1/logs/stream"


async def started(accounts: Accounts, user: UserView, *methods: str) -> Started:
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        return await sessions.start(connection, user.id, Origin("shop", methods), accounts.clock())


async def reading(caller: Client, accounts: Accounts, user: UserView) -> httpx.AsyncClient:
    """A user with the right to read the logs."""
    session = await started(accounts, user, "pwd", "otp", "mfa")
    signed_in = await sessions.refresh(accounts, session.refresh_token, "shop", list(Scope))
    return await caller(token=signed_in.access_token)


@pytest.mark.parametrize("how", ["session", "user", "role", "client", "scope"])
async def test_a_stream_ends_when_its_reader_may_read_no_more(
    caller: Client, accounts: Accounts, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.05)
    stores = accounts.stores
    user = await user_with(accounts, "otto@example.com", Role.OPERATOR)
    reader = await reading(caller, accounts, user)
    stream = asyncio.create_task(reader.get(STREAM))
    await asyncio.wait([stream], timeout=0.3)
    assert not stream.done()
    match how:
        case "session":
            await sessions.sign_out_everywhere(stores, user.id, by="test", may_grant=EVERY)
        case "user":
            await users.move_user(stores, user.id, Status.DISABLED, by="test", reason="x", may_grant=EVERY)
        case "role":
            await stores.core.execute("UPDATE users SET roles = '{}'")
        case "client":
            await clients.enable_client(stores, "shop", enabled=False, by="test", reason="x")
        case _:
            await clients.change_scopes(stores, "shop", [Scope.USERS_AUTHENTICATE], by="test", reason="x")
    assert (await asyncio.wait_for(stream, 10)).status_code == 200
    assert (await reader.get(STREAM)).status_code in {401, 403}


async def test_a_stream_of_a_client_ends_with_its_credential(
    caller: Client, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.05)
    reader = await caller("ops", Scope.LOGS_READ)
    stream = asyncio.create_task(reader.get(STREAM))
    await asyncio.wait([stream], timeout=0.3)
    assert not stream.done()
    (credential,) = (await clients.get_client(accounts.stores, "ops")).credentials
    await clients.revoke_credential(accounts.stores, "ops", credential.id, by="test", reason="stolen")
    await asyncio.wait_for(stream, 10)


def test_it_is_asked_often_enough_to_end_within_a_second() -> None:
    assert standing.EVERY_SECONDS <= 0.5


async def endless(closed: list[bool]) -> AsyncGenerator[int]:
    try:
        yield 1
        yield 2
        await asyncio.Event().wait()
    finally:
        closed.append(True)


async def test_what_is_told_comes_through_and_is_closed_with_its_reader(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, caller: Client
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.01)
    reader = await caller("ops", Scope.LOGS_READ)
    who = await admit(accounts, reader.headers["Authorization"].removeprefix("Bearer "))
    app = SimpleNamespace(state=SimpleNamespace(accounts=accounts))
    request: Any = SimpleNamespace(app=app, scope={"state": {"caller": who}})
    closed: list[bool] = []
    pieces = standing.while_standing(endless(closed), request, Scope.LOGS_READ)
    assert [await anext(pieces), await anext(pieces)] == [1, 2]
    await asyncio.sleep(0.1)  # it is asked some times, and nothing has changed
    assert not closed
    await pieces.aclose()
    assert closed
    refused = standing.while_standing(endless(closed), request, Scope.AUDIT_READ)
    assert [each async for each in refused] == []


async def test_where_it_cannot_be_asked_nothing_more_is_told(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, caller: Client
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.01)
    reader = await caller("ops", Scope.LOGS_READ)
    stream = asyncio.create_task(reader.get(STREAM))
    await asyncio.wait([stream], timeout=0.3)
    await accounts.stores.core.execute("ALTER TABLE client_credentials RENAME TO gone")
    try:
        await asyncio.wait_for(stream, 10)
    finally:
        await accounts.stores.core.execute("ALTER TABLE gone RENAME TO client_credentials")


async def test_where_nobody_answers_in_time_nothing_more_is_told(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch, caller: Client
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.01)
    reader = await caller("ops", Scope.LOGS_READ)
    stream = asyncio.create_task(reader.get(STREAM))
    await asyncio.wait([stream], timeout=0.3)
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE client_credentials IN ACCESS EXCLUSIVE MODE")
        assert (await asyncio.wait([stream], timeout=5))[0]  # the store itself waits for ten seconds


async def test_of_what_is_to_be_told_whole_the_end_is_an_error(
    accounts: Accounts, caller: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "EVERY_SECONDS", 0.05)
    read = LogStore.export

    async def slow(store: LogStore, wanted: LogFilter) -> AsyncGenerator[Any]:
        async for batch in read(store, wanted):
            yield batch
        await asyncio.Event().wait()

    monkeypatch.setattr(LogStore, "export", slow)
    await LogStore(accounts.stores.logs, accounts.stores.settings.namespace).append([entry(1)])
    reader = await caller("ops", Scope.LOGS_READ)
    exported = asyncio.create_task(reader.get("/v1/logs/export"))
    await asyncio.wait([exported], timeout=0.3)
    assert not exported.done()
    await clients.enable_client(accounts.stores, "ops", enabled=False, by="test", reason="x")
    lines = (await asyncio.wait_for(exported, 10)).text.splitlines()
    assert (len(lines), CUT_OFF in lines[-1]) == (2, True)


async def test_whoever_may_not_change_a_user_does_not_sign_them_out(
    caller: Client, accounts: Accounts
) -> None:
    admin = await user_with(accounts, "grace@example.com", Role.ADMIN)
    await started(accounts, admin, "pwd")
    service = await caller("desk", Scope.USERS_WRITE)
    assert (await service.delete(f"/v1/users/{admin.id}/sessions")).status_code == 403
    assert len(await sessions.list_sessions(accounts.stores, admin.id)) == 1


@pytest.mark.parametrize("ended", [True, False])
async def test_a_token_of_a_session_that_has_ended_does_not_end_those_of_today(
    shop: httpx.AsyncClient, accounts: Accounts, ada: UserView, ended: bool
) -> None:
    old, _ = await started(accounts, ada, "pwd"), await started(accounts, ada, "pwd")
    if ended:
        await sessions.sign_out(accounts.stores, ada.id, old.session, by="test")
    body = {"refresh_token": old.refresh_token, "everywhere": True}
    assert (await shop.post("/v1/auth/logout", json=body)).status_code == 204
    assert len(await sessions.list_sessions(accounts.stores, ada.id)) == ended
