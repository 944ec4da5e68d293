"""Accounts as callers see them. Nothing secret is among it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class Role(StrEnum):
    """What a user is to AstroBookings; it decides what they may do (`app.accounts.permissions`)."""

    CUSTOMER = "customer"
    SUPPLIER = "supplier"
    EMPLOYEE = "employee"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMIN = "admin"


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
    roles: list[Role]
    status: Status
    second_factor: bool
    password_changed_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime
