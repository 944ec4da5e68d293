"""Mails about accounts: each brings its user a link, and never outlives it."""

import asyncpg
import msgspec

from app.accounts.addresses import address
from app.accounts.links import Deliver, Link, Notice, Purpose, log_mail
from app.accounts.service import Accounts
from app.notifications.claiming import BY
from app.notifications.links import account_link
from app.notifications.ordering import transport_of
from app.notifications.recipients import Resolved
from app.notifications.rendering import FALLBACK
from app.notifications.templates import load_version
from app.notifications.triggering import Mailing, Order, trigger

TEMPLATES: dict[Purpose, str] = {
    "reset": "reset-password",
    "verify": "verify-email",
    "change": "verify-email",
}
_FIRST = 1


def deliver_by_mail(accounts: Accounts) -> Deliver:
    """Puts the mail into the transaction that makes the link: either both are there afterwards, or neither."""

    async def deliver(connection: asyncpg.Connection, link: Link | Notice) -> None:
        if isinstance(link, Notice) or link.email is None:
            await log_mail(connection, link)
            return
        order = Order(
            template=await load_version(connection, TEMPLATES[link.purpose]),
            mailings=[await _mailing(accounts, connection, link, link.email)],
            transport=transport_of(accounts.stores.settings),
            not_after=link.expires_at,
            priority=_FIRST,
        )
        await trigger(connection, order, by=BY, moment=accounts.clock(), safe=accounts.safe)

    return deliver


async def _mailing(accounts: Accounts, connection: asyncpg.Connection, link: Link, email: str) -> Mailing:
    user = await connection.fetchrow(
        "SELECT given_name, password_hash IS NULL AS first FROM users WHERE id = $1", link.user
    )
    data = {
        "link": account_link(accounts.stores.settings, link.purpose, link.token),
        "expires_at": msgspec.to_builtins(link.expires_at),
    }
    if user["given_name"]:
        # A name is as long as its owner wants; the greeting is not.
        data["given_name"] = user["given_name"][:100]
    if link.purpose == "reset" and user["first"]:
        data["first"] = True
    return Mailing(Resolved("user", link.user, address(email)), data, FALLBACK)
