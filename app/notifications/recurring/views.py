"""Schedules as callers see them."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from app.errors import Fault
from app.notifications.ledger.views import MailView, RecipientKind


class TickView(Struct, frozen=True):
    """A moment at which a schedule was due, and what came of it.

    `triggered_by`: who fired it by hand; else the clock did. `finished_at`: when its mails were asked for, all of them; `mails`
    how many, and `skipped` how many recipients cannot be written to. `reason` says why it was missed, `note` why it sent nothing.
    `resent`: how often it was sent again because nobody had seen it through.
    """

    tick: datetime
    status: str
    reason: str | None
    triggered_by: str | None
    sent_at: datetime | None
    finished_at: datetime | None
    mails: int
    skipped: int
    note: str | None
    resent: int = 0


class ScheduleView(Struct, frozen=True):
    """A schedule. `query` and what follows are those of a schedule of mail; others wake an `actor` of the service.

    `fixed`: it comes with the service, and cannot be removed; `edited`: an operator has made it another than is declared.
    """

    name: str
    cron: str
    zone: str
    actor: str
    query: str | None
    template: str | None
    locale: str | None
    options: dict[str, Any]
    catch_up: str
    fixed: bool
    edited: bool
    enabled: bool
    retired_at: datetime | None
    next_tick: datetime | None
    last: TickView | None


class ScheduleDetail(Struct, frozen=True):
    """A schedule with its next ticks, and its last ones from the newest to the oldest."""

    schedule: ScheduleView
    next_ticks: list[datetime]
    last_ticks: list[TickView]


class Triggered(Struct, frozen=True):
    """The tick that was added."""

    schedule: str
    tick: datetime


class DueView(Struct, frozen=True):
    """A moment at which a schedule of mail will be due."""

    tick: datetime
    schedule: str
    query: str
    template: str | None


class Skipped(Struct, frozen=True):
    """Somebody who cannot be written to: where the fault lies, and what it is."""

    kind: RecipientKind
    id: UUID
    fault: Fault


class WouldGet(Struct, frozen=True):
    """A mail that would be asked for: to whom, since when it is due, for which record. `blocked`: it would not go, for this reason."""

    kind: RecipientKind
    id: UUID | None
    email: str
    due: datetime
    occasion: str
    blocked: str | None


class DryRun(Struct, frozen=True):
    """Who would get what if a schedule were fired now. `complete` is false where there are more; `mail` is the first one.

    `retries` are mails that would be tried once more.
    """

    schedule: str
    tick: datetime
    template: str | None
    version: int | None
    recipients: list[WouldGet]
    skipped: list[Skipped]
    retries: list[UUID]
    complete: bool
    mail: MailView | None
