"""Passwords, links and second factors, against real stores."""

from datetime import timedelta
from uuid import uuid4

import pytest

from app.accounts import credentials, devices, emails, users
from app.accounts.limits import TooManyAttemptsError
from app.accounts.links import LinkRefusedError
from app.accounts.service import Accounts
from app.accounts.signing_in import Credentials, SignInRefusedError, sign_in
from app.accounts.users import Profile, ProfileChange
from app.accounts.views import Status, UserView
from app.errors import ConflictError, InvalidInputError, NotFoundError
from tests.app.accounts.conftest import EVERY, PASSWORD, SHOP, Mailbox, Time, create_user, facts

NEW = "another long enough secret"


async def signs_in(accounts: Accounts, password: str, email: str = "ada@example.com") -> bool:
    try:
        await sign_in(accounts, Credentials(email, password), SHOP)
    except SignInRefusedError:
        return False
    return True


async def test_a_user_with_a_password_is_active(accounts: Accounts, ada: UserView) -> None:
    assert (ada.status, ada.password_changed_at is not None) == (Status.ACTIVE, True)
    assert "password:set" in await facts(accounts.stores)


@pytest.mark.parametrize("password", ["short", "passwordpassword", "ada@example.com-ada"])
async def test_a_bad_password_is_refused_with_the_reason_and_changes_nothing(
    accounts: Accounts, ada: UserView, password: str
) -> None:
    with pytest.raises(InvalidInputError) as told:
        await credentials.change_password(accounts, ada.id, PASSWORD, password, keep=None, by="test")
    assert {each.where for each in told.value.faults} == {"new_password"}
    assert await signs_in(accounts, PASSWORD)


async def test_changing_it_asks_for_the_old_one(accounts: Accounts, ada: UserView) -> None:
    with pytest.raises(InvalidInputError) as told:
        await credentials.change_password(accounts, ada.id, "wrong", NEW, keep=None, by="test")
    assert [each.where for each in told.value.faults] == ["old_password"]
    await credentials.change_password(accounts, ada.id, PASSWORD, NEW, keep=None, by="test")
    assert not await signs_in(accounts, PASSWORD)
    assert await signs_in(accounts, NEW)


async def test_a_link_sets_a_new_password_once(accounts: Accounts, ada: UserView, mails: Mailbox) -> None:
    await credentials.ask_reset(accounts, "ADA@example.com", client_ip=None, by="client:shop")
    (link,) = mails.links
    assert (link.user, link.email, link.purpose) == (ada.id, "ada@example.com", "reset")
    with pytest.raises(InvalidInputError):  # a password that is refused leaves the link as it was
        await credentials.reset_password(accounts, link.token, "short", by="client:shop")
    await credentials.reset_password(accounts, link.token, NEW, by="client:shop")
    assert await signs_in(accounts, NEW)
    assert (await users.get_user(accounts.stores, ada.id)).email_verified_at
    with pytest.raises(LinkRefusedError):
        await credentials.reset_password(accounts, link.token, PASSWORD, by="client:shop")
    assert await signs_in(accounts, NEW)


async def test_nobody_is_told_whether_an_address_is_known(
    accounts: Accounts, ada: UserView, mails: Mailbox
) -> None:
    await users.move_user(accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY)
    for email in ("ada@example.com", "nobody@example.com", "no address", ""):
        assert await credentials.ask_reset(accounts, email, client_ip=None, by="client:shop") is None
    assert mails.links == []


@pytest.mark.parametrize("what", ["ten minutes", "another address", "a lock", "a change"])
async def test_what_makes_a_link_good_no_more(
    accounts: Accounts, ada: UserView, time: Time, what: str, mails: Mailbox
) -> None:
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    match what:
        case "ten minutes":
            time.passes(timedelta(minutes=10))
        case "another address":
            change = ProfileChange(email="new@example.com")
            await users.change_user(accounts, ada.id, change, by="test", may_grant=())
        case "a lock":
            await users.move_user(
                accounts.stores, ada.id, Status.LOCKED, by="test", reason="x", may_grant=EVERY
            )
        case _:
            await credentials.change_password(accounts, ada.id, PASSWORD, NEW, keep=None, by="test")
    with pytest.raises(LinkRefusedError):
        await credentials.reset_password(
            accounts, mails.links[0].token, "yet another long secret", by="client:shop"
        )


