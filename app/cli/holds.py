"""`astrocore holds`: records that are to be left alone."""

from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, OfRecord, Reason, group
from app.pages import Page
from app.reconciliation.ledger.views import HoldsPlaced, HoldView

app = group("Leave records alone, or let them be repaired again.")

COLUMNS = ("entity", "id", "reason", "by", "since")

Entity = Annotated[str, typer.Argument(help="customers, launches, bookings, …", show_default=False)]
Keys = Annotated[list[str], typer.Argument(metavar="ID…", help="The records' keys.", show_default=False)]


@app.command("list")
def list_holds(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    record: OfRecord = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List holds, the latest first."""
    with connect() as api:
        page = api.get(("holds",), Page[HoldView], entity=entity, id=record, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


@app.command("place")
def place_holds(entity: Entity, keys: Keys, reason: Reason, as_json: AsJson = False) -> None:
    """Leave records alone until they are released; what is held already keeps its hold."""
    with connect() as api:
        placed = api.post(("holds",), HoldsPlaced, _body(entity, keys, reason))
    if as_json:
        output.print_json(placed)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, [*placed.placed, *placed.already_held])))
    if placed.already_held:
        output.stderr().print(f"{len(placed.already_held)} of them held already, and kept as they were")


@app.command("release")
def release_holds(entity: Entity, keys: Keys, reason: Reason, as_json: AsJson = False) -> None:
    """Let records be repaired again; they are looked at in a moment."""
    with connect() as api:
        released = api.post(("holds", "release"), list[HoldView], _body(entity, keys, reason))
    if as_json:
        output.print_json(released)
    else:
        output.stdout().print(
            output.listing((*COLUMNS[:2], "was held for", *COLUMNS[3:]), map(_row, released))
        )


def _body(entity: str, keys: list[str], reason: str) -> dict[str, Any]:
    return {"records": [{"entity": entity, "id": key} for key in keys], "reason": reason}


def _row(hold: HoldView) -> tuple[str | Text, ...]:
    return (
        output.printable(hold.entity),
        output.printable(hold.key),
        output.printable(hold.reason),
        output.printable(hold.placed_by),
        output.brief(hold.placed_at),
    )
