"""Accounts on real stores, with a clock that tests turn and hashes that cost little."""

from collections.abc import AsyncIterator, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from loguru import logger

from app.accounts import clients, credentials, users
from app.accounts.client_authentication import Client, ClientDesk
from app.accounts.encryption import Safe
from app.accounts.hashing import Cost, Hasher, HashingRoom, Peppers
from app.accounts.limits import Limit, SignInLimits
from app.accounts.mails import Link, Notice
from app.accounts.permissions import Role, Scope
from app.accounts.service import Accounts
from app.accounts.token_keys import TokenKeys
from app.accounts.tokens import Tokens
from app.accounts.users import Profile
from app.accounts.views import UserView
from app.stores.connections import Stores

ISSUER = "https://core.example"
PASSWORD = "correct horse battery staple"
PEPPERS = Peppers({"p": b"3" * 32}, current="p")
SAFE = Safe({"a": b"1" * 32}, current="a")
SHOP = Client("shop", list(Scope))
EVERY = frozenset(Role)


async def create_user(stores: Stores, profile: Profile, *, may_grant: Collection[Role] = EVERY) -> UserView:
    """Add a user in a transaction of its own."""
    async with stores.core.acquire() as connection, connection.transaction():
        return await users.add_user(connection, profile, by="test", may_grant=may_grant)


@dataclass
class Time:
    """A clock that the test turns."""

    moment: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.moment

    def passes(self, time: timedelta) -> None:
        self.moment += time


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def accounts(stores: Stores, time: Time) -> AsyncIterator[Accounts]:
    """Accounts, and a client `shop` through which users sign in."""
    many = Limit(failures=1000, free=1000)
    hasher = Hasher(Cost(64, 1, 1), PEPPERS)
    made = Accounts(
        stores=stores,
        hashing=HashingRoom(hasher, megabytes=64, patience=5),
        clients=ClientDesk(stores.core, (ISSUER,), time),
        tokens=Tokens(TokenKeys(stores.core, SAFE, time), ISSUER, time),
        limits=SignInLimits(
            stores.broker,
            stores.settings.namespace,
            PEPPERS.pseudonym,
            **dict.fromkeys(("account", "address", "everybody", "mail", "mail_soon"), many),
        ),
        safe=SAFE,
        mails=Mailbox(),
        strict=True,
        clock=time,
    )
    await clients.create_client(stores, SHOP.name, SHOP.scopes, by="test")
    yield made
    made.close()


@pytest.fixture
async def ada(accounts: Accounts) -> UserView:
    """A user who may sign in with PASSWORD."""
    return await user_with(accounts, "ada@example.com")


@pytest.fixture
def mails(accounts: Accounts) -> "Mailbox":
    """What the accounts have had sent."""
    assert isinstance(accounts.mails, Mailbox)
    return accounts.mails


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """The fields of every log entry, and its event."""
    entries: list[dict[str, Any]] = []

    def keep(message: Any) -> None:
        entries.append({"event": message.record["message"], **message.record["extra"]})

    sink = logger.add(keep, catch=False)
    yield entries
    logger.remove(sink)


async def user_with(accounts: Accounts, email: str, *roles: Role) -> UserView:
    profile = Profile(email, roles=list(roles))
    return await credentials.invite(accounts, profile, PASSWORD, by="test", may_grant=EVERY)


async def facts(stores: Stores, source: str = "accounts:") -> list[str]:
    rows = await stores.core.fetch("SELECT entry ->> 'name' AS name FROM audit_outbox ORDER BY position")
    return [row["name"].removeprefix(source) for row in rows]


@dataclass
class Mailbox:
    """Takes what is to be sent; what goes to nobody is not there."""

    links: list[Link] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    forgotten: list[UUID] = field(default_factory=list)

    async def send(self, _: asyncpg.Connection, mail: Link | Notice) -> None:
        if isinstance(mail, Notice):
            self.notices.append(mail)
        elif mail.email is not None:
            self.links.append(mail)

    async def forget(self, _: asyncpg.Connection, user: UUID) -> None:
        self.forgotten.append(user)
