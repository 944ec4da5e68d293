"""`astrocore runs`: what reconciliation has done and is doing."""

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, Reason, group
from app.pages import Page
from app.reconciliation.views import RunView

app = group("Look at runs, cancel one, or let one go on that the circuit breaker holds.")

RunId = Annotated[UUID, typer.Argument(metavar="ID", help="The run's id.", show_default=False)]


@app.command("list")
def list_runs(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    mode: Annotated[str | None, typer.Option(help="full or incremental.", show_default=False)] = None,
    status: Annotated[str | None, typer.Option(help="Only in this status.", show_default=False)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List runs, the latest first."""
    with connect() as api:
        page = api.get(
            ("runs",), Page[RunView], entity=entity, mode=mode, status=status, limit=limit, cursor=cursor
        )
    if as_json:
        output.print_json(page)
        return
    columns = ("id", "entity", "mode", "status", "created", "found", "review")
    output.stdout().print(output.listing(columns, map(_row, page.items), right=("found", "review")))
    output.print_more(page.next_cursor, len(page.items))


def _row(run: RunView) -> tuple[str | Text, ...]:
    mode = f"{run.mode}, dry" if run.dry_run else run.mode
    review = str(run.outcomes.get("in_review", 0))
    created = output.brief(run.created_at)
    return (
        str(run.id),
        run.entity,
        mode,
        output.state(run.status),
        created,
        str(run.findings),
        review,
    )


@app.command("show")
def show_run(run_id: RunId, as_json: AsJson = False) -> None:
    """Show one run."""
    with connect() as api:
        show(api.get(("runs", str(run_id)), RunView), as_json=as_json)


@app.command("cancel")
def cancel_run(
    run_id: RunId,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "cancelled at the command line",
    as_json: AsJson = False,
) -> None:
    """Cancel a run. What it has repaired stays repaired."""
    with connect() as api:
        show(api.post(("runs", str(run_id), "cancel"), RunView, {"reason": reason}), as_json=as_json)


@app.command("approve")
def approve_run(run_id: RunId, reason: Reason, as_json: AsJson = False) -> None:
    """Let a run go on that the circuit breaker holds."""
    with connect() as api:
        show(api.post(("runs", str(run_id), "approve"), RunView, {"reason": reason}), as_json=as_json)


def show(run: RunView, *, as_json: bool) -> None:
    """Print one run."""
    if as_json:
        output.print_json(run)
    else:
        output.stdout().print(output.facts(_facts(run)))


def _facts(run: RunView) -> list[tuple[str, str | Text]]:
    records = (
        f"{run.document_records:,} document, {run.relational_records:,} relational"
        f" ({run.expected_records:,} expected)"
    )
    seconds = output.seconds_between(run.started_at, run.finished_at)
    return [
        ("run", str(run.id)),
        ("of", f"{run.entity}, {run.mode}{', dry run' if run.dry_run else ''}"),
        ("status", output.state(run.status)),
        ("reason", output.shown(run.reason)),
        ("started by", f"{output.printable(run.requested_by)} ({output.printable(run.cause)})"),
        ("created", output.moment(run.created_at)),
        ("started", output.moment(run.started_at)),
        ("compared", output.moment(run.compared_at)),
        ("finished", output.moment(run.finished_at) + (f" ({seconds:.1f} s)" if seconds is not None else "")),
        ("partitions", f"{run.partitions_done} of {run.partitions}"),
        ("records", records),
        ("found", f"{run.findings:,}{counted(run.kinds)}"),
        ("to look at", f"{run.pending:,}"),
        ("came of it", counted(run.outcomes).strip(" ()") or output.NOTHING),
        ("also led to", counted(run.consequences).strip(" ()") or output.NOTHING),
        ("mapping", run.mapping_hash),
    ]


def counted(counts: dict[str, int]) -> str:
    """Counts by name, the non-zero ones: `` (2 fields, 1 missing document)``; empty where there are none."""
    named = ", ".join(f"{count:,} {output.words(name)}" for name, count in counts.items() if count)
    return f" ({named})" if named else ""
