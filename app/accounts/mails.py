"""What users are told by mail about their accounts. How it gets to them is not known here: see `Deliver`."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal
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


Deliver = Callable[[asyncpg.Connection, Link | Notice], Awaitable[None]]
"""Sends it on its way in the open transaction. For a link that goes to nobody it does as much, and nothing arrives.

Raises StoreUnavailableError where nobody has said where mail goes.
"""
