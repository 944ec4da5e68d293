"""The story of a mail in words: why it went, or why not."""

from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from app.cli import output
from app.notifications.ledger import telling
from app.notifications.ledger.states import OPEN, State
from app.notifications.ledger.views import NotificationView, StoryView
from app.notifications.templates.content import Kind


def print_story(console: Console, story: StoryView) -> None:
    """Print why a mail went or did not, everything that happened to it, and what it says."""
    mail = story.notification
    console.print(Text.assemble((f"mail {mail.id}", "bold"), "  ", output.state(mail.state)))
    console.print(Text(why(story)))
    console.print(output.facts(_facts(story)))
    _heading(console, "what happened; times are UTC")
    rows = [
        (output.moment(each.at), output.words(each.what), output.printable(each.told))
        for each in telling.happened(story)
    ]
    console.print(output.listing(("at", "what", ""), rows))
    _heading(console, "the mail")
    _print_mail(console, story)


def why(story: StoryView) -> str:
    """Why the mail went or did not, and what can be done where nobody knows."""
    unknown = story.notification.state is State.UNKNOWN
    ask = " `astrocore notifications resolve` says whether it has." if unknown else ""
    return output.printable(telling.why(story)) + ask


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
        *([("provider's id", output.printable(story.provider_id))] if story.provider_id else []),
        *((name, str(other)) for name, other in links.items() if other),
        *(
            [("blocked", f"the address is: {story.suppressed_by}")]
            if story.suppressed_by and mail.state not in OPEN
            else []
        ),
    ]


def _to(mail: NotificationView) -> str:
    who = output.shown(mail.email)
    return who if mail.recipient_id is None else f"{who}, {mail.recipient_kind} {mail.recipient_id}"


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
