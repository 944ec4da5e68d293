"""Accounts as callers see them. Nothing secret is among it."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from msgspec import Struct

from app.accounts.permissions import Role, Scope


class Status(StrEnum):
    """Whether a user may sign in: only `active` ones may."""

    PENDING = "pending"
    """Has no password yet."""
    ACTIVE = "active"
    LOCKED = "locked"
    """An operator has locked it, until an operator unlocks it."""
    DISABLED = "disabled"
    """Left for good, but not deleted."""
    DELETED = "deleted"
    """Personal data are gone; the id stays for whoever reads the audit."""


class UserView(Struct, frozen=True):
    """A user. A deleted one has neither address nor names."""

    id: UUID
    email: str | None
    email_verified_at: datetime | None
    given_name: str
    family_name: str
    locale: str | None
    """The language of their mails; None is English."""
    roles: list[Role]
    status: Status
    second_factor: bool
    password_changed_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime


class CredentialView(Struct, frozen=True):
    """Something by which a client proves itself: a secret, or a public key whose private half only the client has."""

    id: UUID
    kind: Literal["secret", "key"]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


class ClientView(Struct, frozen=True):
    """A service that calls us."""

    name: str
    scopes: list[Scope]
    status: Literal["active", "disabled"]
    created_by: str
    created_at: datetime
    updated_at: datetime
    credentials: list[CredentialView]


class NewCredential(Struct, frozen=True):
    """A credential that was just made. A secret is told this once and never again; of a key nothing is told."""

    credential: CredentialView
    secret: str | None


class SessionView(Struct, frozen=True):
    """Where somebody is signed in, as the client told it."""

    id: UUID
    client: str
    methods: list[str]
    client_ip: str | None
    device: str | None
    created_at: datetime
    used_at: datetime
    expires_at: datetime
