"""`astrocore runs`: what reconciliation has done and is doing."""

from typing import Annotated
from uuid import UUID

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Cursor, Limit, Reason, group
from app.pages import Page
from app.reconciliation.ledger.views import LEAST_THROTTLE, MOST_THROTTLE, PartitionView, RunView

app = group(
    "Look at runs; pause, resume, throttle or cancel one, or let one go on that the circuit breaker holds."
)

RunId = Annotated[UUID, typer.Argument(metavar="ID", help="The run's id.", show_default=False)]


@app.command("list")
def list_runs(
    *,
    entity: Annotated[str | None, typer.Option(help="Only of this entity.", show_default=False)] = None,
    mode: Annotated[
        str | None, typer.Option(help="full, incremental or invariants.", show_default=False)
    ] = None,
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
        Text("paused", style="yellow") if run.paused_at else output.state(run.status),
        created,
        str(run.findings),
        review,
    )


@app.command("show")
def show_run(
    run_id: RunId,
    partitions: Annotated[bool, typer.Option("--partitions", help="List its partitions instead.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show one run, or its partitions."""
    path = ("runs", str(run_id))
    with connect() as api:
        if partitions:
            page = api.get((*path, "partitions"), Page[PartitionView], limit=limit, cursor=cursor)
            show_partitions(page, as_json=as_json)
        else:
            show(api.get(path, RunView), as_json=as_json)


@app.command("pause")
def pause_run(run_id: RunId, reason: Reason, as_json: AsJson = False) -> None:
    """Have a run rest: nothing is read or repaired for it until it is resumed."""
    with connect() as api:
        show(api.post(("runs", str(run_id), "pause"), RunView, {"reason": reason}), as_json=as_json)


@app.command("resume")
def resume_run(run_id: RunId, reason: Reason, as_json: AsJson = False) -> None:
    """Let a paused run go on where it stopped."""
    with connect() as api:
        show(api.post(("runs", str(run_id), "resume"), RunView, {"reason": reason}), as_json=as_json)


@app.command("throttle")
def throttle_run(
    run_id: RunId,
    records: Annotated[str, typer.Argument(metavar="N|off", help="Records a second, of each side; or off.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "throttled at the command line",
    as_json: AsJson = False,
) -> None:
    """Have a run read at most so many records a second, over all workers."""
    body = {"records_per_second": throttle_of(records), "reason": reason}
    with connect() as api:
        show(api.patch(("runs", str(run_id)), RunView, body), as_json=as_json)


def throttle_of(text: str) -> int | None:
    """A throttle as it is typed: a number, or `off`."""
    if text == "off":
        return None
    if text.isascii() and text.isdigit() and LEAST_THROTTLE <= int(text) <= MOST_THROTTLE:
        return int(text)
    raise typer.BadParameter(f"give a number from {LEAST_THROTTLE} to {MOST_THROTTLE}, or off")


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
        ("status", _status(run)),
        ("reason", output.shown(run.reason)),
        ("warnings", "\n".join(map(output.printable, run.warnings)) or output.NOTHING),
        ("started by", f"{output.printable(run.requested_by)} ({output.printable(run.cause)})"),
        ("created", output.moment(run.created_at)),
        ("started", output.moment(run.started_at)),
        ("compared", output.moment(run.compared_at) + _took(run.compare_seconds)),
        ("finished", output.moment(run.finished_at) + _took(seconds)),
        ("paused", _took(run.paused_seconds or None).strip(" ()") or output.NOTHING),
        ("partitions", f"{run.partitions_done} of {run.partitions}"),
        ("records", records),
        ("throttle", f"{run.records_per_second:,}/s" if run.records_per_second else output.NOTHING),
        ("found", f"{run.findings:,}{counted(run.kinds)}"),
        ("to look at", f"{run.pending:,}"),
        ("came of it", counted(run.outcomes).strip(" ()") or output.NOTHING),
        ("also led to", counted(run.consequences).strip(" ()") or output.NOTHING),
        ("mapping", run.mapping_hash),
    ]


def _status(run: RunView) -> Text:
    text = output.state(run.status)
    return text.append(f", paused since {output.moment(run.paused_at)}") if run.paused_at else text


def _took(seconds: float | None) -> str:
    return "" if seconds is None else f" ({seconds:.1f} s)"


def show_partitions(page: Page[PartitionView], *, as_json: bool) -> None:
    """Print a page of partitions."""
    if as_json:
        output.print_json(page)
        return
    columns = ("no.", "from", "below", "status", "documents", "rows", "found", "tries", "finished")
    numbers = ("no.", "documents", "rows", "found", "tries")
    output.stdout().print(output.listing(columns, map(_partition_row, page.items), right=numbers))
    output.print_more(page.next_cursor, len(page.items))


def _partition_row(part: PartitionView) -> tuple[str | Text, ...]:
    return (
        str(part.number),
        output.shown(part.low),
        output.shown(part.high),
        output.state(part.status),
        f"{part.document_records:,}",
        f"{part.relational_records:,}",
        f"{part.findings:,}",
        str(part.attempts),
        output.moment(part.finished_at),
    )


def counted(counts: dict[str, int]) -> str:
    """Counts by name, the non-zero ones: `` (2 fields, 1 missing document)``; empty where there are none."""
    named = ", ".join(f"{count:,} {output.words(name)}" for name, count in counts.items() if count)
    return f" ({named})" if named else ""
