"""The story of a mail in words: why it went, or why not."""

from collections.abc import Iterator
from datetime import datetime

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from app.cli import output
from app.notifications.content import Kind
from app.notifications.states import OPEN, State
from app.notifications.views import AttemptView, CallbackView, NotificationView, StoryView, TransitionView

Line = tuple[datetime, int, str, str]
"""When, and which comes first of what happened at one moment; what, and what is told of it."""


def print_story(console: Console, story: StoryView) -> None:
    """Print why a mail went or did not, everything that happened to it, and what it says."""
    mail = story.notification
    console.print(Text.assemble((f"mail {mail.id}", "bold"), "  ", output.state(mail.state)))
    console.print(Text(why(story)))
    console.print(output.facts(_facts(story)))
    _heading(console, "what happened; times are UTC")
    rows = [(output.moment(at), what, output.printable(told)) for at, _, what, told in _lines(story)]
    console.print(output.listing(("at", "what", ""), rows))
    _heading(console, "the mail")
    _print_mail(console, story)


def why(story: StoryView) -> str:
    """Why the mail went or did not, in a sentence or two."""
    mail = story.notification
    because = output.printable(mail.because or "nobody has said why")
    came_back = any(each.state is State.SENT for each in story.transitions)
    said = {
        State.SCHEDULED: f"It has not gone yet: it waits for {output.moment(mail.send_at)} UTC.",
        State.SENT: f"It went: the provider has taken it ({mail.transport}).",
        State.DELIVERED: "It has arrived, as the provider says.",
        State.FAILED: f"It {'came back' if came_back else 'did not go'}: {because}.",
        State.UNKNOWN: f"It may have gone: {because}. `astrocore notifications resolve` says whether it has.",
    }
    if mail.state in (State.PENDING, State.SENDING):
        return _waiting(story)
    return said.get(mail.state, f"It did not go: {because}.")


def _waiting(story: StoryView) -> str:
    mail = story.notification
    ended = [each for each in story.attempts if each.ended_at]
    if len(ended) < len(story.attempts):
        return "It is being handed over."
    if not ended:
        return "It is about to go." + (
            f" But its address is blocked: {story.suppressed_by}." if story.suppressed_by else ""
        )
    return f"It has not gone yet: {_said(ended[-1])}. It is tried again at {output.moment(mail.next_at)} UTC."


def _facts(story: StoryView) -> list[tuple[str, str | Text]]:
    mail = story.notification
    asked = output.printable(story.caused_by)
    if mail.schedule:
        asked = f"the schedule {output.printable(mail.schedule)}, for {output.moment(mail.tick)}"
    links = {"retry of": mail.retry_of, "retried as": story.retried_as}
    return [
        ("template", f"{output.printable(mail.template)}, version {mail.template_version} ({mail.kind})"),
        ("to", _to(mail)),
        ("asked by", f"{asked}, at {output.moment(mail.created_at)}"),
        *(
            (f"{output.printable(name)} (yours)", output.printable(value))
            for name, value in story.metadata.items()
        ),
        ("not before", output.moment(mail.send_at)),
        ("not after", output.moment(mail.not_after)),
        ("batch", str(mail.batch)),
        *((name, str(other)) for name, other in links.items() if other),
        *([("blocked", f"the address is: {story.suppressed_by}")] if story.suppressed_by else []),
    ]


def _to(mail: NotificationView) -> str:
    who = output.shown(mail.email)
    return who if mail.recipient_id is None else f"{who}, {mail.recipient_kind} {mail.recipient_id}"


def _lines(story: StoryView) -> list[Line]:
    """Everything that happened, in the order of time."""
    lines = [
        *(line for each in story.attempts for line in _attempt(each)),
        *map(_transition, story.transitions),
        *map(_callback, story.callbacks),
    ]
    return sorted(lines, key=lambda line: line[:2])


def _transition(each: TransitionView) -> Line:
    because = f": {each.because}" if each.because else ""
    place = 0 if each.state in OPEN else 2
    return each.at, place, output.words(each.state), f"by {each.caused_by}{because}"


def _attempt(each: AttemptView) -> Iterator[Line]:
    name = f"attempt {each.number}"
    yield each.started_at, 1, name, f"by {each.transport}"
    if each.handed_at:
        yield each.handed_at, 1, name, "handed over: from here on the provider may have it"
    if each.ended_at:
        again = f"; again at {output.moment(each.retry_at)}" if each.retry_at else ""
        yield each.ended_at, 1, name, f"{_said(each)}{again}"


def _said(attempt: AttemptView) -> str:
    told = " ".join(each for each in (attempt.code, attempt.detail) if each)
    return output.printable(f"{attempt.outcome}{': ' if told else ''}{told}")


def _callback(each: CallbackView) -> Line:
    return each.received_at, 3, f"told: {each.kind}", each.detail or f"for {output.moment(each.at)}"


def _heading(console: Console, title: str) -> None:
    console.print(Rule(title, align="left", style="dim"))


def _print_mail(console: Console, story: StoryView) -> None:
    if story.body:
        console.print(output.facts([("subject", output.printable(story.body.subject))]))
        print()
        output.print_letter(story.body.text)
    elif story.body_erased_at:
        console.print(f"erased at {output.moment(story.body_erased_at)}")
    elif story.notification.kind == Kind.SECURITY:
        console.print("not shown: it is its reader's alone")
    else:
        console.print("not written yet")
