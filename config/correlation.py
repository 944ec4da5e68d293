"""What ties log entries together: one request, all that follows from it, in whatever process.

A request's correlation goes into the messages that it sends and is bound again where they are processed
(`web/requests.py`, `actors/correlation.py`); every entry that is logged meanwhile bears it.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

# W3C Trace Context, version 00: https://www.w3.org/TR/trace-context/#traceparent-header. A later version may go on
# after a further dash; ff is none.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)


class Correlation(msgspec.Struct, omit_defaults=True):
    """Who asked for what is done, and within which trace.

    `actor` is filled in once the caller is known, `outcome` where what is done has one that its caller does not see.
    """

    trace_id: str
    span_id: str
    request_id: str | None = None
    actor: str | None = None
    message_id: str | None = None
    task: str | None = None
    outcome: str | None = None

    def carried(self) -> dict[str, str]:
        """What goes with a message."""
        return {name: value for name, value in self.bound().items() if name in _CARRIED}

    def bound(self) -> dict[str, str]:
        """What every log entry bears."""
        return {name: value for name in _BOUND if (value := getattr(self, name)) is not None}


_BOUND = ("trace_id", "span_id", "request_id", "actor", "message_id", "task")
_CARRIED = ("trace_id", "span_id", "request_id", "actor")
DONE = "done"
IDLE = "idle"  # nothing was found to do

_CURRENT: ContextVar[Correlation | None] = ContextVar("correlation", default=None)


def current() -> Correlation | None:
    """The correlation of what is being done; None outside of any."""
    return _CURRENT.get()


def bind(correlation: Correlation | None) -> None:
    """Let what this thread or task does from now on belong to a correlation, or to none."""
    _CURRENT.set(correlation)


@contextmanager
def correlated(correlation: Correlation) -> Iterator[Correlation]:
    """Let what is done within the block belong to a correlation."""
    token = _CURRENT.set(correlation)
    try:
        yield correlation
    finally:
        _CURRENT.reset(token)


def new_correlation(*, request_id: str | None = None, actor: str | None = None) -> Correlation:
    """A correlation in a trace of its own."""
    return Correlation(secrets.token_hex(16), secrets.token_hex(8), request_id, actor)


def correlation_of(traceparents: list[str], *, request_id: str) -> Correlation:
    """The correlation of a request, within its caller's trace where exactly one sound `traceparent` was sent."""
    match = _TRACEPARENT.fullmatch(traceparents[0]) if len(traceparents) == 1 else None
    if match is None or (match[1] == "00" and match[4] is not None):
        return new_correlation(request_id=request_id)
    return Correlation(match[2], match[3], request_id)


def read_carried(carried: object) -> Correlation:
    """The correlation that a message brought along; a new one where it brought none that can be read."""
    try:
        return msgspec.convert(carried, Correlation)
    except msgspec.ValidationError:
        return new_correlation()


def act_as(actor: str) -> None:
    """Name who acts, now that it is known."""
    if correlation := _CURRENT.get():
        correlation.actor = actor


def note_outcome(outcome: str) -> None:
    """Say how what is being done goes, for the entry that is logged at its end; the last word counts."""
    if correlation := _CURRENT.get():
        correlation.outcome = outcome
