"""Mails about accounts: one brings its user a link, and never outlives it; one tells that something was changed."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from app.accounts.addresses import address
from app.accounts.encryption import Safe
from app.accounts.mails import Link, Notice, Purpose
from app.clock import Clock, now
from app.notifications.addresses.links import account_link
from app.notifications.addresses.recipients import NOWHERE, Resolved
from app.notifications.asking.ordering import transport_of
from app.notifications.asking.triggering import FIRST, Mailing, Order, trigger
from app.notifications.delivering.claiming import BY
from app.notifications.ledger.forgetting import USERS, forget_mails
from app.notifications.templates.catalogue import load_version
from app.notifications.templates.rendering import FALLBACK
from app.notifications.templates.schemas import name_of
from config.settings import Settings

LINKS: dict[Purpose, str] = {
    "reset": "reset-password",
    "verify": "verify-email",
    "change": "verify-email",
}
NOTICES = "account-notice"


@dataclass(frozen=True)
class AccountMails:
    """Mails about accounts, in the transaction of whatever they are about: either both are there afterwards, or neither.

    A link that nobody may have is a mail like any other, which ends when it is to be handed over: what asking for one takes
    does not tell who has an account.
    """

    settings: Settings
    safe: Safe
    clock: Clock = now

    async def send(self, connection: asyncpg.Connection, mail: Link | Notice) -> None:
        """See `Mails`. It is in the user's language, or the nearest that the template has."""
        order = Order(
            template=await load_version(
                connection, LINKS[mail.purpose] if isinstance(mail, Link) else NOTICES
            ),
            mailings=[await _mailing(self.settings, connection, mail)],
            transport=transport_of(self.settings),
            not_after=mail.expires_at if isinstance(mail, Link) else None,
            priority=FIRST,
        )
        await trigger(connection, order, by=BY, moment=self.clock(), safe=self.safe)

    async def forget(self, connection: asyncpg.Connection, user: UUID) -> None:
        """See `Mails`."""
        await forget_mails(connection, USERS, str(user), [])


class _Greeted(Struct, frozen=True):
    """How a user is written to. Nobody is as somebody with a password."""

    given_name: str = ""
    locale: str | None = None
    has_password: bool = True


async def _mailing(settings: Settings, connection: asyncpg.Connection, mail: Link | Notice) -> Mailing:
    user = await _greeted(connection, mail.user)
    data = _told(mail) if isinstance(mail, Notice) else _brought(settings, mail, first=not user.has_password)
    # Users choose their names, and may choose the address that is written to as well.
    with suppress(ValueError):
        data["given_name"] = name_of(user.given_name)
    to = address(mail.email) if mail.email else NOWHERE
    return Mailing(Resolved("user", mail.user, to), data, user.locale or FALLBACK)


async def _greeted(connection: asyncpg.Connection, user: UUID | None) -> _Greeted:
    """Nobody is looked up as everybody is."""
    row = await connection.fetchrow(
        "SELECT given_name, locale, password_hash IS NOT NULL AS has_password FROM users WHERE id = $1", user
    )
    return _Greeted(**row) if row else _Greeted()


def _told(notice: Notice) -> dict[str, Any]:
    return {"what": notice.what, "at": msgspec.to_builtins(notice.at)}


def _brought(settings: Settings, link: Link, *, first: bool) -> dict[str, Any]:
    data = {
        "link": account_link(settings, link.purpose, link.token),
        "expires_at": msgspec.to_builtins(link.expires_at),
    }
    if link.purpose == "reset" and first:
        data["first"] = True
    if link.purpose == "change":
        data["changing"] = True
    return data
