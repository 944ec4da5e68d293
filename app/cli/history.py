"""`astrocore history`: one record on both sides, and why each of its fields is what it is."""

import shlex
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.diffs import diff_facts, fields_table
from app.cli.options import AsJson
from app.reconciliation.ledger.views import ChangeView, RecordView


def history(
    entity: Annotated[str, typer.Argument(help="customers, launches, bookings, …", show_default=False)],
    key: Annotated[str, typer.Argument(metavar="ID", help="The record's key.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show a record on both sides, its latest discrepancies, and the latest changes made to it with their reasons.

    Up to 100 of each; where there are older ones, it says how to list them.
    """
    with connect() as api:
        record = api.get(("records", entity, key), RecordView)
    if as_json:
        output.print_json(record)
    else:
        _print(output.stdout(), record)


def _print(console: Console, record: RecordView) -> None:
    console.print(
        Text.assemble((f"{record.entity} {output.printable(record.key)}", "bold"), "  ", verdict(record))
    )
    if record.waiting:
        console.print(Text(f"waits to be looked at: {output.printable(record.waiting)}", style="yellow"))
    if record.hold:
        console.print(
            Text(
                f"held by {output.printable(record.hold.placed_by)}: {output.printable(record.hold.reason)}",
                style="yellow",
            )
        )
    console.print(sides_table(record))
    _heading(console, f"discrepancies: {len(record.diffs)}")
    _older(console, record, "diffs", record.more_diffs)
    for diff in sorted(record.diffs, key=lambda diff: diff.first_seen_at):
        console.print(output.facts(diff_facts(diff)))
        if diff.fields:
            console.print(fields_table(diff.fields))
    _heading(console, f"changes: {len(record.changes)}; times are UTC")
    _older(console, record, "changes", record.more_changes)
    for change in sorted(record.changes, key=lambda change: change.intended_at):
        console.print(output.facts(change_facts(change)))
        console.print(change_table(change))


def _heading(console: Console, title: str) -> None:
    console.print(Rule(title, align="left", style="dim"))


def _older(console: Console, record: RecordView, what: str, cursor: str | None) -> None:
    """Say how to list what is older than what is shown."""
    if cursor:
        words = ("astrocore", what, "--entity", record.entity, "--id", record.key, "--cursor", cursor)
        console.print(Text(f"older ones: {output.printable(shlex.join(words))}"), soft_wrap=True)


def verdict(record: RecordView) -> Text:
    """How the two sides of a record stand, in a few words."""
    if record.document is None and record.relational is None:
        return Text("is on neither side", style="yellow")
    if record.document is None:
        return Text("is missing on the document side", style="red")
    if record.relational is None:
        return Text("is missing on the relational side", style="red")
    if record.differing:
        return Text(f"differs in {len(record.differing)}", style="red")
    return Text("agrees on both sides", style="green")


def sides_table(record: RecordView) -> Table:
    """Both sides next to each other; ≠ marks what differs."""
    document, relational = record.document or {}, record.relational or {}
    rows = (_sides_row(name, record, document, relational) for name in {**document, **relational})
    return output.listing(("", "field", "document", "relational"), rows)


def _sides_row(
    name: str, record: RecordView, document: dict[str, Any], relational: dict[str, Any]
) -> tuple[str | Text, ...]:
    style = "red" if name in record.differing else ""
    marks = ("≠" if style else " ", output.printable(name))
    values = _pair(document, relational, name)
    return marks[0], marks[1], Text(values[0], style=style), Text(values[1], style=style)


def _pair(left: dict[str, Any], right: dict[str, Any], name: str) -> tuple[str, str]:
    """A field of both, empty where one does not have it."""
    if name in left and name in right:
        return output.side_by_side(left[name], right[name])
    return output.shown(left[name]) if name in left else "", output.shown(
        right[name]
    ) if name in right else ""


def change_facts(change: ChangeView) -> list[tuple[str, str | Text]]:
    """What there is to say of a change besides its fields: what, when, why, and what became of it."""
    outcome = output.state(change.outcome) if change.outcome else Text("not known yet", style="yellow")
    if change.detail:
        outcome = outcome + f": {output.printable(change.detail)}"
    return [
        ("change", f"{output.words(change.action)} on the {change.side} side ({change.id})"),
        ("cause", output.cause(change.cause, change.run_id)),
        ("diff", str(change.diff_id)),
        ("intended", output.moment(change.intended_at)),
        ("finished", output.moment(change.finished_at)),
        ("outcome", outcome),
    ]


def change_table(change: ChangeView) -> Table:
    """Every field that the change touched: before, after, and the rule that decided."""
    before, after = _with_erased(change, change.before), _with_erased(change, change.after)
    rows = (
        (
            output.printable(name),
            *_pair(before, after, name),
            output.printable(change.policy.get(name, "")),
        )
        for name in {**before, **after}
        if before.get(name) != after.get(name) or name in change.policy
    )
    return output.listing(("field", "before", "after", "rule"), rows)


def _with_erased(change: ChangeView, record: dict[str, Any] | None) -> dict[str, Any]:
    """The record, and a word in place of each value of it that was erased."""
    return {} if record is None else dict.fromkeys(change.erased, "(erased)") | record
