"""What callers send about mails, with its limits."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import Meta, Struct

from app.notifications.asking.ordering import Instant
from app.notifications.delivering.callbacks import CallbackKind
from app.notifications.ledger.views import Scope
from web.inputs import Cancellation, Decision, Reason

Email = Annotated[str, Meta(min_length=1, max_length=320)]
Address = Annotated[str | None, QueryParameter(description="whose, however it is spelled", max_length=320)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
Failure = Literal["failed", "unknown", "expired", "cancelled", "suppressed"]

WITHOUT_REASON = Cancellation()


class NewTime(Struct, forbid_unknown_fields=True):
    """When a mail is to go instead."""

    send_at: Instant


class RetryOrder(Decision, forbid_unknown_fields=True, kw_only=True):
    """The mails that are to be sent again, and why: the oldest thousand in one state, of a template or a batch where it is named.

    A dry run only tells which ones.
    """

    state: Failure = "failed"
    template: Name | None = None
    batch: UUID | None = None
    dry_run: bool = False


class Resolution(Decision, forbid_unknown_fields=True, kw_only=True):
    """Whether a mail that is `unknown` was sent, and how that is known."""

    state: Literal["sent", "failed"]


class NewSuppression(Struct, forbid_unknown_fields=True):
    """An address that is to get no more mail, or none of a kind, and why."""

    email: Email
    reason: Reason
    scope: Scope = "all"


class CallbackOrder(Struct, forbid_unknown_fields=True):
    """What the provider tells of a mail. `event` is its own id of it: what it tells twice counts once.

    `permanent` is of a bounce: whether the address is no good for any other mail either.
    """

    event: Annotated[str, Meta(min_length=1, max_length=200)]
    notification: UUID
    kind: CallbackKind
    at: Annotated[datetime, Meta(tz=True)]
    permanent: bool = True
    detail: str | None = None
