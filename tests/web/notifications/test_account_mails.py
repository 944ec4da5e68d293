"""Mails about accounts: they bring a secret, which nobody else is shown."""

from typing import Any

import httpx
import msgspec
import pytest

from app.accounts import credentials
from app.accounts.service import Accounts
from app.accounts.views import UserView
from app.notifications.account_mails import deliver_by_mail
from app.notifications.installing import ensure_shipped
from app.notifications.letters import place_of
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.accounts.conftest import PASSWORD
from tests.web.accounts.conftest import accounts, ada, caller, shop, time, web  # noqa: F401  (fixtures)

PAGE = "https://shop.example/account?for={purpose}&token={token}"
NEW = "another long enough secret"


@pytest.fixture
def settings_of_test(settings_of_test: Settings) -> Settings:
    return settings_of_test.model_copy(update={"account_link_url": PAGE})


async def written(accounts: Accounts, email: str = "ada@example.com") -> dict[str, Any]:  # noqa: F811
    """The latest mail to an address, with what it is filled with."""
    row = await accounts.stores.core.fetchrow(
        "SELECT * FROM notifications WHERE email_key = $1 ORDER BY id DESC LIMIT 1", email
    )
    filled = msgspec.json.decode(accounts.safe.open(row["locked_data"], place=place_of(email)))
    return {**row, "filled": filled}


def token_of(mail: dict[str, Any]) -> str:
    return str(mail["filled"]["link"].partition("token=")[2])


async def test_a_password_is_set_by_the_link_of_the_mail_and_nobody_else_is_shown_it(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    woken: list[Any],
    logged: list[dict[str, Any]],
) -> None:
    asked = await shop.post("/v1/auth/password-reset", json={"email": "ADA@example.com"})
    assert asked.status_code == 204
    mail = await written(accounts)
    assert (mail["template"], mail["kind"], mail["recipient_id"]) == ("reset-password", "security", ada.id)
    assert mail["not_after"] == accounts.clock() + credentials.LIFETIMES["reset"]
    assert mail["filled"]["link"].startswith("https://shop.example/account?for=reset&token=acl_")
    assert "first" not in mail["filled"]
    assert woken == ["delivery"]

    token = token_of(mail)
    story = await shop.get(f"/v1/notifications/{mail['id']}")
    assert (story.json()["data"], story.json()["body"]) == (None, None)
    audit = await accounts.stores.core.fetch("SELECT entry FROM audit_outbox")
    assert mail["data"] is None
    assert all(token not in str(each) for each in (story.text, audit, logged, mail["locked_data"]))
    done = await shop.post("/v1/auth/password-reset/confirm", json={"token": token, "password": NEW})
    assert done.status_code == 204


async def test_who_is_invited_sets_a_first_password_and_proves_the_address_later(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
) -> None:
    user = (await shop.post("/v1/users", json={"email": "eve@example.com", "given_name": "E" * 150})).json()
    mail = await written(accounts, "eve@example.com")
    assert (mail["filled"]["first"], mail["filled"]["given_name"]) == (True, "E" * 100)
    assert (await shop.post(f"/v1/users/{user['id']}/password-reset")).status_code == 204
    assert (await written(accounts, "eve@example.com"))["id"] != mail["id"]


async def test_an_address_is_proven_by_the_link_of_the_mail(
    shop: httpx.AsyncClient,  # noqa: F811
    caller: Any,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
) -> None:
    signed_in = await shop.post("/v1/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    me = await caller(token=signed_in.json()["access_token"])
    assert (await me.post("/v1/me/email-verification")).status_code == 204
    mail = await written(accounts)
    assert mail["template"] == "verify-email"
    proof = await shop.post("/v1/auth/email-verification/confirm", json={"token": token_of(mail)})
    assert proof.status_code == 204
    assert (await me.get("/v1/me")).json()["email"] == ada.email
    assert (await me.get("/v1/me")).json()["email_verified_at"]


@pytest.mark.usefixtures("ada")
async def test_there_is_no_link_without_its_mail(accounts: Accounts, stores: Stores) -> None:  # noqa: F811
    await ensure_shipped(stores.settings)
    deliver = deliver_by_mail(accounts)

    async def dies(*given: Any) -> None:
        await deliver(*given)
        raise OSError("the process dies here")

    with pytest.raises(OSError, match="dies here"):
        await credentials.ask_reset(accounts, "ada@example.com", by="test", deliver=dies)
    for table in ("account_links", "notifications", "notification_batches"):
        assert await stores.core.fetchval(f"SELECT count(*) FROM {table}") == 0
