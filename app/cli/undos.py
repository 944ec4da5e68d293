"""`astrocore undos`: what was taken back, and what could not be."""

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, group
from app.pages import Page
from app.reconciliation.ledger.views import UndoItemView, UndoView

app = group("Look at undos: how far they are, and what could not be taken back.")

COLUMNS = ("id", "of", "status", "changes", "undone", "refused", "created")
NUMBERS = ("changes", "undone", "refused")

UndoId = Annotated[UUID, typer.Argument(metavar="ID", help="The undo's id.", show_default=False)]


@app.command("list")
def list_undos(limit: Limit = 20, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List undos, the latest first."""
    with connect() as api:
        page = api.get(("undos",), Page[UndoView], limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items), right=NUMBERS))
    output.print_more(page.next_cursor, len(page.items))


def _row(undo: UndoView) -> tuple[str | Text, ...]:
    return (
        str(undo.id),
        "a run" if undo.run_id else "changes",
        output.state(undo.status),
        *(f"{number:,}" for number in (undo.changes, undo.undone, undo.refused)),
        output.brief(undo.created_at),
    )


@app.command("show")
def show_undo(
    *,
    undo_id: UndoId,
    status: Annotated[
        str | None,
        typer.Option(help="Only changes in this status: pending, undone, refused.", show_default=False),
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show one undo, and what came of each of its changes."""
    path = ("undos", str(undo_id))
    with connect() as api:
        undo = api.get(path, UndoView)
        page = api.get((*path, "items"), Page[UndoItemView], status=status, limit=limit, cursor=cursor)
    if as_json:
        output.print_json({"undo": undo, "items": page})
        return
    output.stdout().print(undo_facts(undo))
    output.stdout().print(items_table(page.items))
    output.print_more(page.next_cursor, len(page.items))


def undo_facts(undo: UndoView) -> Table:
    """What there is to say of an undo besides its changes."""
    return output.facts(
        [
            ("undo", str(undo.id)),
            ("of", f"run {undo.run_id}" if undo.run_id else "single changes"),
            ("status", output.state(undo.status)),
            ("reason", output.shown(undo.reason)),
            ("started by", output.printable(undo.requested_by)),
            ("created", output.moment(undo.created_at)),
            ("finished", output.moment(undo.finished_at)),
            ("changes", f"{undo.changes:,} of {counted(undo.records, 'record')}"),
            ("undone", f"{undo.undone:,}"),
            ("refused", f"{undo.refused:,}"),
        ]
    )


def items_table(items: Iterable[UndoItemView]) -> Table:
    """Changes that are taken back: which, of what record, and what came of it."""
    rows = (
        (
            output.change(item.change_id, item.entity, item.key),
            item.side,
            output.state(item.status),
            output.shown(item.reason),
        )
        for item in items
    )
    return output.listing(("change", "side", "status", "why not"), rows)


def counted(number: int, what: str) -> str:
    """A number of things: `1 change`, `2,000 changes`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
