"""`astrocore diffs`: confirmed discrepancies, and the decisions that some of them need."""

from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, Reason, group
from app.pages import Page
from app.reconciliation.views import DiffView, FieldView

app = group("Look at discrepancies, and decide those that no rule decides.")

DiffId = Annotated[UUID, typer.Argument(metavar="ID", help="The diff's id.", show_default=False)]


@app.command("list")
def list_diffs(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    status: Annotated[
        str | None, typer.Option(help="Only in this status; pending: all that are open.", show_default=False)
    ] = None,
    run: Annotated[UUID | None, typer.Option(help="Only of this run.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List diffs, the latest first."""
    with connect() as api:
        page = api.get(
            ("diffs",), Page[DiffView], entity=entity, status=status, run_id=run, limit=limit, cursor=cursor
        )
    if as_json:
        output.print_json(page)
        return
    console = output.stdout()
    console.print(output.listing(("id", "entity", "status", "what", "since"), map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


def _row(diff: DiffView) -> tuple[str | Text, ...]:
    what = output.words(diff.kind)
    if diff.kind == "fields":
        what = ", ".join(output.printable(field.name) for field in diff.fields)
    return str(diff.id), diff.entity, output.state(diff.status), what, output.brief(diff.first_seen_at)


@app.command("show")
def show_diff(diff_id: DiffId, as_json: AsJson = False) -> None:
    """Show one diff, field by field."""
    with connect() as api:
        show(api.get(("diffs", str(diff_id)), DiffView), as_json=as_json)


@app.command("approve")
def approve_diff(
    diff_id: DiffId,
    side: Annotated[str, typer.Option(help="Whose values win: document or relational.")],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Settle a diff with the values of one side; the record is repaired in a moment."""
    with connect() as api:
        body = {"side": side, "reason": reason}
        show(api.post(("diffs", str(diff_id), "approve"), DiffView, body), as_json=as_json)


@app.command("reject")
def reject_diff(diff_id: DiffId, reason: Reason, as_json: AsJson = False) -> None:
    """Leave the record as it is, for as long as its values stay what they are."""
    with connect() as api:
        show(api.post(("diffs", str(diff_id), "reject"), DiffView, {"reason": reason}), as_json=as_json)


def show(diff: DiffView, *, as_json: bool) -> None:
    """Print one diff."""
    if as_json:
        output.print_json(diff)
        return
    console = output.stdout()
    console.print(output.facts(diff_facts(diff)))
    if diff.fields:
        console.print(fields_table(diff.fields))


def diff_facts(diff: DiffView) -> list[tuple[str, str | Text]]:
    """What there is to say of a diff besides its fields."""
    decided = (
        f"{output.shown(diff.decided_by)}: {output.shown(diff.resolution)}; {output.shown(diff.decision)}"
        if diff.decided_by
        else output.NOTHING
    )
    return [
        ("diff", str(diff.id)),
        ("record", f"{diff.entity} {output.printable(diff.key)}"),
        ("status", output.state(diff.status)),
        ("what", output.words(diff.kind)),
        ("cause", output.cause(diff.cause, diff.run_id)),
        ("reason", output.shown(diff.reason)),
        ("decided", decided),
        ("seen", output.moment(diff.first_seen_at)),
        ("closed", output.moment(diff.closed_at)),
    ]


def fields_table(fields: list[FieldView]) -> Table:
    """Each field that differs: both values, the rule, and whose value wins; and what both become, where it is a third."""
    thirds = any(field.winner and field.value not in (field.document, field.relational) for field in fields)
    columns = ("field", "document", "relational", "rule", "wins", *(("becomes",) if thirds else ()))
    rows = (
        (
            output.printable(field.name),
            *output.side_by_side(field.document, field.relational),
            output.printable(field.rule),
            field.winner or Text("an operator decides", style="yellow"),
            *((output.shown(field.value) if field.winner else "",) if thirds else ()),
        )
        for field in fields
    )
    return output.listing(columns, rows)
