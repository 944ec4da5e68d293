"""What is over goes after its time and no sooner; nobody waits for it, and it holds up nothing."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from loguru import logger

from app.accounts import credentials, emails, sessions
from app.accounts.encryption import safe_of
from app.accounts.housekeeping import keep_house
from app.accounts.secrets import hash_of
from app.accounts.service import Accounts
from app.accounts.sessions import Origin, RefreshRefusedError, SignedIn, refresh
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.token_keys import AFTERWARDS, USED, TokenKeys
from app.accounts.users import delete_user
from app.accounts.views import UserView
from app.stores.connections import Stores
from config.log_entries import entry_of
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Time, facts

DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def logged() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Events of housekeeping with their fields, as they arrive in the log store."""
    entries: list[tuple[str, dict[str, Any]]] = []

    def keep(message: Any) -> None:
        entry = entry_of(message.record, "test", 1)
        entries.append((entry.event, entry.fields))

    sink = logger.add(keep, filter="app.accounts.housekeeping", catch=False)
    yield entries
    logger.remove(sink)


async def trimmed(stores: Stores, time: Time) -> dict[str, int]:
    """What is forgotten now, but for keys of tokens, of which every sign-in makes one."""
    gone = await keep_house(stores, time)
    return {kind: number for kind, number in gone.items() if number and kind != "keys"}


async def signed_in(accounts: Accounts, user: UserView) -> SignedIn:
    """Ada signs in through the shop, which refreshes once."""
    async with accounts.stores.core.acquire() as connection, connection.transaction():
        started = await sessions.start(connection, user.id, Origin(SHOP.name, ["pwd"]), accounts.clock())
    return await refresh(accounts, started.refresh_token, SHOP.name, SHOP.scopes)


async def try_wrongly(accounts: Accounts, email: str) -> None:
    with pytest.raises(SignInRefusedError):
        await sign_in(accounts, Credentials(email, "wrong"), SHOP)


async def left(stores: Stores, table: str) -> int:
    return int(await stores.core.fetchval(f"SELECT count(*) FROM {table}"))


async def test_a_session_goes_with_its_tokens_thirty_days_after_it_could_have_lasted(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores, logged: list
) -> None:
    gone = await signed_in(accounts, ada)
    await sessions.sign_out(stores, ada.id, gone.session, by="test")
    time.passes(MINUTE)
    await signed_in(accounts, ada)
    time.passes(sessions.ABSOLUTE + 30 * DAY - 2 * MINUTE)
    assert await trimmed(stores, time) == {}
    time.passes(MINUTE + MINUTE / 2)
    assert await trimmed(stores, time) == {"refreshes": 2, "sessions": 1}
    assert [await left(stores, each) for each in ("sessions", "refresh_tokens")] == [1, 2]
    told = logged[-1][1]
    assert (logged[-1][0], told["refreshes"], told["links"]) == ("accounts.trimmed", 2, 0)
    with pytest.raises(RefreshRefusedError):
        await refresh(accounts, gone.refresh_token, SHOP.name, SHOP.scopes)


async def test_a_token_that_was_used_is_known_again_as_long_as_its_session_may_last(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores
) -> None:
    first = await signed_in(accounts, ada)
    await refresh(accounts, first.refresh_token, SHOP.name, SHOP.scopes)
    time.passes(sessions.ABSOLUTE - MINUTE)
    assert await trimmed(stores, time) == {}
    with pytest.raises(RefreshRefusedError):
        await refresh(accounts, first.refresh_token, SHOP.name, SHOP.scopes)
    assert (await facts(stores))[-1] == "session:replay"


async def test_a_session_whose_token_somebody_holds_waits_and_holds_up_no_other(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores, logged: list
) -> None:
    held = await signed_in(accounts, ada)
    await signed_in(accounts, ada)
    time.passes(32 * DAY)
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute(
            "SELECT FROM refresh_tokens WHERE token_hash = $1 FOR UPDATE", hash_of(held.refresh_token)
        )
        assert await trimmed(stores, time) == {"refreshes": 3, "sessions": 1}
    assert await trimmed(stores, time) == {"refreshes": 1, "sessions": 1}
    assert "accounts.kept" not in [event for event, _ in logged]


async def test_wrong_tries_are_forgotten_of_addresses_that_nobody_has(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores
) -> None:
    for email in ("Ada@Example.com", "nobody@example.com", "no address"):
        await try_wrongly(accounts, email)
    time.passes(30 * DAY)
    await try_wrongly(accounts, "another@example.com")
    assert await trimmed(stores, time) == {}
    time.passes(MINUTE)
    assert await trimmed(stores, time) == {"failures": 2}
    await delete_user(accounts, ada.id, by="test", reason="asked", may_grant=EVERY)
    assert await trimmed(stores, time) == {}
    assert await left(stores, "sign_in_failures") == 1


async def test_a_hundred_wrong_tries_of_a_user_are_never_forgotten(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores
) -> None:
    await try_wrongly(accounts, "ada@example.com")
    await stores.core.execute("UPDATE sign_in_failures SET failures = 100")
    time.passes(365 * DAY)
    await keep_house(stores, time)
    with pytest.raises(SignInRefusedError):
        await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)


async def test_links_and_assertions_go_once_they_are_over(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores
) -> None:
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    await emails.send_verification(accounts, ada.id, by="test")
    await stores.core.execute(
        "INSERT INTO client_assertions VALUES ('shop', 'a', $1)", time() + timedelta(minutes=5)
    )
    time.passes(timedelta(minutes=10))
    assert await trimmed(stores, time) == {}
    time.passes(MINUTE)
    assert await trimmed(stores, time) == {"assertions": 1}
    time.passes(timedelta(hours=1))
    assert await trimmed(stores, time) == {"links": 1}
    time.passes(DAY)
    assert await trimmed(stores, time) == {"links": 1}


async def test_where_nobody_signs_in_the_next_key_is_published_a_day_before_it_signs(
    time: Time, stores: Stores
) -> None:
    await keep_house(stores, time)  # which finds no key at all
    time.passes(USED - DAY - timedelta(hours=2))
    for _ in range(2):
        await keep_house(stores, time)
        time.passes(timedelta(hours=1))
    keys = TokenKeys(stores.core, safe_of(stores.settings), time)
    first, following = await keys.public()
    assert (await keys.signing()).id == first["kid"]
    time.passes(DAY + AFTERWARDS)
    assert (await keep_house(stores, time))["keys"] == 0
    time.passes(timedelta(hours=1, minutes=1))
    assert (await keep_house(stores, time))["keys"] == 1
    assert [each["kid"] for each in await keys.public()] == [following["kid"]]


async def test_what_cannot_be_done_is_logged_and_holds_up_nothing_else(
    accounts: Accounts, ada: UserView, time: Time, stores: Stores, logged: list
) -> None:
    await signed_in(accounts, ada)
    await try_wrongly(accounts, "nobody@example.com")
    await stores.core.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER refused BEFORE DELETE ON refresh_tokens FOR EACH ROW EXECUTE FUNCTION refuse()
        """
    )
    time.passes(32 * DAY)
    without = stores.settings.model_copy(update={"encryption_keys": None})
    assert await trimmed(replace(stores, settings=without), time) == {"failures": 1}
    assert [event for event, _ in logged] == ["accounts.kept", "accounts.trimmed", "renewal.failed"]
    assert (logged[0][1]["kind"], logged[0][1]["fault"]) == ("refreshes", "RaiseError")
