"""`astrocore audit list` and `show`: what was done, by whom, and why."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from msgspec import UNSET
from rich.text import Text

from app.audit.entries import Fact, Kind, Personal
from app.audit.views import EntryPage, EntryView
from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, OfRecord, settled
from app.moments import SAID

COLUMNS = ("number", "when", "what happened")


class Order(StrEnum):
    """Which entries come first."""

    NEWEST = "newest"
    OLDEST = "oldest"


def list_entries(
    *,
    kind: Annotated[Kind | None, typer.Option(help="Only of this kind.", show_default=False)] = None,
    name: Annotated[
        Fact | None, typer.Option(help="Only facts of this name.", show_default=False, metavar="NAME")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this actor did.", show_default=False)] = None,
    run: Annotated[UUID | None, typer.Option(help="Only of this run.", show_default=False)] = None,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    record: OfRecord = None,
    since: Annotated[str | None, typer.Option(help=f"From then on; {SAID}.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option(help="Before then; as --since.", show_default=False)] = None,
    order: Annotated[Order, typer.Option(help="Which come first.")] = Order.NEWEST,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List audit entries, the latest first. That you read them is recorded there too."""
    with connect() as api:
        page = api.get(
            ("audit",),
            EntryPage,
            kind=kind,
            name=name,
            actor=actor,
            run_id=run,
            entity=entity,
            id=record,
            since=settled("--since", since),
            until=settled("--until", until),
            order=order,
            limit=limit,
            cursor=cursor,
        )
    if as_json:
        output.print_json(page)
        return
    output.stdout().print(output.listing(COLUMNS, map(_row, page.items), right=("number",)))
    if not page.complete:
        output.stderr().print("the filters seldom hold: only some entries were looked at")
    output.print_more(page.next_cursor, len(page.items))


def show(
    sequence: Annotated[int, typer.Argument(help="The entry's number.", show_default=False, min=1)],
    as_json: AsJson = False,
) -> None:
    """Show one audit entry with all that it holds."""
    with connect() as api:
        found = api.get(("audit", str(sequence)), EntryView)
    if as_json:
        output.print_json(found)
        return
    console = output.stdout()
    console.print(Text.assemble((f"{found.sequence}  ", "bold"), output.printable(found.text)))
    console.print(output.facts(_facts(found)))


def _facts(found: EntryView) -> list[tuple[str, str]]:
    entry = found.entry
    held = ((name, getattr(entry, name)) for name in entry.__struct_fields__)
    shown = ((output.words(name), _shown(value)) for name, value in held if value is not UNSET)
    return [("kind", found.kind), *shown]


def _shown(value: object) -> str:
    match value:
        case datetime():
            return output.moment(value)
        case UUID():
            return str(value)
        case Personal():
            gone = ", erased" if value.is_erased else ""
            return output.printable(f"{', '.join(value.fields)}, of {', '.join(value.persons)}{gone}")
        case _:
            return output.shown(value)


def _row(found: EntryView) -> tuple[str | Text, ...]:
    return str(found.sequence), output.moment(found.at), output.printable(found.text)
