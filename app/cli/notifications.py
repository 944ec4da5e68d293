"""`astrocore notifications`: mails, and why each of them went or did not."""

from typing import Annotated, Any
from uuid import UUID

import typer

from app.cli import output
from app.cli.client import Api, connect
from app.cli.errors import CommandError
from app.cli.options import AsJson, Cursor, Limit, Reason, Yes, confirm, group
from app.cli.story import print_story
from app.notifications.ledger.states import State
from app.notifications.ledger.views import NotificationView, RetriesView, StoryView
from app.pages import Page

app = group("Look at mails, and decide about them.")

COLUMNS = ("id", "template", "to", "state", "goes", "attempts")
ALL = "notifications"

Id = Annotated[UUID, typer.Argument(metavar="ID", help="The notification's id.", show_default=False)]
OfBatch = Annotated[UUID | None, typer.Option("--batch", help="Only of this batch.", show_default=False)]
OfTemplate = Annotated[
    str | None, typer.Option("--template", help="Only of this template.", show_default=False)
]


@app.command("list")
def list_notifications(
    *,
    state: Annotated[State | None, typer.Option(help="Only in this state.", show_default=False)] = None,
    template: OfTemplate = None,
    to: Annotated[str | None, typer.Option("--to", help="Only to this address.", show_default=False)] = None,
    recipient: Annotated[
        UUID | None,
        typer.Option(help="Only to this customer, supplier or user, by id.", show_default=False),
    ] = None,
    batch: OfBatch = None,
    schedule: Annotated[str | None, typer.Option(help="Only of this schedule.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List notifications, the latest first."""
    filters: dict[str, Any] = {
        "status": state, "template": template, "email": to, "recipient": recipient, "batch": batch, "schedule": schedule,
    }  # fmt: skip
    with connect() as api:
        page = api.get((ALL,), Page[NotificationView], **filters, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items), right=("attempts",)))
    output.print_more(page.next_cursor, len(page.items))


@app.command("show")
def show(notification: Id, as_json: AsJson = False) -> None:
    """Tell why a mail went, or did not: what caused it, what was tried, what the provider told, and what it says."""
    with connect() as api:
        story = api.get((ALL, str(notification)), StoryView)
    if as_json:
        output.print_json(story)
    else:
        print_story(output.stdout(), story)


@app.command("cancel")
def cancel(notification: Id, reason: Reason, as_json: AsJson = False) -> None:
    """Take a mail back, while the provider cannot have it."""
    with connect() as api:
        _tell(_decide(api, notification, "cancel", {"reason": reason}), as_json=as_json)


@app.command("reschedule")
def reschedule(
    notification: Id,
    at: Annotated[
        str,
        typer.Option("--at", metavar="INSTANT", help="When, as 2027-03-14T16:30:00[Europe/Madrid]."),
    ],
    as_json: AsJson = False,
) -> None:
    """Send a mail at another time, until it is handed over."""
    with connect() as api:
        _tell(_decide(api, notification, "reschedule", {"send_at": at}), as_json=as_json)


@app.command("retry")
def retry(
    notification: Annotated[
        UUID | None, typer.Argument(metavar="[ID]", help="The notification's id.", show_default=False)
    ] = None,
    *,
    reason: Reason,
    state: Annotated[
        State | None,
        typer.Option(help="All in this state. Default: those that failed.", show_default=False),
    ] = None,
    template: OfTemplate = None,
    batch: OfBatch = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how many.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Send a mail again, or up to a thousand that failed, each as a new notification.

    One that is unknown may have gone: its recipient may get it twice.
    """
    filters = {"state": state, "template": template, "batch": batch}
    given = {name: str(value) for name, value in filters.items() if value is not None}
    if bool(given) == (notification is not None):
        raise CommandError("which mails?", "name one by its id, or choose by --state, --template or --batch")
    if notification is not None and dry_run:
        raise CommandError(
            "--dry-run only tells how many mails would go, and one was named",
            f"`astrocore notifications show {notification}` tells of it; without --dry-run it is sent again",
        )
    with connect() as api:
        if notification is not None:
            _tell(_decide(api, notification, "retry", {"reason": reason}), as_json=as_json)
            return
        tried = _retry(api, given | {"reason": reason, "dry_run": True})
        if not (dry_run or yes):
            confirm(f"Send {len(tried.found):,} mails again?")
        if not dry_run:
            tried = _retry(api, given | {"reason": reason})
    _tell_retried(tried, as_json=as_json)


@app.command("resolve")
def resolve(
    notification: Id,
    state: Annotated[State, typer.Argument(metavar="sent|failed", help="What it was.", show_default=False)],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Say of a mail that is unknown whether it was sent, and how that is known."""
    with connect() as api:
        _tell(_decide(api, notification, "resolve", {"state": state, "reason": reason}), as_json=as_json)


def _decide(api: Api, notification: UUID, verb: str, body: dict[str, Any]) -> NotificationView:
    return api.post((ALL, str(notification), verb), NotificationView, body)


def _retry(api: Api, body: dict[str, Any]) -> RetriesView:
    return api.post((ALL, "retry"), RetriesView, body)


def _tell(view: NotificationView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
    else:
        output.stdout().print(output.listing(COLUMNS, [_row(view)], right=("attempts",)))


def _tell_retried(tried: RetriesView, *, as_json: bool) -> None:
    if as_json:
        output.print_json(tried)
        return
    print(f"found {len(tried.found):,}, sent again {len(tried.retried):,}")
    if tried.refused:
        rows = [(str(each), output.printable(why)) for each, why in tried.refused.items()]
        output.stdout().print(output.listing(("id", "not sent again, because"), rows))


def _row(view: NotificationView) -> tuple[Any, ...]:
    return (
        str(view.id),
        output.printable(view.template),
        output.shown(view.email or view.recipient_id),
        output.state(view.state),
        output.brief(view.next_at or view.send_at),
        str(view.attempts),
    )
