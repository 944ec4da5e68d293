"""Changing one's address."""

from dataclasses import replace
from uuid import UUID

import pytest

from app.accounts import emails, sessions, users
from app.accounts.credentials import ask_reset, change_password, reset_password
from app.accounts.limits import SignInLimits, TooManyAttemptsError
from app.accounts.links import LinkRefusedError
from app.accounts.mails import Link, Notice
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, sign_in
from app.accounts.users import ProfileChange
from app.accounts.views import Status, UserView
from app.errors import ConflictError, InvalidInputError
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Mailbox, Time, facts, user_with

OTHER = "Countess@example.com"
NEW = "another long enough secret"


async def asked(
    accounts: Accounts, user: UserView, *, email: str = OTHER, session: UUID | None = None
) -> list[Link]:
    """The links that were sent, the latest last."""
    await emails.ask_change(accounts, user.id, email, PASSWORD, session=session, by=f"user:{user.id}")
    assert isinstance(accounts.mails, Mailbox)
    return accounts.mails.links


async def address_of(accounts: Accounts, user: UserView) -> tuple[str | None, bool]:
    found = await users.get_user(accounts.stores, user.id)
    return found.email, found.email_verified_at is not None


async def test_an_address_changes_once_the_link_to_it_is_used_and_the_old_one_is_told(
    accounts: Accounts, ada: UserView, mails: Mailbox, time: Time
) -> None:
    mails.notices.clear()  # that of the first password
    here, there = [await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP) for _ in range(2)]
    await ask_reset(accounts, "ada@example.com", client_ip=None, by="client:shop")
    reset, link = await asked(accounts, ada, session=here.session)
    assert (link.email, await address_of(accounts, ada)) == (OTHER, ("ada@example.com", False))
    assert await emails.confirm_change(accounts, link.token, by="client:shop") == ada.id
    assert await address_of(accounts, ada) == (OTHER, True)
    assert mails.notices == [Notice("email", ada.id, "ada@example.com", time())]
    assert await sessions.is_alive(accounts.stores, here.session)
    assert not await sessions.is_alive(accounts.stores, there.session)
    for used in (link, reset):
        with pytest.raises(LinkRefusedError):
            await emails.confirm_change(accounts, used.token, by="client:shop")
    await sign_in(accounts, Credentials("countess@example.com", PASSWORD), SHOP)
    assert [each for each in await facts(accounts.stores) if each.startswith("email:")] == [
        "email:ask-change",
        "email:change",
    ]


async def test_nobody_is_told_that_an_address_is_taken_and_it_stays_whose_it_is(
    accounts: Accounts, ada: UserView
) -> None:
    await user_with(accounts, "countess@example.com")
    assert await asked(accounts, ada) == []
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM account_links") == 1


async def test_of_two_who_want_an_address_the_first_to_prove_it_gets_it(
    accounts: Accounts, ada: UserView
) -> None:
    bob = await user_with(accounts, "bob@example.com")
    await asked(accounts, ada)
    first, second = await asked(accounts, bob)
    await emails.confirm_change(accounts, second.token, by="client:shop")
    with pytest.raises(LinkRefusedError):
        await emails.confirm_change(accounts, first.token, by="client:shop")
    assert await address_of(accounts, ada) == ("ada@example.com", False)


async def test_a_session_alone_changes_no_address(accounts: Accounts, ada: UserView) -> None:
    for email, password, where in ((OTHER, "wrong", "password"), ("no address", PASSWORD, "email")):
        with pytest.raises(InvalidInputError) as told:
            await emails.ask_change(accounts, ada.id, email, password, session=None, by="test")
        assert [each.where for each in told.value.faults] == [where]
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM account_links") == 0


async def test_nobody_has_many_mails_sent(accounts: Accounts, ada: UserView) -> None:
    limits = SignInLimits(
        accounts.stores.broker, accounts.stores.settings.namespace, accounts.hashing.pseudonym
    )
    limited = replace(accounts, limits=limits)
    await emails.send_verification(limited, ada.id, by="test")
    for call in (emails.send_verification(limited, ada.id, by="test"), asked(limited, ada)):
        with pytest.raises(TooManyAttemptsError):
            await call


@pytest.mark.parametrize(
    "what", ["a reset", "a password", "another address", "the end of the session", "a lock", "everywhere"]
)
async def test_a_change_that_a_thief_asked_for_ends_when_the_owner_takes_the_account_back(
    accounts: Accounts, ada: UserView, mails: Mailbox, what: str
) -> None:
    stores = accounts.stores
    session = (await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)).session
    (link,) = await asked(accounts, ada, session=session)
    match what:
        case "a reset":
            await ask_reset(accounts, "ada@example.com", client_ip=None, by="client:shop")
            await reset_password(accounts, mails.links[1].token, NEW, by="client:shop")
        case "a password":
            await change_password(accounts, ada.id, PASSWORD, NEW, keep=session, by="test")
        case "another address":
            change = ProfileChange(email="mine@example.com")
            await users.change_user(accounts, ada.id, change, by="test", may_grant=EVERY)
        case "the end of the session":
            await sessions.sign_out(stores, ada.id, session, by="test")
        case "a lock":
            for status in (Status.LOCKED, Status.ACTIVE):
                await users.move_user(stores, ada.id, status, by="test", reason="x", may_grant=EVERY)
        case _:
            await sessions.sign_out_everywhere(stores, ada.id, by="test", may_grant=EVERY)
    with pytest.raises(LinkRefusedError):
        await emails.confirm_change(accounts, link.token, by="client:shop")


@pytest.mark.parametrize("what", ["the end of the session", "another password"])
async def test_who_is_out_meanwhile_asks_for_no_other_address(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    session = (await sign_in(accounts, Credentials("ada@example.com", PASSWORD), SHOP)).session
    take_mail = accounts.limits.take_mail

    async def slowly(key: str) -> object:
        if what == "another password":
            await change_password(accounts, ada.id, PASSWORD, NEW, keep=session, by="test")
        else:
            await sessions.sign_out(accounts.stores, ada.id, session, by="test")
        return await take_mail(key)

    monkeypatch.setattr(accounts.limits, "take_mail", slowly)
    with pytest.raises(ConflictError):
        await asked(accounts, ada, session=session)
    assert await accounts.stores.core.fetchval("SELECT count(*) FROM account_links") == 0
