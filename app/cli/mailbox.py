"""`astrocore mailbox`: the mail that an embedded system has sent, which nobody else ever gets."""

from typing import Annotated

import typer

from app.cli import output
from app.cli.errors import CommandError
from app.cli.options import AsJson, Limit, Yes, confirm, group
from app.embedded.mailbox import Mailbox, Message
from config.settings import PREFIX, settings

app = group("Look at the mail of an embedded system.")

_SHOWN = ("Date", "From", "To", "Subject", "Message-ID", "List-Unsubscribe")

Id = Annotated[
    str | None, typer.Argument(help="Of the message. Default: the newest one.", show_default=False)
]
Html = Annotated[bool, typer.Option("--html", help="Print its HTML alone.")]


@app.command("list")
def list_messages(limit: Limit = 50, as_json: AsJson = False) -> None:
    """List messages, the newest first."""
    found = _mailbox().latest(limit)
    if as_json:
        output.print_json(found)
        return
    rows = (
        (
            each.id,
            output.brief(each.at),
            output.printable(", ".join(each.to)),
            output.printable(each.subject),
        )
        for each in found
    )
    output.stdout().print(output.listing(("id", "since", "to", "subject"), rows))


@app.command("show")
def show(message_id: Id = None, *, html: Html = False, as_json: AsJson = False) -> None:
    """Show a message: its headers, and its text as a mail program without HTML shows it."""
    message = _message(_mailbox(), message_id)
    if as_json:
        output.print_json(message)
    elif html:
        print(output.printable(message.html or "", keep=output.LINE_END))
    else:
        headers = dict(message.headers)
        pairs = [(name, output.printable(headers[name])) for name in _SHOWN if name in headers]
        output.stdout().print(output.facts(pairs))
        print()
        output.print_letter(message.text or "")


@app.command("clear")
def clear(yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete every message."""
    mailbox = _mailbox()
    if not yes:
        confirm("Delete every message?")
    count = mailbox.clear()
    if as_json:
        output.print_json({"deleted": count})
    else:
        print(f"deleted {count} messages")


def _mailbox() -> Mailbox:
    mailbox = Mailbox.below(settings().data_dir)
    if not mailbox.folder.is_dir():
        raise CommandError(
            f"no embedded system has a mailbox in {settings().data_dir}",
            f"`astrocore up` makes one, unless {PREFIX}NOTIFICATION_SMTP_HOST says where else mail goes",
        )
    return mailbox


def _message(mailbox: Mailbox, message_id: str | None) -> Message:
    if message_id is None:
        latest = mailbox.latest(1)
        if not latest:
            raise CommandError("the mailbox is empty")
        message_id = latest[0].id
    message = mailbox.message(message_id)
    if message is None:
        raise CommandError(
            f"the mailbox has no message {message_id}", "`astrocore mailbox` lists what there is"
        )
    return message
