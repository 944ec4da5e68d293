"""Links in mails: whom they go to, how long they are good, and what is written for nobody."""

from datetime import timedelta

import pytest

from app.accounts import credentials, emails, users
from app.accounts.addresses import address
from app.accounts.links import LinkRefusedError
from app.accounts.service import Accounts
from app.accounts.users import ProfileChange
from app.accounts.views import UserView
from tests.app.accounts.conftest import EVERY, Mailbox, Time, facts, user_with

NEW = "another long enough secret"


async def asked(accounts: Accounts, email: str = "ada@example.com") -> None:
    await credentials.ask_reset(accounts, email, client_ip="192.0.2.1", by="client:shop")


async def test_who_keeps_asking_takes_away_no_link_that_was_just_opened(
    accounts: Accounts, ada: UserView, time: Time, mails: Mailbox
) -> None:
    for _ in range(8):
        await asked(accounts)
        time.passes(timedelta(seconds=1))
    await credentials.reset_password(accounts, mails.links[0].token, NEW, by="client:shop")
    with pytest.raises(LinkRefusedError):  # and all others with it
        await credentials.reset_password(accounts, mails.links[3].token, NEW, by="client:shop")


async def test_the_same_is_written_for_an_address_that_nobody_has(
    accounts: Accounts, ada: UserView, mails: Mailbox
) -> None:
    stores, before = accounts.stores, len(await facts(accounts.stores))
    for email in ("ada@example.com", "nobody@example.com", "no address", ""):
        for _ in range(4):
            await asked(accounts, email)
    assert [link.email for link in mails.links] == ["ada@example.com"] * 4
    kept = await stores.core.fetch(
        "SELECT user_id, count(*) FROM account_links GROUP BY user_id, address_hash"
    )
    assert sorted((row["user_id"] is None, row["count"]) for row in kept) == [(False, 4)] + [(True, 4)] * 3
    assert (await facts(stores))[before:] == ["password:ask-reset"] * 16
    everything = await stores.core.fetchval(
        "SELECT string_agg(t::text, ' ') FROM account_links t WHERE user_id IS NULL"
    )
    assert "nobody" not in everything


async def test_a_link_proves_the_address_that_it_was_sent_to_and_no_other(
    accounts: Accounts, mails: Mailbox
) -> None:
    eve = await user_with(accounts, "eve@example.com")
    await emails.send_verification(accounts, eve.id, by="test")
    change = ProfileChange(email="EVE@example.com")  # the same user's, and another mailbox for some
    await users.change_user(accounts, eve.id, change, by="test", may_grant=EVERY)
    assert address("EVE@example.com").key == address("eve@example.com").key
    with pytest.raises(LinkRefusedError):
        await emails.verify_email(accounts, mails.links[0].token, by="client:shop")


async def test_who_brought_a_link_is_named(accounts: Accounts, ada: UserView, mails: Mailbox) -> None:
    await emails.send_verification(accounts, ada.id, by=f"user:{ada.id}")
    await emails.verify_email(accounts, mails.links[0].token, by="client:shop")
    await asked(accounts)
    await credentials.reset_password(accounts, mails.links[1].token, NEW, by="client:shop")
    rows = await accounts.stores.core.fetch(
        "SELECT entry ->> 'name' AS name, entry ->> 'actor' AS actor FROM audit_outbox ORDER BY position DESC LIMIT 4"
    )
    assert [(row["name"].removeprefix("accounts:"), row["actor"]) for row in reversed(rows)] == [
        ("email:ask-verification", f"user:{ada.id}"),
        ("email:verify", "client:shop"),
        ("password:ask-reset", "client:shop"),
        ("password:set", "client:shop"),
    ]
