"""Mails about accounts: one brings its user a link, and never outlives it; one tells that something was changed."""

from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from app.accounts.addresses import address
from app.accounts.encryption import Safe
from app.accounts.mails import Deliver, Link, Notice, Purpose
from app.clock import Clock, now
from app.notifications.claiming import BY
from app.notifications.links import account_link
from app.notifications.ordering import transport_of
from app.notifications.recipients import NOWHERE, Resolved
from app.notifications.rendering import FALLBACK
from app.notifications.templates import load_version
from app.notifications.triggering import Mailing, Order, trigger
from config.settings import Settings

LINKS: dict[Purpose, str] = {
    "reset": "reset-password",
    "verify": "verify-email",
    "change": "verify-email",
}
NOTICES = "account-notice"
_FIRST = 1


def by_mail(settings: Settings, safe: Safe, clock: Clock = now) -> Deliver:
    """Puts the mail into the transaction of whatever it is about: either both are there afterwards, or neither.

    A link that nobody may have is a mail like any other, which ends when it is to be handed over: what asking for one takes
    does not tell who has an account.
    """

    async def deliver(connection: asyncpg.Connection, mail: Link | Notice) -> None:
        order = Order(
            template=await load_version(
                connection, LINKS[mail.purpose] if isinstance(mail, Link) else NOTICES
            ),
            mailings=[await _mailing(settings, connection, mail)],
            transport=transport_of(settings),
            not_after=mail.expires_at if isinstance(mail, Link) else None,
            priority=_FIRST,
        )
        await trigger(connection, order, by=BY, moment=clock(), safe=safe)

    return deliver


async def _mailing(settings: Settings, connection: asyncpg.Connection, mail: Link | Notice) -> Mailing:
    name, has_password = await _user(connection, mail.user)
    data = _told(mail) if isinstance(mail, Notice) else _brought(settings, mail, first=not has_password)
    if name:
        # A name is as long as its owner wants; the greeting is not.
        data["given_name"] = name[:100]
    to = address(mail.email) if mail.email else NOWHERE
    return Mailing(Resolved("user", mail.user, to), data, FALLBACK)


async def _user(connection: asyncpg.Connection, user: UUID | None) -> tuple[str, bool]:
    """The name that a user is greeted by, and whether they have a password; nobody is looked up as everybody is."""
    row = await connection.fetchrow(
        "SELECT given_name, password_hash IS NOT NULL AS has_password FROM users WHERE id = $1", user
    )
    return (row["given_name"], row["has_password"]) if row else ("", True)


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