async def test_links_are_kept_as_hashes(accounts: Accounts, ada: UserView, mails: Mailbox) -> None:
    await credentials.send_reset(accounts, ada.id, by="test", may_grant=EVERY)
    for table in ("account_links", "audit_outbox"):
        kept = await accounts.stores.core.fetchval(f"SELECT string_agg(t::text, ' ') FROM {table} t")
        assert mails.links[0].token not in kept


async def test_asking_for_links_is_limited_for_known_and_unknown_alike(
    accounts: Accounts, ada: UserView
) -> None:
    from dataclasses import replace

    from app.accounts.limits import Limit, SignInLimits

    limits = SignInLimits(
        accounts.stores.broker,
        accounts.stores.settings.namespace,
        accounts.hashing.pseudonym,
        mail=Limit(2, 2),
        mail_soon=Limit(9, 9),
    )
    limited = replace(accounts, limits=limits)
    for email in ("ada@example.com", "nobody@example.com"):
        for _ in range(2):
            await credentials.ask_reset(limited, email, client_ip=None, by="client:shop")
        with pytest.raises(TooManyAttemptsError):
            await credentials.ask_reset(limited, email, client_ip=None, by="client:shop")
    assert await signs_in(limited, PASSWORD)  # who floods the mailbox does not shut the door


async def test_an_address_is_proven_by_a_link_to_it(
    accounts: Accounts, ada: UserView, time: Time, mails: Mailbox
) -> None:
    await emails.send_verification(accounts, ada.id, by="test")
    with pytest.raises(LinkRefusedError):
        await credentials.reset_password(accounts, mails.links[0].token, NEW, by="client:shop")
    assert await emails.verify_email(accounts, mails.links[0].token, by="client:shop") == ada.id
    assert (await users.get_user(accounts.stores, ada.id)).email_verified_at == time()
    with pytest.raises(LinkRefusedError):
        await emails.verify_email(accounts, mails.links[0].token, by="client:shop")
    with pytest.raises(ConflictError):
        await emails.send_verification(accounts, ada.id, by="test")


async def test_a_device_counts_once_it_is_confirmed(accounts: Accounts, ada: UserView) -> None:
    with pytest.raises(ConflictError):
        await devices.confirm_device(accounts, ada.id, "000000", session=None, by="test")
    await devices.propose_device(accounts, ada.id, session=None, by="test")
    with pytest.raises(InvalidInputError):
        await devices.confirm_device(accounts, ada.id, "000000", session=None, by="test")
    assert await signs_in(accounts, PASSWORD)
    assert not (await users.get_user(accounts.stores, ada.id)).second_factor


async def test_the_key_of_a_device_is_encrypted(accounts: Accounts, ada: UserView) -> None:
    proposed = await devices.propose_device(accounts, ada.id, session=None, by="test")
    assert proposed.secret not in await accounts.stores.core.fetchval("SELECT users::text FROM users")


async def test_an_invited_user_sets_the_first_password_by_a_link(accounts: Accounts, mails: Mailbox) -> None:
    user = await create_user(accounts.stores, Profile("bob@example.com"))
    await credentials.send_reset(accounts, user.id, by="test", may_grant=EVERY)
    await credentials.reset_password(accounts, mails.links[0].token, NEW, by="client:shop")
    assert await signs_in(accounts, NEW, "bob@example.com")


async def test_unknown_users_are_not_found(accounts: Accounts) -> None:
    nobody = uuid4()
    for call in (
        credentials.change_password(accounts, nobody, PASSWORD, NEW, keep=None, by="test"),
        credentials.send_reset(accounts, nobody, by="test", may_grant=EVERY),
        emails.send_verification(accounts, nobody, by="test"),
        credentials.allow_sign_in(accounts, nobody, by="test", reason="x", may_grant=EVERY),
    ):
        with pytest.raises(NotFoundError):
            await call
