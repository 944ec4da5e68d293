"""What happens while a password is looked at, and what is left where it ends half-way."""

from base64 import b64encode
from uuid import UUID

import pytest

from app.accounts import clients, credentials, sessions, users
from app.accounts.bootstrap import first_admin
from app.accounts.links import LinkRefusedError
from app.accounts.permissions import Role
from app.accounts.service import Accounts
from app.accounts.sessions import MOST_OPEN, Origin
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.users import Profile
from app.accounts.views import Status, UserView
from app.errors import BusyError, ConflictError, StoreUnavailableError
from app.stores.connections import Stores, open_stores
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Mailbox, Time, create_user, facts

THIEFS, OWNERS = "what a thief would like best", "what the owner has in mind"
KEYS = {
    name: f"first:{b64encode(each * 32).decode()}"
    for name, each in (("password_peppers", b"1"), ("encryption_keys", b"2"))
}


async def signs_in(accounts: Accounts, password: str, email: str = "ada@example.com") -> bool:
    try:
        await sign_in(accounts, Credentials(email, password), SHOP)
    except SignInRefusedError:
        return False
    return True


@pytest.mark.parametrize("what", ["a reset", "a lock", "the end of the session"])
async def test_who_sets_a_password_while_another_changes_it_has_the_last_word(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch, what: str, mails: Mailbox
) -> None:
    hashed = accounts.hashing.hash
    session = (await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)).session
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)

    async def slowly(password: str) -> str:
        monkeypatch.setattr(accounts.hashing, "hash", hashed)
        if what == "a reset":
            await credentials.reset_password(accounts, mails.links[0].token, OWNERS, by="client:shop")
        elif what == "a lock":
            await users.move_user(
                accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY
            )
        else:
            await sessions.sign_out(accounts.stores, ada.id, session, by="test")
        return await hashed(password)

    monkeypatch.setattr(accounts.hashing, "hash", slowly)
    keep = session if what == "the end of the session" else None
    with pytest.raises(ConflictError):
        await credentials.change_password(accounts, ada.id, PASSWORD, THIEFS, keep=keep, by="test")
    await accounts.stores.core.execute("UPDATE users SET status = 'active'")
    assert not await signs_in(accounts, THIEFS)
    assert await signs_in(accounts, OWNERS if what == "a reset" else PASSWORD)


async def test_a_link_that_is_used_twice_at_the_same_time_sets_one_password(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch, mails: Mailbox
) -> None:
    hashed = accounts.hashing.hash
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    token = mails.links[0].token

    async def slowly(password: str) -> str:
        monkeypatch.setattr(accounts.hashing, "hash", hashed)
        await credentials.reset_password(accounts, token, OWNERS, by="client:shop")
        return await hashed(password)

    monkeypatch.setattr(accounts.hashing, "hash", slowly)
    with pytest.raises(LinkRefusedError):
        await credentials.reset_password(accounts, token, THIEFS, by="client:shop")
    assert await signs_in(accounts, OWNERS)


async def test_nobody_is_added_without_the_password_that_was_given(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(_: str) -> str:
        raise BusyError("full", retry_after=2)

    async def invite() -> UserView:
        return await credentials.invite(
            accounts, Profile("bob@example.com"), PASSWORD, by="test", may_grant=EVERY
        )

    with monkeypatch.context() as patched:
        patched.setattr(accounts.hashing, "hash", busy)
        with pytest.raises(BusyError):
            await invite()
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM users") == 0
    assert (await invite()).status is Status.ACTIVE
    assert await signs_in(accounts, PASSWORD, "bob@example.com")


@pytest.fixture
async def narrow(stores: Stores):
    """Stores with one connection to the core DB."""
    changed = KEYS | {"password_memory_kib": 19 * 1024, "pool_size": 1}
    settings = type(stores.settings).model_validate(stores.settings.model_dump() | changed)
    async with open_stores(settings) as opened:
        yield opened


class Killed(BaseException):
    """The process has ended."""


ROOT = Profile("root@example.com", roles=[Role.ADMIN])


@pytest.mark.parametrize("place", ["keep", "insert_client", "insert_credential"])
async def test_the_first_admin_is_made_with_all_that_belongs_to_it_or_not_at_all(
    narrow: Stores, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    async def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(credentials if place == "keep" else clients, place, killed)
        with pytest.raises(Killed):
            await first_admin(narrow, ROOT, PASSWORD)
    made = await first_admin(narrow, ROOT, PASSWORD)
    assert (made.user.status, made.secret is not None) == (Status.ACTIVE, True)
    assert (await facts(narrow)).count("user:create") == 1


async def test_an_admin_who_cannot_sign_in_keeps_nobody_from_making_one(narrow: Stores) -> None:
    pending = Profile("pending@example.com", roles=[Role.ADMIN])
    await create_user(narrow, pending)
    assert (await first_admin(narrow, ROOT, PASSWORD)).user.email == "root@example.com"
    with pytest.raises(ConflictError, match="there is an admin already"):
        await first_admin(narrow, Profile("other@example.com", roles=[Role.ADMIN]), PASSWORD)


async def test_of_too_many_sessions_the_oldest_ends(accounts: Accounts, ada: UserView, time: Time) -> None:
    core = accounts.stores.core

    async def start() -> UUID:
        async with core.acquire() as connection, connection.transaction():
            return (await sessions.start(connection, ada.id, Origin("shop", ["pwd"]), time())).session

    async def ended() -> list[UUID]:
        rows = await core.fetch("SELECT id FROM sessions WHERE ended_at IS NOT NULL ORDER BY id")
        return [row["id"] for row in rows]

    started = [await start() for _ in range(MOST_OPEN + 2)]
    assert await ended() == started[:2]
    assert (await facts(accounts.stores)).count("session:end") == 2
    await core.execute("UPDATE refresh_tokens SET expires_at = created_at")  # idle: nobody is in them
    await start()
    assert await ended() == started[:2]


async def test_nobody_is_signed_in_without_being_told_by_which_tokens(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> None:
        raise StoreUnavailableError("the core DB has gone away")

    with monkeypatch.context() as patched:
        patched.setattr(accounts.tokens.keys, "signing", away)
        with pytest.raises(StoreUnavailableError):
            await signs_in(accounts, PASSWORD)
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM sessions") == 0
