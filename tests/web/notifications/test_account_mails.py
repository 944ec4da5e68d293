"""Mails about accounts: they bring a secret, which nobody else is shown."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import msgspec
import pyotp
import pytest
from litestar import Litestar

from app.accounts import credentials, emails, users
from app.accounts.links import LIFETIMES
from app.accounts.service import Accounts
from app.accounts.views import UserView
from app.clock import now
from app.notifications.addresses.suppressing import suppress
from app.notifications.asking.account_mails import AccountMails
from app.notifications.asking.triggering import FIRST
from app.notifications.delivering.claiming import claim
from app.notifications.delivering.letters import place_of
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.installing import ensure_shipped
from app.notifications.templates.rendering import render
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.accounts.conftest import EVERY, PASSWORD, SAFE, user_with
from tests.app.notifications.post import ask, make_template
from tests.web.accounts.conftest import accounts, ada, caller, shop, time, web  # noqa: F401  (fixtures)

PAGE = "https://shop.example/account?for={purpose}&token={token}"
NEW = "another long enough secret"
FROM = {"client_ip": "192.0.2.1"}


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


async def signed_in(shop: httpx.AsyncClient, caller: Any) -> httpx.AsyncClient:  # noqa: F811
    body = FROM | {"email": "ada@example.com", "password": PASSWORD}
    answer = await shop.post("/v1/auth/login", json=body)
    me: httpx.AsyncClient = await caller(token=answer.json()["access_token"])
    return me


def token_of(mail: dict[str, Any]) -> str:
    return str(mail["filled"]["link"].partition("token=")[2])


async def test_a_password_is_set_by_the_link_of_the_mail_and_nobody_else_is_shown_it(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    woken: list[Any],
    logged: list[dict[str, Any]],
) -> None:
    asked = await shop.post("/v1/auth/password-reset", json=FROM | {"email": "ADA@example.com"})
    assert asked.status_code == 204
    mail = await written(accounts)
    assert (mail["template"], mail["kind"], mail["recipient_id"]) == ("reset-password", "security", ada.id)
    assert mail["not_after"] == accounts.clock() + LIFETIMES["reset"]
    assert mail["priority"] == FIRST
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
    assert (await written(accounts))["filled"]["what"] == "password"
    assert woken == ["delivery", "delivery"]


@pytest.mark.parametrize(
    ("given", "greeted"),
    [
        ("Eve", "Eve"),
        ("E" * 101, None),
        ("it is locked, see https://evil.example", None),
        ("www.evil.example", None),
    ],
)
async def test_who_is_invited_sets_a_first_password_and_proves_the_address_later(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    given: str,
    greeted: str | None,
) -> None:
    user = (await shop.post("/v1/users", json={"email": "eve@example.com", "given_name": given})).json()
    mail = await written(accounts, "eve@example.com")
    assert (mail["filled"]["first"], mail["filled"].get("given_name")) == (True, greeted)
    assert (await shop.post(f"/v1/users/{user['id']}/password-reset")).status_code == 204
    assert (await written(accounts, "eve@example.com"))["id"] != mail["id"]


async def test_an_address_is_proven_by_the_link_of_the_mail(
    shop: httpx.AsyncClient,  # noqa: F811
    caller: Any,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
) -> None:
    me = await signed_in(shop, caller)
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

    class Dying(AccountMails):
        async def send(self, *given: Any) -> None:
            await super().send(*given)
            raise OSError("the process dies here")

    dying = replace(accounts, mails=Dying(stores.settings, SAFE))
    with pytest.raises(OSError, match="dies here"):
        await credentials.ask_reset(dying, "ada@example.com", client_ip=None, by="test")
    for table in ("account_links", "notifications", "notification_batches"):
        assert await stores.core.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_whoever_asks_for_another_address_is_asked_there_and_told_at_the_old_one(
    shop: httpx.AsyncClient,  # noqa: F811
    caller: Any,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    woken: list[Any],
) -> None:
    me = await signed_in(shop, caller)
    wanted = {"email": "countess@example.com", "password": PASSWORD}
    assert (await me.post("/v1/me/email", json=wanted)).status_code == 204
    mail = await written(accounts, "countess@example.com")
    assert (mail["template"], mail["filled"]["changing"]) == ("verify-email", True)
    proof = {"token": token_of(mail)}
    assert (await shop.post("/v1/auth/email-change/confirm", json=proof)).status_code == 204
    told = await written(accounts)
    assert (told["template"], told["recipient_id"], told["not_after"]) == ("account-notice", ada.id, None)
    assert told["filled"] == {"what": "email", "at": msgspec.to_builtins(accounts.clock())}
    assert woken == ["delivery", "delivery"]


async def test_who_takes_a_device_is_told_of_it_by_mail(
    shop: httpx.AsyncClient,  # noqa: F811
    caller: Any,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    woken: list[Any],
) -> None:
    me = await signed_in(shop, caller)
    device = pyotp.TOTP((await me.post("/v1/me/second-factor")).json()["secret"])
    assert woken == []
    body = {"code": device.at(accounts.clock())}
    assert (await me.post("/v1/me/second-factor/confirm", json=body)).status_code == 200
    assert (await written(accounts))["filled"]["what"] == "second-factor-set"
    assert woken == ["delivery"]


async def test_mails_are_in_the_language_of_their_user(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
) -> None:
    spoken = await shop.patch(f"/v1/users/{ada.id}", json={"locale": "es-MX"})
    assert (spoken.status_code, spoken.json()["locale"]) == (200, "es-MX")
    await shop.post("/v1/auth/password-reset", json=FROM | {"email": "ada@example.com"})
    link = await written(accounts)
    await shop.post("/v1/auth/password-reset/confirm", json={"token": token_of(link), "password": NEW})
    notice = await written(accounts)
    assert [await in_words(accounts, each) for each in (link, notice)] == [
        ("es", "Restablece tu contraseña de AstroBookings"),
        ("es", "AstroBookings: Se ha establecido una contraseña nueva"),
    ]
    eve = {"email": "eve@example.com", "locale": "pt-BR"}  # which there are no texts in
    assert (await shop.post("/v1/users", json=eve)).json()["locale"] == "pt-BR"
    assert (await in_words(accounts, await written(accounts, "eve@example.com")))[0] == "en"
    await shop.post("/v1/auth/password-reset", json=FROM | {"email": "nobody@example.com"})
    languages = await accounts.stores.core.fetch("SELECT locale FROM notifications WHERE email IS NULL")
    assert [each["locale"] for each in languages] == ["en"]


async def in_words(accounts: Accounts, mail: dict[str, Any]) -> tuple[str, str]:  # noqa: F811
    """The language that a mail goes out in, and its subject."""
    async with accounts.stores.core.acquire() as connection:
        template = await load_version(connection, mail["template"])
    rendered = render(template.content, mail["filled"], locale=mail["locale"])
    return rendered.locale, rendered.subject


# Whoever is deleted is forgotten.


async def contents(stores: Stores) -> list[bool]:
    """Of each mail whether anything is left of where it went and what it says."""
    rows = await stores.core.fetch(
        "SELECT email, email_key, data, locked_data FROM notifications ORDER BY id"
    )
    return [any(each is not None for each in row.values()) for row in rows]


async def test_the_mails_of_whoever_is_deleted_are_forgotten_and_do_not_go(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    stores: Stores,
) -> None:
    await make_template(stores)
    await user_with(accounts, "taken@example.com")
    async with stores.core.acquire() as connection:
        await suppress(connection, "ada@example.com", "digest", "unsubscribe", by="test", moment=now())
    held = replace(accounts, mails=AccountMails(stores.settings, SAFE))
    for email in ("taken@example.com", "new@example.com"):
        await emails.ask_change(held, ada.id, email, PASSWORD, session=None, by="test")
    await credentials.send_reset(held, ada.id, by="test", may_grant=EVERY)
    await ask(stores, "ADA@example.com")
    await ask(stores, "bob@example.com")
    assert await contents(stores) == [True] * 5

    assert (await shop.delete(f"/v1/users/{ada.id}", params={"reason": "asked"})).status_code == 204
    # What went to the address for another reason is not about the account.
    assert await contents(stores) == [False, False, False, True, True]
    claimed = await claim(stores.core, "smtp", 10, dedupes=False, moment=now())
    assert [each.row["email"] for each in claimed.claims] == ["ADA@example.com", "bob@example.com"]
    ended = await stores.core.fetch("SELECT DISTINCT state, because FROM notifications WHERE email IS NULL")
    assert [tuple(each) for each in ended] == [("cancelled", "the person was forgotten")]
    assert await stores.core.fetchval("SELECT reason FROM suppressions") == "unsubscribe"


async def test_mails_of_somebody_who_is_not_deleted_after_all_are_not_forgotten(
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await ensure_shipped(stores.settings)
    held = replace(accounts, mails=AccountMails(stores.settings, SAFE))
    await credentials.send_reset(held, ada.id, by="test", may_grant=EVERY)

    async def refuse(*_: object, **__: object) -> None:
        raise asyncpg.PostgresError("the outbox is full")

    monkeypatch.setattr("app.accounts.users.record", refuse)
    with pytest.raises(asyncpg.PostgresError):
        await users.delete_user(held, ada.id, by="test", reason="asked", may_grant=EVERY)
    assert await contents(stores) == [True]


# What is asked for an address that nobody may have takes what it takes for others.


@pytest.fixture
async def watched(
    accounts: Accounts,  # noqa: F811
    ada: UserView,  # noqa: F811
    stores: Stores,
) -> AsyncIterator[tuple[Accounts, list[str]]]:
    """Accounts that send by mail, and the statements that they have had carried out."""
    await ensure_shipped(stores.settings)
    statements: list[str] = []

    async def watch(connection: asyncpg.Connection) -> None:
        connection.add_query_logger(lambda query: statements.append(query.query))

    async with asyncpg.create_pool(
        stores.settings.url("core_database_url"), min_size=1, max_size=1, init=watch
    ) as pool:
        yield (
            replace(
                accounts,
                stores=replace(stores, core=pool),
                mails=AccountMails(stores.settings, SAFE, accounts.clock),
            ),
            statements,
        )


async def statements_of(statements: list[str], call: Awaitable[object]) -> list[str]:
    await asyncio.sleep(0)
    statements.clear()
    await call
    await asyncio.sleep(0)  # they are told a moment later
    return list(statements)


@pytest.mark.parametrize("nobodys", ["nobody@example.com", "no address"])
async def test_a_reset_for_an_address_that_nobody_has_takes_the_same_statements(
    watched: tuple[Accounts, list[str]],
    ada: UserView,  # noqa: F811
    nobodys: str,
) -> None:
    accounts, statements = watched  # noqa: F811

    async def asked(email: str) -> list[str]:
        call = credentials.ask_reset(accounts, email, client_ip=None, by="client:shop")
        return await statements_of(statements, call)

    speaking = users.ProfileChange(locale="es")
    await users.change_user(accounts, ada.id, speaking, by="test", may_grant=EVERY)
    await asked("ada@example.com")  # the driver asks once what types there are
    for_ada, for_nobody = await asked("ada@example.com"), await asked(nobodys)
    assert for_nobody == for_ada
    assert sum("INSERT INTO notifications" in each for each in for_ada) == 1


async def test_a_change_to_an_address_that_another_has_takes_the_same_statements(
    watched: tuple[Accounts, list[str]],
    ada: UserView,  # noqa: F811
) -> None:
    accounts, statements = watched  # noqa: F811
    await user_with(accounts, "taken@example.com")

    async def asked(email: str) -> list[str]:
        call = emails.ask_change(accounts, ada.id, email, PASSWORD, session=None, by="test")
        return await statements_of(statements, call)

    await asked("free@example.com")  # the driver asks once what types there are
    assert await asked("taken@example.com") == await asked("free@example.com")


@pytest.mark.parametrize("nobodys", ["nobody@example.com", "no address"])
async def test_a_mail_that_goes_to_nobody_is_shown_without_the_address_that_was_given(
    shop: httpx.AsyncClient,  # noqa: F811
    accounts: Accounts,  # noqa: F811
    nobodys: str,
) -> None:
    asked = await shop.post("/v1/auth/password-reset", json=FROM | {"email": nobodys})
    assert asked.status_code == 204
    (shown,) = (await shop.get("/v1/notifications")).json()["items"]
    assert (shown["template"], shown["recipient_kind"]) == ("reset-password", "user")
    assert (shown["email"], shown["recipient_id"], shown["not_after"] is None) == (None, None, False)
    told = await shop.get(f"/v1/notifications/{shown['id']}")
    assert told.status_code == 200
    kept = await accounts.stores.core.fetch("SELECT t::text FROM notifications t")
    assert all(nobodys not in str(each) for each in (shown, told.text, kept))


@pytest.fixture
def without_mail(web: Litestar, accounts: Accounts) -> None:  # noqa: F811
    """Nobody has said where mail goes."""
    settings = accounts.stores.settings.model_copy(update={"notification_smtp_host": None})
    web.state.accounts = replace(accounts, mails=AccountMails(settings, SAFE))


@pytest.mark.usefixtures("without_mail")
async def test_nobody_is_added_who_cannot_be_sent_the_link(shop: httpx.AsyncClient, ada: UserView) -> None:  # noqa: F811
    answer = await shop.post("/v1/users", json={"email": "eve@example.com"})
    assert (answer.status_code, "NOTIFICATION_SMTP_HOST" in answer.text) == (503, True)
    assert [each["id"] for each in (await shop.get("/v1/users")).json()["items"]] == [str(ada.id)]
    body = {"email": "eve@example.com", "password": NEW}
    assert (await shop.post("/v1/users", json=body)).status_code == 201  # whom no mail is needed for


@pytest.mark.usefixtures("without_mail", "ada")
@pytest.mark.parametrize("email", ["ada@example.com", "nobody@example.com"])
async def test_where_no_mail_can_be_sent_nobody_learns_who_has_an_account(
    shop: httpx.AsyncClient,  # noqa: F811
    email: str,
) -> None:
    assert (await shop.post("/v1/auth/password-reset", json=FROM | {"email": email})).status_code == 503
