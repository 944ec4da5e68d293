"""What users are told by mail about their accounts. How it gets to them is not known here: see `Mails`."""

from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import asyncpg
from msgspec import Struct

Purpose = Literal["reset", "verify", "change"]
What = Literal["email", "password", "second-factor-set", "second-factor-removed", "recovery-codes"]


class Link(Struct, frozen=True):
    """What a mail is to bring: a token that is good once. Without `email` it goes to nobody."""

    purpose: Purpose
    user: UUID | None
    email: str | None
    token: str
    expires_at: datetime


class Notice(Struct, frozen=True):
    """What a mail is to tell a user: that this was changed, at the address that was theirs until then (OWASP ASVS 5.0, 6.3.7)."""

    what: What
    user: UUID
    email: str
    at: datetime


class Mails(Protocol):
    """Where mail is had sent, and forgotten, in the transaction of whatever it is about."""

    async def send(self, connection: asyncpg.Connection, mail: Link | Notice) -> None:
        """Send it on its way. For a link that goes to nobody it does as much, and nothing arrives.

        Raises StoreUnavailableError where nobody has said where mail goes.
        """

    async def forget(self, connection: asyncpg.Connection, user: UUID) -> None:
        """Take the addresses and contents out of the mails to this user; none of them goes any more."""
