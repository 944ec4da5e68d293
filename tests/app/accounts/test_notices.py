"""What users are told of that was changed about their account, wherever it was changed."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from app.accounts import credentials, devices, emails, users
from app.accounts.mails import Link, Notice, What
from app.accounts.service import Accounts
from app.accounts.users import Profile, ProfileChange
from app.accounts.views import UserView
from app.errors import ConflictError, InvalidInputError, StoreUnavailableError
from tests.app.accounts.conftest import EVERY, PASSWORD, Mailbox, Time
from tests.app.accounts.test_signing_in import device_of

ADA = "ada@example.com"
NEW = "another long enough secret"
OTHER = "countess@example.com"

Do = Callable[[Accounts, UserView, Mailbox], Awaitable[object]]


async def reset(accounts: Accounts, _: UserView, mails: Mailbox) -> None:
    await credentials.ask_reset(accounts, ADA, client_ip=None, by="test")
    await credentials.reset_password(accounts, mails.links[-1].token, NEW, by="test")


async def move(accounts: Accounts, ada: UserView, mails: Mailbox) -> None:
    await emails.ask_change(accounts, ada.id, OTHER, PASSWORD, session=None, by="test")
    await emails.confirm_change(accounts, mails.links[-1].token, by="test")


CHANGES: dict[str, tuple[What, Do]] = {
    "changed": ("password", lambda a, u, _: credentials.change_password(a, u.id, PASSWORD, NEW, keep=None, by="test")),
    "reset": ("password", reset),
    "moved": ("email", move),
    "moved by an operator": ("email", lambda a, u, _: users.change_user(a, u.id, ProfileChange(email=OTHER), by="test", may_grant=EVERY)),
}  # fmt: skip
OF_DEVICES: dict[str, tuple[What, Do]] = {
    "renewed": ("recovery-codes", lambda a, u, _: devices.renew_recovery_codes(a, u.id, session=None, by="test")),
    "removed": ("second-factor-removed", lambda a, u, _: devices.remove_own_device(a, u.id, session=None, by="test")),
    "removed by an operator": ("second-factor-removed", lambda a, u, _: devices.remove_device(a, u.id, by="test", reason="x", may_grant=EVERY)),
}  # fmt: skip


@pytest.mark.parametrize(("what", "do"), CHANGES.values(), ids=CHANGES)
async def test_a_user_is_told_of_another_password_and_at_the_old_address_of_another_one(
    *, accounts: Accounts, ada: UserView, mails: Mailbox, time: Time, what: What, do: Do
) -> None:
    mails.notices.clear()
    await do(accounts, ada, mails)
    assert mails.notices == [Notice(what, ada.id, ADA, time())]


@pytest.mark.parametrize(("what", "do"), OF_DEVICES.values(), ids=OF_DEVICES)
async def test_a_user_is_told_of_a_second_factor_that_comes_changes_or_goes(
    *, accounts: Accounts, ada: UserView, mails: Mailbox, time: Time, what: What, do: Do
) -> None:
    mails.notices.clear()
    await device_of(accounts, ada, time)
    assert [each.what for each in mails.notices] == ["second-factor-set"]
    mails.notices.clear()
    await do(accounts, ada, mails)
    assert mails.notices == [Notice(what, ada.id, ADA, time())]


async def test_nobody_is_told_of_what_was_refused_or_is_nothing_of_the_kind(
    accounts: Accounts, ada: UserView, mails: Mailbox
) -> None:
    await credentials.invite(accounts, Profile(OTHER), PASSWORD, by="test", may_grant=EVERY)
    mails.notices.clear()
    for call, error in (
        (credentials.change_password(accounts, ada.id, "wrong", NEW, keep=None, by="test"), InvalidInputError),
        (credentials.change_password(accounts, ada.id, PASSWORD, "short", keep=None, by="test"), InvalidInputError),
        (devices.remove_own_device(accounts, ada.id, session=None, by="test"), ConflictError),
        (users.change_user(accounts, ada.id, ProfileChange(email=OTHER), by="test", may_grant=EVERY), ConflictError),
    ):  # fmt: skip
        with pytest.raises(error):
            await call
    await users.change_user(accounts, ada.id, ProfileChange(given_name="A"), by="test", may_grant=EVERY)
    assert mails.notices == []


async def test_nothing_is_changed_that_its_user_cannot_be_told_of(
    accounts: Accounts, ada: UserView, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: Mailbox, __: asyncpg.Connection, ___: Link | Notice) -> None:
        raise StoreUnavailableError("nobody has said where mail goes")

    monkeypatch.setattr(Mailbox, "send", away)
    for call in (
        credentials.change_password(accounts, ada.id, PASSWORD, NEW, keep=None, by="test"),
        users.change_user(accounts, ada.id, ProfileChange(email=OTHER), by="test", may_grant=EVERY),
    ):
        with pytest.raises(StoreUnavailableError):
            await call
    assert await users.get_user(accounts.stores, ada.id) == ada
