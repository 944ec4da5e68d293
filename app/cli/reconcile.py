"""`astrocore reconcile`: start runs and follow them to their end."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect
from app.cli.errors import CommandError, InterruptedCommandError
from app.cli.options import AsJson
from app.cli.progress import follow, progress
from app.reconciliation.ledger.views import LEAST_THROTTLE, MOST_THROTTLE, JobView, RunView

COUNTED = ("repaired", "in_review")  # outcomes with a column of their own
KINDS = ("fields", "missing_document", "missing_relational")


def reconcile(
    *,
    entities: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTITY]…", help="All unless named.", show_default=False)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find and propose; change nothing.")] = False,
    incremental: Annotated[
        bool, typer.Option("--incremental", help="Look only at what changed since: --mode incremental.")
    ] = False,
    mode: Annotated[
        str | None,
        typer.Option(help="full, incremental or invariants; full unless said.", show_default=False),
    ] = None,
    throttle: Annotated[
        int | None,
        typer.Option(
            min=LEAST_THROTTLE,
            max=MOST_THROTTLE,
            help="Read at most so many records a second, of each side.",
            show_default=False,
        ),
    ] = None,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Start the runs and return.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare both databases and repair what differs: referenced entities first, one after the other.

    With --mode invariants: check what must hold on each side by itself, and report what does not.
    Ctrl-C stops the watching, not the run.
    """
    if incremental and mode not in {None, "incremental"}:
        raise typer.BadParameter(f"--incremental and --mode {mode} say different things: give one of them")
    mode = "incremental" if incremental else mode or "full"
    order: dict[str, object] = {"mode": mode, "dry_run": dry_run}
    if throttle is not None:
        order["records_per_second"] = throttle
    with connect() as api:
        chosen = in_order(api.get(("jobs",), list[JobView]), entities or [], mode)
        if no_follow:
            started = [_start(api, entity, order) for entity in chosen]
            _summarise(started, as_json=as_json)
            return
        ended = _one_by_one(api, chosen, order)
    _summarise(ended, as_json=as_json)
    last = ended[-1]
    if last.status != "done":
        raise _stopped(last, chosen[len(ended) :])


def in_order(jobs: Sequence[JobView], named: Sequence[str], mode: str) -> list[str]:
    """The entities named, else all that have a job of that mode, in the order of the jobs: referenced ones first.

    Raises CommandError for an entity that is unknown to the system, and where no job has that mode.
    """
    known = list(dict.fromkeys(job.entity for job in jobs))
    for entity in named:
        if entity not in known:
            raise CommandError(f"unknown entity {entity!r}", f"known are {', '.join(known)}")
    wanted = named or [job.entity for job in jobs if job.mode == mode]
    if not wanted:
        modes = dict.fromkeys(job.mode for job in jobs)
        raise CommandError(f"no entity has a job of mode {mode!r}", f"known are {', '.join(modes)}")
    return [entity for entity in known if entity in wanted]


def _start(api: Api, entity: str, order: dict[str, object]) -> RunView:
    return api.post(("runs",), RunView, {"entity": entity, **order})


def _one_by_one(api: Api, entities: list[str], order: dict[str, object]) -> list[RunView]:
    """Start each run when the one before has ended, as long as they end well."""
    ended: list[RunView] = []
    console = output.stderr()
    with progress(console) as show:
        for number, entity in enumerate(entities):
            run = _start(api, entity, order)
            try:
                ended.append(follow(api, run, show))
            except KeyboardInterrupt:
                raise _unwatched(run, entities[number + 1 :]) from None
            if ended[-1].status != "done":
                break
    return ended


def _unwatched(run: RunView, rest: list[str]) -> InterruptedCommandError:
    what = f"no longer watching; run {run.id} of {run.entity} goes on"
    if rest:
        what += f" ({', '.join(rest)}: not started)"
    return InterruptedCommandError(
        what, f"`astrocore runs show {run.id}` shows it, `astrocore runs cancel {run.id}` ends it"
    )


def _stopped(run: RunView, rest: list[str]) -> CommandError:
    what = f"run {run.id} of {run.entity} is {output.words(run.status)}"
    if run.reason:
        what += f": {run.reason}"
    if rest:
        what += f" ({', '.join(rest)}: not started)"
    hint = f"`astrocore runs show {run.id}` says more"
    if run.status == "repairing":
        hint = f"look at `astrocore jobs`, then `astrocore jobs allow {run.entity} --reason …`"
    elif run.status == "held":
        hint = f"look at `astrocore runs show {run.id}`, then `astrocore runs approve {run.id} --reason …` or `cancel`"
    return CommandError(what, hint)


def _summarise(runs: list[RunView], *, as_json: bool) -> None:
    if as_json:
        output.print_json(runs)
    else:
        output.stdout().print(summary(runs))
        for run in runs:
            for warning in run.warnings:
                output.stderr().print(output.printable(f"{run.entity}: {warning}"), style="yellow")


def summary(runs: Sequence[RunView]) -> Table:
    """One line per run: how much was compared, what was found, what became of it."""
    columns = (
        "entity",
        "status",
        "records",
        "fields",
        "no doc.",
        "no rel.",
        "repaired",
        "review",
        "other",
        "s",
    )
    numbers = ("records", "fields", "no doc.", "no rel.", "repaired", "review", "s")
    return output.listing(columns, map(_row, runs), right=numbers)


def _row(run: RunView) -> tuple[str | Text, ...]:
    seconds = output.seconds_between(run.created_at, run.finished_at)
    others = [
        *(f"{count:,} {output.words(name)}" for name, count in run.outcomes.items() if name not in COUNTED),
        *(f"{count:,} {output.words(kind)}" for kind, count in run.kinds.items() if kind not in KINDS),
        *(f"+{count:,} {entity}" for entity, count in run.consequences.items()),
    ]
    return (
        run.entity,
        output.state(run.status),
        f"{run.document_records:,} / {run.relational_records:,}",
        *(f"{run.kinds.get(kind, 0):,}" for kind in KINDS),
        *(f"{run.outcomes.get(outcome, 0):,}" for outcome in COUNTED),
        ", ".join(others) or output.NOTHING,
        output.NOTHING if seconds is None else f"{seconds:.1f}",
    )
