"""Users, against real stores."""

from uuid import uuid4

import asyncpg
import pytest

from app.accounts import users
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.users import Profile, ProfileChange
from app.accounts.views import Status, UserView
from app.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from app.stores.connections import Stores
from tests.app.accounts.conftest import EVERY, create_user


async def created(stores: Stores, email: str = "ada@example.com", **given: object) -> UserView:
    return await create_user(stores, Profile(email, **given))


async def facts(stores: Stores) -> list[tuple[str, str]]:
    rows = await stores.core.fetch(
        "SELECT entry ->> 'name' AS name, entry ->> 'key' AS key FROM audit_outbox WHERE entry ->> 'entity' = 'users' ORDER BY position"
    )
    return [(row["name"], row["key"]) for row in rows]


async def test_a_new_user_has_no_password_and_cannot_sign_in_yet(stores: Stores) -> None:
    user = await created(stores, "Ada@Example.COM", given_name="Ada", roles=[Role.CUSTOMER])
    assert (user.email, user.status, user.roles) == ("Ada@example.com", Status.PENDING, [Role.CUSTOMER])
    assert await users.get_user(stores, user.id) == user
    assert await facts(stores) == [("accounts:user:create", str(user.id))]


@pytest.mark.parametrize("other", ["ada@example.com", "ADA@EXAMPLE.COM", "Ada@example.com"])
async def test_an_address_belongs_to_one_user_however_it_is_spelled(stores: Stores, other: str) -> None:
    await created(stores, "ada@Example.com")
    with pytest.raises(ConflictError, match="another user has this address"):
        await created(stores, other)
    assert len(await facts(stores)) == 1


@pytest.mark.parametrize(
    "email", ["", "ada", "ada@", "@example.com", "a b@example.com", "ada@example.com\r\nBcc: x@y.org"]
)
async def test_what_is_no_address_is_refused(stores: Stores, email: str) -> None:
    with pytest.raises(InvalidInputError) as told:
        await created(stores, email)
    assert [each.where for each in told.value.faults] == ["email"]


async def test_nobody_gives_or_takes_roles_that_are_not_theirs_to_give(
    accounts: Accounts, stores: Stores
) -> None:
    some = {Role.CUSTOMER, Role.SUPPLIER}
    with pytest.raises(InvalidInputError) as told:
        await create_user(stores, Profile("a@example.com", roles=[Role.ADMIN]), may_grant=some)
    assert "admin" in told.value.faults[0].message
    user = await created(stores, roles=[Role.CUSTOMER])
    with pytest.raises(InvalidInputError):
        await users.change_user(
            accounts, user.id, ProfileChange(roles=[Role.CUSTOMER, Role.AUDITOR]), by="test", may_grant=some
        )
    changed = await users.change_user(
        accounts, user.id, ProfileChange(roles=[Role.SUPPLIER]), by="test", may_grant=some
    )
    assert changed.roles == [Role.SUPPLIER]


async def test_nobody_changes_users_beyond_their_reach(accounts: Accounts, stores: Stores) -> None:
    admin = await created(stores, roles=[Role.ADMIN, Role.CUSTOMER])
    some = {Role.CUSTOMER}
    for call in (
        users.change_user(
            accounts, admin.id, ProfileChange(email="mine@example.com"), by="test", may_grant=some
        ),
        users.move_user(stores, admin.id, Status.LOCKED, by="test", reason="x", may_grant=some),
        users.delete_user(accounts, admin.id, by="test", reason="x", may_grant=some),
    ):
        with pytest.raises(ForbiddenError):
            await call
    assert await users.get_user(stores, admin.id) == admin


async def test_a_change_is_told_without_what_is_personal(accounts: Accounts, stores: Stores) -> None:
    user = await created(stores)
    change = ProfileChange(family_name="Lovelace", email="countess@example.com", roles=[Role.SUPPLIER])
    changed = await users.change_user(accounts, user.id, change, by="test", may_grant=EVERY)
    assert (changed.email, changed.family_name, changed.version) == ("countess@example.com", "Lovelace", 2)
    told = await stores.core.fetchval("SELECT entry::text FROM audit_outbox ORDER BY position DESC LIMIT 1")
    assert '"roles": ["supplier"]' in told
    assert '"email"' in told
    assert "Lovelace" not in told
    assert "countess" not in told


