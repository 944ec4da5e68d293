"""`astrocore changes`: what was written to either side."""

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, OfRecord
from app.pages import Page
from app.reconciliation.ledger.views import ChangeView

COLUMNS = ("change", "side", "action", "outcome", "intended")


def changes(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    record: OfRecord = None,
    run: Annotated[UUID | None, typer.Option(help="Only of this run.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List changes made to either side, the latest first.

    `astrocore history ENTITY ID` shows those of one record field by field.
    """
    with connect() as api:
        page = api.get(
            ("changes",), Page[ChangeView], entity=entity, id=record, run_id=run, limit=limit, cursor=cursor
        )
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


def _row(change: ChangeView) -> tuple[str | Text, ...]:
    return (
        output.change(change.id, change.entity, change.key),
        change.side,
        f"{output.words(change.action)}{' (undo)' if change.undoes else ''}",
        output.state(change.outcome) if change.outcome else output.NOTHING,
        output.brief(change.intended_at),
    )
