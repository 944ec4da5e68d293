"""`astrocore suppressions`: addresses that get no mail."""

from enum import StrEnum
from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, Reason, group
from app.notifications.ledger.views import SuppressionView
from app.pages import Page

app = group("Look after addresses that get no mail, or none of a kind.")

COLUMNS = ("address", "mail", "reason", "by", "note", "since")
PATH = ("notifications", "suppressions")


class Mail(StrEnum):
    """What an address gets no more."""

    ALL = "all"
    ALERT = "alert"
    DIGEST = "digest"


Address = Annotated[str, typer.Argument(help="The address.", show_default=False)]
Kind = Annotated[Mail, typer.Option("--kind", help="All mail, or that of a kind.")]


@app.command("list")
def list_suppressions(
    *,
    email: Annotated[str | None, typer.Option(help="Only of this address.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List addresses that get no mail, in the order of the alphabet."""
    with connect() as api:
        page = api.get(PATH, Page[SuppressionView], email=email, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


@app.command("add")
def add(email: Address, reason: Reason, kind: Kind = Mail.ALL, as_json: AsJson = False) -> None:
    """Send an address no more mail; what waits for it is not sent either."""
    with connect() as api:
        made = api.post(PATH, SuppressionView, {"email": email, "scope": kind, "reason": reason})
    if as_json:
        output.print_json(made)
    else:
        output.stdout().print(output.listing(COLUMNS, [_row(made)]))


@app.command("remove")
def remove(email: Address, reason: Reason, kind: Kind = Mail.ALL, as_json: AsJson = False) -> None:
    """Let an address get mail again."""
    with connect() as api:
        api.delete(PATH, email=email, kind=kind, reason=reason)
    if as_json:
        output.print_json({"email": email, "kind": kind})
    else:
        print("it gets mail again")


def _row(each: SuppressionView) -> tuple[str, ...]:
    return (
        output.printable(each.email),
        each.scope,
        output.words(each.reason),
        output.printable(each.caused_by),
        output.shown(each.note),
        output.brief(each.created_at),
    )