async def test_a_user_has_a_language_or_none(accounts: Accounts, stores: Stores) -> None:
    user = await created(stores, locale="es-MX")
    assert (user.locale, (await created(stores, "bob@example.com")).locale) == ("es-MX", None)
    for wanted in ("pt-BR", None):
        change = ProfileChange(locale=wanted)
        changed = await users.change_user(accounts, user.id, change, by="test", may_grant=EVERY)
        assert (changed, changed.locale) == (await users.get_user(stores, user.id), wanted)
    told = await stores.core.fetchval("SELECT entry::text FROM audit_outbox ORDER BY position DESC LIMIT 1")
    assert '"locale"' in told


@pytest.mark.parametrize("locale", ["", "xx", "es_MX", "español"])
async def test_what_is_no_language_is_refused(accounts: Accounts, stores: Stores, locale: str) -> None:
    user = await created(stores)
    change = ProfileChange(locale=locale)
    for call in (
        created(stores, "bob@example.com", locale=locale),
        users.change_user(accounts, user.id, change, by="test", may_grant=EVERY),
    ):
        with pytest.raises(InvalidInputError) as told:
            await call
        assert [each.where for each in told.value.faults] == ["locale"]
    assert (await users.list_users(stores)).items == [user]


async def test_another_address_is_not_verified(accounts: Accounts, stores: Stores) -> None:
    user = await created(stores)
    await stores.core.execute("UPDATE users SET email_verified_at = now()")
    named = await users.change_user(
        accounts, user.id, ProfileChange(given_name="Ada"), by="test", may_grant=EVERY
    )
    assert named.email_verified_at
    moved = await users.change_user(
        accounts, user.id, ProfileChange(email="other@example.com"), by="test", may_grant=EVERY
    )
    assert moved.email_verified_at is None


async def test_a_change_of_nothing_changes_nothing(accounts: Accounts, stores: Stores) -> None:
    user = await created(stores, given_name="Ada")
    same = await users.change_user(
        accounts, user.id, ProfileChange(given_name="Ada", roles=[]), by="test", may_grant=EVERY
    )
    assert same == user
    assert len(await facts(stores)) == 1


async def test_who_saw_an_older_version_is_told(accounts: Accounts, stores: Stores) -> None:
    user = await created(stores)
    change = ProfileChange(given_name="Ada")
    await users.change_user(accounts, user.id, change, by="test", may_grant=EVERY, version=1)
    with pytest.raises(ConflictError, match="version 2, not 1"):
        await users.change_user(accounts, user.id, change, by="test", may_grant=EVERY, version=1)


async def test_a_taken_address_cannot_be_moved_to(accounts: Accounts, stores: Stores) -> None:
    await created(stores, "ada@example.com")
    other = await created(stores, "bob@example.com")
    with pytest.raises(ConflictError):
        await users.change_user(
            accounts, other.id, ProfileChange(email="ADA@example.com"), by="test", may_grant=EVERY
        )
    assert (await users.get_user(stores, other.id)).email == "bob@example.com"


async def session_of(stores: Stores, user: UserView) -> None:
    await stores.core.execute(
        "INSERT INTO clients (name, scopes, status, created_by) VALUES ('shop', '{}', 'active', 'test') ON CONFLICT DO NOTHING"
    )
    await stores.core.execute(
        """
        INSERT INTO sessions (user_id, client, methods, client_ip, device, created_at, used_at, expires_at)
        VALUES ($1, 'shop', '{pwd}', '192.0.2.7', 'a phone', now(), now(), now() + interval '1 day')
        """,
        user.id,
    )


