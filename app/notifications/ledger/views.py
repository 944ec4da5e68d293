"""Notifications as callers see them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from msgspec import Struct

from app.errors import Fault
from app.notifications.ledger.states import State

Scope = Literal["all", "alert", "digest"]
Reason = Literal["hard_bounce", "complaint", "unsubscribe", "operator"]
RecipientKind = Literal["address", "customer", "supplier", "user"]


class NotificationView(Struct, frozen=True):
    """One mail to one recipient. `because` says why it is in its state, where that needs a word."""

    id: UUID
    batch: UUID
    template: str
    template_version: int
    kind: str
    locale: str
    recipient_kind: RecipientKind
    recipient_id: UUID | None
    email: str | None
    priority: int
    state: State
    because: str | None
    transport: str
    send_at: datetime
    not_after: datetime | None
    next_at: datetime | None
    attempts: int
    schedule: str | None
    tick: datetime | None
    retry_of: UUID | None
    version: int
    created_at: datetime
    updated_at: datetime


class AttemptView(Struct, frozen=True):
    """One hand-over to the provider. Until `handed_at` it cannot have had the mail."""

    number: int
    transport: str
    started_at: datetime
    handed_at: datetime | None
    ended_at: datetime | None
    outcome: str | None
    code: str | None
    detail: str | None
    retry_at: datetime | None


class TransitionView(Struct, frozen=True):
    """A state that it came to: when, why, and who or what brought it there."""

    at: datetime
    state: State
    because: str | None
    caused_by: str


class CallbackView(Struct, frozen=True):
    """What the provider told afterwards."""

    kind: str
    at: datetime
    received_at: datetime
    detail: str | None


class Body(Struct, frozen=True):
    """The mail as it was rendered; gone after a week, and never shown where it holds a secret."""

    subject: str
    text: str
    html: str


class CircuitView(Struct, frozen=True):
    """The circuit of a transport. Open: nobody hands mail over until `trial_at`. `because` is what was seen last."""

    name: str
    state: str
    failures: int
    openings: int
    because: str | None
    changed_at: datetime | None
    trial_at: datetime | None


class StoryView(Struct, frozen=True):
    """Why a mail went, or did not: what caused it, with what it was filled, what was tried, and what was heard of it.

    `occasion` is what a schedule's mail is about: no other one of that schedule and tick has it. `client` is the one through
    which it was asked for, `provider_id` what the provider calls the mail, if any. Of a mail that is still to go, `circuit` is
    that of its transport unless it is closed, and `disabled_because` why its template is disabled, if it is.
    """

    notification: NotificationView
    caused_by: str
    metadata: dict[str, Any]
    data: dict[str, Any] | None
    transitions: list[TransitionView]
    attempts: list[AttemptView]
    callbacks: list[CallbackView]
    suppressed_by: str | None
    retried_as: UUID | None
    body: Body | None
    body_erased_at: datetime | None
    occasion: str | None = None
    client: str | None = None
    provider_id: str | None = None
    circuit: CircuitView | None = None
    disabled_because: str | None = None


class RetriesView(Struct, frozen=True):
    """What a retry of many has come to, or in a dry run would: `found` are the mails, `retried` their successors by them."""

    found: list[UUID]
    retried: dict[UUID, UUID]
    refused: dict[UUID, str]


class MailView(Struct, frozen=True):
    """A mail as it would be, in the language that it would be in."""

    locale: str
    subject: str
    text: str
    html: str


class Placed(Struct, frozen=True):
    """What an order became: the batch, and a notification for each recipient, in their order."""

    batch: UUID
    notifications: list[UUID]


class Preview(Struct, frozen=True):
    """What an order would become. `blocked` are recipients who would get nothing, and why, for those who may know; `mail` is the first one."""

    template: str
    version: int
    recipients: int
    blocked: list[Fault]
    send_at: datetime | None
    not_after: datetime | None
    mail: MailView


class SuppressionView(Struct, frozen=True):
    """An address that gets no mail, or none of a kind, and why."""

    email: str
    scope: Scope
    reason: Reason
    notification: UUID | None
    caused_by: str
    note: str | None
    created_at: datetime
