"""The states of a notification, and the ways from one to another. There is no way back."""

from collections.abc import Mapping
from enum import StrEnum

from app.errors import ConflictError


class State(StrEnum):
    """Where a notification is."""

    SCHEDULED = "scheduled"
    """Waits for its time."""
    PENDING = "pending"
    """Is to go now."""
    SENDING = "sending"
    """Was or is being handed over, or waits for another try."""
    UNKNOWN = "unknown"
    """May have gone: the provider never answered, and would send it twice, or it cannot be written any more. An operator or a callback decides."""
    SENT = "sent"
    """The provider has accepted it."""
    DELIVERED = "delivered"
    """It has arrived, as the provider says."""
    FAILED = "failed"
    """Was refused for good, or too often; or came back."""
    EXPIRED = "expired"
    """Its time was over before it could go."""
    CANCELLED = "cancelled"
    """Somebody took it back before it went."""
    SUPPRESSED = "suppressed"
    """The address or the template is blocked."""


_UNSENT = frozenset({State.EXPIRED, State.CANCELLED, State.SUPPRESSED})
_WAITING = frozenset({State.SCHEDULED, State.PENDING})
_JUDGED = frozenset({State.SENT, State.DELIVERED, State.FAILED})

WAYS: Mapping[State, frozenset[State]] = {
    # To another time: the two waiting states are one rank.
    State.SCHEDULED: _WAITING | _UNSENT | {State.SENDING, State.FAILED},
    State.PENDING: _WAITING | _UNSENT | {State.SENDING, State.FAILED},
    # Between two tries it stays in `sending`, and may still be taken back where no provider can have it.
    State.SENDING: _UNSENT | _JUDGED | {State.UNKNOWN},
    State.UNKNOWN: _JUDGED,
    State.SENT: frozenset({State.DELIVERED, State.FAILED}),
    State.DELIVERED: frozenset(),
    State.FAILED: frozenset(),
    State.EXPIRED: frozenset(),
    State.CANCELLED: frozenset(),
    State.SUPPRESSED: frozenset(),
}
"""Where each state may lead. A mail that failed is not sent again: its retry is a notification of its own."""

OPEN = frozenset({State.SCHEDULED, State.PENDING, State.SENDING})
"""There is still something to do."""

ENDED = frozenset(state for state, ways in WAYS.items() if not ways)
RETRYABLE = frozenset({State.FAILED, State.EXPIRED, State.UNKNOWN, State.CANCELLED, State.SUPPRESSED})


def check_way(before: State, after: State) -> None:
    """Raises ConflictError where there is no way from one state to the other."""
    if after not in WAYS[before]:
        raise ConflictError(f"the notification is {before}, and cannot become {after}")