@pytest.mark.parametrize("status", [Status.LOCKED, Status.DISABLED])
async def test_who_may_not_sign_in_any_more_is_signed_out(stores: Stores, status: Status) -> None:
    user = await created(stores)
    await session_of(stores, user)
    moved = await users.move_user(stores, user.id, status, by="test", reason="seen abroad", may_grant=EVERY)
    assert moved.status == status
    assert await stores.core.fetchval("SELECT ended_because FROM sessions") == f"the user is {status}"
    back = await users.move_user(
        stores, user.id, Status.ACTIVE, by="test", reason="it was them", may_grant=EVERY
    )
    assert back.status == Status.PENDING  # still without a password


async def test_no_status_is_reached_twice(stores: Stores) -> None:
    user = await created(stores)
    with pytest.raises(ConflictError, match="cannot become active"):
        await users.move_user(stores, user.id, Status.ACTIVE, by="test", reason="x", may_grant=EVERY)
    await users.move_user(stores, user.id, Status.DISABLED, by="test", reason="x", may_grant=EVERY)
    for status in (Status.DISABLED, Status.LOCKED):
        with pytest.raises(ConflictError):
            await users.move_user(stores, user.id, status, by="test", reason="x", may_grant=EVERY)


async def test_deleting_removes_what_is_personal_and_keeps_the_id(accounts: Accounts, stores: Stores) -> None:
    user = await created(
        stores,
        "ada@example.com",
        given_name="Ada",
        family_name="Lovelace",
        locale="es-MX",
        roles=[Role.ADMIN],
    )
    await session_of(stores, user)
    await users.delete_user(accounts, user.id, by="test", reason="asked for it", may_grant=EVERY)

    with pytest.raises(NotFoundError):
        await users.get_user(stores, user.id)
    kept = (await users.list_users(stores, status=Status.DELETED)).items
    assert [(each.id, each.email, each.given_name, each.roles) for each in kept] == [(user.id, None, "", [])]
    assert (await users.list_users(stores)).items == []
    everything = " ".join([await _texts(stores, table) for table in ("users", "sessions", "audit_outbox")])
    assert not [
        each for each in ("ada@", "Ada", "Lovelace", "es-MX", "192.0.2.7", "phone") if each in everything
    ]
    assert (await created(stores, "ada@example.com")).id != user.id


async def _texts(stores: Stores, table: str) -> str:
    return str(await stores.core.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t"))


async def test_users_are_found_by_what_they_are(stores: Stores) -> None:
    ada = await created(stores, "ada@example.com", roles=[Role.ADMIN, Role.OPERATOR])
    bob = await created(stores, "bob@example.com", roles=[Role.CUSTOMER])
    await users.move_user(stores, bob.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY)

    async def found(**wanted: object) -> list[object]:
        return [each.id for each in (await users.list_users(stores, **wanted)).items]

    assert await found() == [bob.id, ada.id]
    assert await found(role=Role.OPERATOR) == [ada.id]
    assert await found(status=Status.LOCKED) == [bob.id]
    assert await found(email="BOB@example.com") == [bob.id]
    with pytest.raises(InvalidInputError):
        await found(email="")
    first = await users.list_users(stores, limit=1)
    rest = await users.list_users(stores, limit=1, cursor=first.next_cursor)
    assert ([each.id for each in (*first.items, *rest.items)], rest.next_cursor) == ([bob.id, ada.id], None)


async def test_an_unknown_user_is_not_found(accounts: Accounts, stores: Stores) -> None:
    nobody = uuid4()
    with pytest.raises(NotFoundError):
        await users.get_user(stores, nobody)
    with pytest.raises(NotFoundError):
        await users.move_user(stores, nobody, Status.LOCKED, by="test", reason="x", may_grant=EVERY)
    with pytest.raises(NotFoundError):
        await users.delete_user(accounts, nobody, by="test", reason="x", may_grant=EVERY)


async def test_a_change_whose_fact_cannot_be_kept_is_none(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise asyncpg.PostgresError("the outbox is full")

    monkeypatch.setattr(users, "record", refuse)
    with pytest.raises(asyncpg.PostgresError):
        await created(stores)
    assert await stores.core.fetchval("SELECT count(*) FROM users") == 0
