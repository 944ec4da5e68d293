"""`astrocore diffs`: confirmed discrepancies, and the decisions that some of them need."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect, every
from app.cli.errors import CommandError
from app.cli.options import AsJson, Cursor, Limit, OfRecord, Reason, Yes, confirm, group
from app.clock import now
from app.pages import LIMIT_MAX, Page
from app.reconciliation.ledger.views import DiffView, FieldView

app = group("Look at discrepancies, and decide those that no rule decides.")

COLUMNS = ("id", "entity", "status", "what", "age")
KINDS = "fields, missing_document, missing_relational, invariant, unreadable_key"

DiffId = Annotated[UUID, typer.Argument(metavar="ID", help="The diff's id.", show_default=False)]
DiffIds = Annotated[
    list[UUID] | None, typer.Argument(metavar="[ID]…", help="The diffs' ids.", show_default=False)
]
OfRun = Annotated[UUID | None, typer.Option("--run", help="All of this run.", show_default=False)]
OfEntity = Annotated[str | None, typer.Option("--entity", help="All of this entity.", show_default=False)]
OfKind = Annotated[
    str | None,
    typer.Option(
        "--kind",
        help=f"All of this kind: {KINDS}.",
        show_default=False,
    ),
]
AtMost = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, max=LIMIT_MAX, help="Of those chosen, only so many at once.", show_default=False
    ),
]


@app.command("list")
def list_diffs(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    status: Annotated[
        str | None, typer.Option(help="Only in this status; pending: all that are open.", show_default=False)
    ] = None,
    run: Annotated[UUID | None, typer.Option(help="Only of this run.", show_default=False)] = None,
    kind: Annotated[str | None, typer.Option(help=f"Only of this kind: {KINDS}.", show_default=False)] = None,
    record: OfRecord = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List diffs, the latest first."""
    filters = {"entity": entity, "status": status, "run_id": run, "kind": kind, "id": record}
    with connect() as api:
        page = api.get(("diffs",), Page[DiffView], **filters, limit=limit, cursor=cursor)
    if as_json:
        output.print_json(page)
        return
    console = output.stdout()
    console.print(output.listing(COLUMNS, map(_row, page.items)))
    output.print_more(page.next_cursor, len(page.items))


def _row(diff: DiffView) -> tuple[str | Text, ...]:
    what = _what(diff)
    if diff.kind == "fields":
        what = ", ".join(output.printable(field.name) for field in diff.fields)
    return str(diff.id), diff.entity, output.state(diff.status), what, _age(diff)


def _age(diff: DiffView) -> str:
    """How long its values have been, or were, what they are."""
    return output.age((diff.closed_at or now()) - diff.moved_at)


def _what(diff: DiffView) -> str:
    return f"invariant {output.printable(diff.invariant)}" if diff.invariant else output.words(diff.kind)


@app.command("show")
def show_diff(diff_id: DiffId, as_json: AsJson = False) -> None:
    """Show one diff, field by field."""
    with connect() as api:
        show(api.get(("diffs", str(diff_id)), DiffView), as_json=as_json)


@app.command("approve")
def approve_diffs(
    *,
    diff_ids: DiffIds = None,
    side: Annotated[str, typer.Option(help="Whose values win: document or relational.")],
    reason: Reason,
    run: OfRun = None,
    entity: OfEntity = None,
    kind: OfKind = None,
    limit: AtMost = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Settle diffs with the values of one side, all or none; the records are repaired in a moment."""
    with connect() as api:
        found = _found(api, diff_ids, ("in_review",), run_id=run, entity=entity, kind=kind)
        chosen = _chosen(diff_ids, _approvable(found, _most(limit)))
        _confirm(chosen, f"Let the {side} side win in", yes=yes, asked=not diff_ids)
        _print_decided(_decide(api, "approve", chosen, {"side": side, "reason": reason}), as_json=as_json)


@app.command("reject")
def reject_diffs(
    *,
    diff_ids: DiffIds = None,
    reason: Reason,
    run: OfRun = None,
    entity: OfEntity = None,
    kind: OfKind = None,
    limit: AtMost = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Leave the records as they are, for as long as their values stay what they are; all or none."""
    statuses = ("in_review", "open", "unsettled")
    with connect() as api:
        found = _found(api, diff_ids, statuses, run_id=run, entity=entity, kind=kind)
        chosen = _chosen(diff_ids, islice(found, _most(limit)))
        _confirm(chosen, "Leave as they are the records of", yes=yes, asked=not diff_ids)
        _print_decided(_decide(api, "reject", chosen, {"reason": reason}), as_json=as_json)


def _found(
    api: Api, named: Sequence[UUID] | None, statuses: Sequence[str], **filters: object
) -> Iterator[DiffView]:
    """What the filters find, read page by page as it is asked for; none where diffs were named instead."""
    filtering = any(value is not None for value in filters.values())
    if bool(named) == filtering:
        raise CommandError(
            "which diffs?", "name them by their ids, or choose them by --run, --entity or --kind"
        )
    return (
        diff
        for status in statuses
        if filtering
        for diff in every(api, ("diffs",), DiffView, status=status, **filters)
    )


def _most(limit: int | None) -> int:
    """How many diffs to look for: without a limit, one more than are decided at once tells that there are too many."""
    return limit or LIMIT_MAX + 1


def _chosen(named: Sequence[UUID] | None, found: Iterable[DiffView]) -> list[UUID]:
    """The diffs that were named, or those found; raises CommandError where there is none, or more than one call takes."""
    chosen = list(named or (diff.id for diff in found))
    if not chosen:
        raise CommandError("no diff that waits for such a decision is among those")
    if len(chosen) > LIMIT_MAX:
        raise CommandError(
            f"these are more than the {LIMIT_MAX:,} diffs that are decided at once, and none was",
            f"--limit {LIMIT_MAX} decides so many of those that a filter finds; then the next ones",
        )
    return chosen


def _approvable(found: Iterable[DiffView], most: int) -> list[DiffView]:
    """The first ones where a side can be chosen; says how many were left out on the way."""
    fit: list[DiffView] = []
    left_out = 0
    for diff in found:
        if diff.approvable:
            fit.append(diff)
        else:
            left_out += 1
        if len(fit) == most:
            break
    if left_out:
        output.stderr().print(f"{left_out:,} left out: no side can be chosen in them")
    return fit


def _confirm(chosen: Sequence[UUID], question: str, *, yes: bool, asked: bool) -> None:
    if asked and not yes:
        confirm(f"{question} {len(chosen):,} diff{'' if len(chosen) == 1 else 's'}?")


def _decide(api: Api, decision: str, chosen: Sequence[UUID], body: dict[str, str]) -> list[DiffView]:
    return api.post(("diffs", decision), list[DiffView], {"ids": [str(each) for each in chosen], **body})


def _print_decided(decided: list[DiffView], *, as_json: bool) -> None:
    if as_json:
        output.print_json(decided)
    elif len(decided) == 1:
        show(decided[0], as_json=False)
    else:
        output.stdout().print(output.listing(COLUMNS, map(_row, decided)))


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
        ("what", _what(diff)),
        ("cause", output.cause(diff.cause, diff.run_id)),
        ("reason", output.shown(diff.reason)),
        ("decided", decided),
        ("seen", output.moment(diff.first_seen_at)),
        ("unchanged", f"since {output.moment(diff.moved_at)}, {_age(diff)}"),
        ("closed", output.moment(diff.closed_at)),
        *(
            [("erased", f"{output.moment(diff.erased_at)}: the person was forgotten")]
            if diff.erased_at
            else []
        ),
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
