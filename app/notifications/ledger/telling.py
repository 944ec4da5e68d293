"""The story of a mail in words: why it went, or why not, and what happened to it, one line after the other. Times are UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from app.notifications.ledger.states import OPEN, State
from app.notifications.ledger.views import AttemptView, CallbackView, CircuitView, StoryView, TransitionView


class Line(Struct, frozen=True):
    """Something that happened: when, what, and what is told of it. `place` says what comes first of one moment."""

    at: datetime
    place: int
    what: str
    told: str


def why(story: StoryView) -> str:
    """Why the mail went or did not, in a sentence or two."""
    mail = story.notification
    because = mail.because or "nobody has said why"
    came_back = any(each.state is State.SENT for each in story.transitions)
    said = {
        State.SCHEDULED: f"It has not gone yet: it waits for {_moment(mail.send_at)} UTC.",
        State.SENT: f"It went: the provider has taken it ({mail.transport}).",
        State.DELIVERED: "It has arrived, as the provider says.",
        State.FAILED: f"It {'came back' if came_back else 'did not go'}: {because}.",
        State.UNKNOWN: f"It may have gone: {because}.",
    }
    if mail.state in (State.PENDING, State.SENDING):
        told = _waiting(story)
    else:
        told = said.get(mail.state, f"It did not go: {because}.")
    return " ".join([told, *_hindrances(story)])


def _waiting(story: StoryView) -> str:
    ended = [each for each in story.attempts if each.ended_at]
    if len(ended) < len(story.attempts):
        return "It is being handed over."
    if ended:
        again = _moment(story.notification.next_at)
        return f"It has not gone yet: {_said(ended[-1])}. It is tried again at {again} UTC."
    return "It has not gone yet." if story.circuit else "It is about to go."


def _hindrances(story: StoryView) -> Iterator[str]:
    """What keeps a mail that is still to go from going."""
    if story.notification.state not in OPEN:
        return
    if story.disabled_because:
        yield f"But its template is disabled: {story.disabled_because}."
    if story.suppressed_by:
        yield f"But its address is blocked: {story.suppressed_by}."
    if story.circuit:
        yield _left_alone(story.circuit)


def _left_alone(circuit: CircuitView) -> str:
    last = f", the last time with: {circuit.because}" if circuit.because else ""
    tried = circuit.state == "trial"
    then = "one mail tries it now" if tried else f"it is tried again at {_moment(circuit.trial_at)} UTC"
    return (
        f"The way that it goes ({circuit.name}) has failed {circuit.failures} times in a row{last}; {then}."
    )


def happened(story: StoryView) -> list[Line]:
    """Everything that happened to the mail, in the order of time."""
    lines = [
        *(line for each in story.attempts for line in _attempt(each)),
        *map(_transition, story.transitions),
        *map(_callback, story.callbacks),
    ]
    return sorted(lines, key=lambda line: (line.at, line.place))


def _transition(each: TransitionView) -> Line:
    because = f": {each.because}" if each.because else ""
    place = 0 if each.state in OPEN else 2
    return Line(each.at, place, each.state, f"by {each.caused_by}{because}")


def _attempt(each: AttemptView) -> Iterator[Line]:
    name = f"attempt {each.number}"
    yield Line(each.started_at, 1, name, f"by {each.transport}")
    if each.handed_at:
        yield Line(each.handed_at, 1, name, "handed over: from here on the provider may have it")
    if each.ended_at:
        again = f"; again at {_moment(each.retry_at)}" if each.retry_at else ""
        yield Line(each.ended_at, 1, name, f"{_said(each)}{again}")


def _said(attempt: AttemptView) -> str:
    told = " ".join(each for each in (attempt.code, attempt.detail) if each)
    return f"{attempt.outcome}{': ' if told else ''}{told}"


def _callback(each: CallbackView) -> Line:
    return Line(each.received_at, 3, f"told: {each.kind}", each.detail or f"for {_moment(each.at)}")


def _moment(value: datetime | None) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else "no known time"
