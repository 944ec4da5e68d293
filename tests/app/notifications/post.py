"""Mail on real stores: templates to ask for, post rooms that deliver, and what became of a mail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from app.accounts.addresses import address
from app.accounts.encryption import Safe
from app.notifications.addresses.recipients import Resolved
from app.notifications.addresses.suppressing import Unsubscribing
from app.notifications.asking.triggering import Batch, Mailing, Order, trigger
from app.notifications.delivering.letters import Letters
from app.notifications.delivering.pacing import Pace
from app.notifications.delivering.post_room import PostRoom
from app.notifications.delivering.transports.http import HttpTransport
from app.notifications.delivering.transports.smtp import SmtpTransport
from app.notifications.delivering.transports.transport import AboutTo, Accepted, Handed, Mail, Transport
from app.notifications.templates.catalogue import insert_version, load_version
from app.notifications.templates.content import Kind
from app.stores.connections import Stores
from config.settings import Settings
from tests.app.accounts.conftest import SAFE, Time
from tests.app.notifications.contents import content

ADA = "ada@example.com"
PEOPLE = tuple(f"p{number}@example.com" for number in range(40))


async def make_template(stores: Stores, kind: Kind = Kind.BOOKING, text: str = "Hello {{ name }}") -> str:
    """A template named like its kind; answers the name."""
    async with stores.core.acquire() as connection, connection.transaction():
        await connection.execute(
            "INSERT INTO notification_templates (name, kind, purpose, current) VALUES ($1, $1, 'test', 1)",
            kind,
        )
        await insert_version(connection, kind, content(text), by="test")
    return kind.value


async def ask(stores: Stores, *emails: str, kind: Kind = Kind.BOOKING, **more: Any) -> list[UUID]:
    """Ask for a mail to each of these, in one transaction."""
    async with stores.core.acquire() as connection, connection.transaction():
        return list((await asked(connection, *emails, kind=kind, **more)).notifications)


async def asked(
    connection: asyncpg.Connection,
    *emails: str,
    kind: Kind = Kind.BOOKING,
    data: dict[str, Any] | None = None,
    moment: datetime | None = None,
    **more: Any,
) -> Batch:
    """As `ask`, in the transaction that is open."""
    given = {"name": "Ada"} if data is None else data
    mailings = [Mailing(resolved(each), given, "en") for each in emails or (ADA,)]
    order = Order(
        **{"transport": "smtp"} | more, template=await load_version(connection, kind), mailings=mailings
    )
    return await trigger(connection, order, by="shop", moment=moment or datetime.now(UTC), safe=SAFE)


@dataclass
class Wire:
    """A transport that goes through another, and lets a test act before and after the last moment."""

    inner: Transport
    before: Callable[[Mail], Any] | None = None
    after: Callable[[Mail], Any] | None = None
    answered: Callable[[Mail, Handed], Any] | None = None
    begun: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def dedupes(self) -> bool:
        return self.inner.dedupes

    def compose(self, mail: Mail) -> tuple[Mail, Any]:
        return mail, self.inner.compose(mail)

    async def hand_over(self, composed: tuple[Mail, Any], *, about_to: AboutTo) -> Handed:
        mail, inner = composed
        self.begun.append(mail.to)

        async def last_moment() -> None:
            if self.before:
                await self.before(mail)
            await about_to()
            if self.after:
                await self.after(mail)

        handed = await self.inner.hand_over(inner, about_to=last_moment)
        if self.answered:
            await self.answered(mail, handed)
        return handed

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class Refusing:
    """A transport that answers what a test wants: how a mail ends is told by what it answers, not by a network."""

    answers: Callable[[Mail], Handed] = lambda _: Accepted()
    name: str = "smtp"
    dedupes: bool = False
    taken: list[Mail] = field(default_factory=list)

    def compose(self, mail: Mail) -> Mail:
        return mail

    async def hand_over(self, composed: Mail, *, about_to: AboutTo) -> Handed:
        await about_to()
        self.taken.append(composed)
        return self.answers(composed)

    async def close(self) -> None:
        pass


def letters(stores: Stores, safe: Safe = SAFE) -> Letters:
    return Letters(
        stores,
        safe,
        Unsubscribing("https://core.example", b"k" * 32),
        sender="AstroBookings <no-reply@astrobookings.example>",
    )


def room(
    stores: Stores,
    transport: Transport,
    *,
    time: Time | None = None,
    at_once: int = 8,
    connections: int | None = None,
    per_second: float = 10_000,
) -> PostRoom:
    return PostRoom(
        stores=stores,
        transport=transport,
        letters=letters(stores),
        pace=Pace(stores.broker, stores.settings.namespace),
        per_second=per_second,
        at_once=at_once,
        connections=connections or at_once,
        clock=time or Time(),
        draw=lambda: 0.0,
    )


@asynccontextmanager
async def transport(settings: Settings) -> AsyncIterator[Transport]:
    """The transport that these settings choose."""
    made = {"smtp": SmtpTransport, "http": HttpTransport}[settings.notification_transport](settings)
    try:
        yield made
    finally:
        await made.close()


async def row(stores: Stores, notification: UUID) -> asyncpg.Record:
    return await stores.core.fetchrow("SELECT * FROM notifications WHERE id = $1", notification)


async def states(stores: Stores) -> dict[str, int]:
    rows = await stores.core.fetch("SELECT state, count(*) AS mails FROM notifications GROUP BY state")
    return {each["state"]: each["mails"] for each in rows}


async def attempts(stores: Stores, notification: UUID) -> list[tuple[str | None, str | None]]:
    """How each attempt ended, and with which code."""
    rows = await stores.core.fetch(
        "SELECT outcome, code FROM notification_attempts WHERE notification_id = $1 ORDER BY number",
        notification,
    )
    return [(each["outcome"], each["code"]) for each in rows]


async def events(stores: Stores, notification: UUID) -> list[str]:
    rows = await stores.core.fetch(
        "SELECT state FROM notification_events WHERE notification_id = $1 ORDER BY number", notification
    )
    return [each["state"] for each in rows]


async def until_blocked(stores: Stores, statement: str, *, most: int = 1) -> None:
    """Wait until so many statements like this one wait for a lock of the core DB."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE $1"
    async with asyncio.timeout(10):
        while await stores.core.fetchval(query, statement) < most:  # noqa: ASYNC110  (the database tells nobody)
            await asyncio.sleep(0.01)


async def let_claims_run_out(stores: Stores) -> None:
    """As if the five minutes of a claim were over."""
    await stores.core.execute(
        "UPDATE notifications SET next_at = next_at - $1::interval, claimed_until = claimed_until - $1::interval "
        "WHERE claimed_by IS NOT NULL",
        timedelta(minutes=6),
    )


def resolved(email: str) -> Resolved:
    return Resolved("address", None, address(email))
