"""The first admin, and the client of a system's commands."""

from base64 import b64encode
from contextlib import closing

import pytest

from app.accounts import clients, users
from app.accounts.bootstrap import ensure_client, ensure_console, first_admin
from app.accounts.client_authentication import ClientDesk
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.users import Profile
from app.errors import ConflictError, InvalidInputError
from app.stores.connections import Stores
from tests.app.accounts.conftest import PASSWORD, Mailbox, facts

KEY = f"first:{b64encode(b'1' * 32).decode()}"
OTHER = f"first:{b64encode(b'2' * 32).decode()}"


@pytest.fixture
def keyed(stores: Stores) -> Stores:
    own = {"password_peppers": KEY, "encryption_keys": OTHER, "password_memory_kib": 19 * 1024}
    settings = type(stores.settings).model_validate(stores.settings.model_dump() | own)
    return Stores(**{**vars(stores), "settings": settings})


async def test_the_first_admin_is_made_once_with_a_client_to_sign_in_through(keyed: Stores) -> None:
    await ensure_console(keyed)  # through which no command signs in
    made = await first_admin(keyed, Profile("root@example.com", roles=[Role.ADMIN]), PASSWORD)
    assert (made.user.roles, made.user.status) == ([Role.ADMIN], "active")
    client = await ClientDesk(keyed.core, ()).by_secret(made.client, made.secret or "")
    assert set(client.scopes) == set(Scope)
    with pytest.raises(ConflictError, match="there is an admin already"):
        await first_admin(keyed, Profile("other@example.com", roles=[Role.ADMIN]), PASSWORD)


async def test_a_bad_password_makes_no_admin(keyed: Stores) -> None:
    with pytest.raises(InvalidInputError):
        await first_admin(keyed, Profile("root@example.com", roles=[Role.ADMIN]), "passwordpassword")
    assert (await users.list_users(keyed)).items == []
    assert await keyed.core.fetchval("SELECT count(*) FROM clients") == 0


async def test_a_deleted_admin_leaves_room_for_a_first_one(keyed: Stores) -> None:
    made = await first_admin(keyed, Profile("root@example.com", roles=[Role.ADMIN]), PASSWORD)
    with closing(Accounts.of(keyed, Mailbox())) as accounts:
        await users.delete_user(accounts, made.user.id, by="test", reason="x", may_grant=frozenset(Role))
    again = await first_admin(keyed, Profile("next@example.com", roles=[Role.ADMIN]), PASSWORD)
    assert (again.client, again.secret) == (made.client, None)


async def test_the_client_of_the_commands_is_there_after_every_start(stores: Stores) -> None:
    for _ in range(2):
        await ensure_client(stores.settings, "astrocore", "acs_secret", Scope)
    assert await facts(stores) == ["client:create"]
    await ensure_client(stores.settings, "astrocore", "acs_secret", [Scope.LOGS_READ])
    client = await ClientDesk(stores.core, ()).by_secret("astrocore", "acs_secret")
    assert client.scopes == [Scope.LOGS_READ]


async def test_the_console_is_a_client_from_the_first_start_on_and_stays_as_an_admin_wants_it(
    stores: Stores,
) -> None:
    await ensure_console(stores)
    await clients.change_scopes(stores, "console", [Scope.LOGS_READ], by="test", reason="x")
    await clients.enable_client(stores, "console", enabled=False, by="test", reason="x")
    await ensure_console(stores)
    console = await clients.get_client(stores, "console")
    assert (console.scopes, console.status) == ([Scope.LOGS_READ], "disabled")
