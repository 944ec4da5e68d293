"""`astrocore jobs`: the predefined reconciliations, and whether they repair."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect
from app.cli.options import AsJson, Reason, group
from app.reconciliation.ledger.views import JobView

app = group("Look at the predefined reconciliations; let them repair or only observe; pause them.")

Name = Annotated[str | None, typer.Argument(help="The job's name.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="Every job.")]


@app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """List the jobs."""
    with connect() as api:
        show(_all(api), as_json=as_json)


@app.command("repair")
def repair(reason: Reason, name: Name = None, every: Every = False, as_json: AsJson = False) -> None:
    """Let a job repair what it finds; those that check invariants only ever tell."""
    _change(name, {"repairs": True, "reason": reason}, every=every, as_json=as_json)


@app.command("observe")
def observe(reason: Reason, name: Name = None, every: Every = False, as_json: AsJson = False) -> None:
    """Have a job find and tell, and change nothing."""
    _change(name, {"repairs": False, "reason": reason}, every=every, as_json=as_json)


@app.command("pause")
def pause(reason: Reason, name: Name = None, every: Every = False, as_json: AsJson = False) -> None:
    """Stop starting a job on its schedule."""
    _change(name, {"paused": True, "reason": reason}, every=every, as_json=as_json)


@app.command("resume")
def resume(reason: Reason, name: Name = None, every: Every = False, as_json: AsJson = False) -> None:
    """Start a job on its schedule again."""
    _change(name, {"paused": False, "reason": reason}, every=every, as_json=as_json)


@app.command("allow")
def allow(
    entity: Annotated[str, typer.Argument(help="The entity whose repairs stopped.", show_default=False)],
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Let repairs of an entity go on after the circuit breaker stopped them."""
    with connect() as api:
        api.send(("entities", entity, "allow-repairs"), {"reason": reason})
        show([job for job in _all(api) if job.entity == entity], as_json=as_json)


def _all(api: Api) -> list[JobView]:
    return api.get(("jobs",), list[JobView])


def _change(name: str | None, change: dict[str, Any], *, every: bool, as_json: bool) -> None:
    if (name is None) is not every:
        raise typer.BadParameter("name one job, or --all")
    with connect() as api:
        names = [job.name for job in _all(api) if _can(job, change)] if name is None else [name]
        show([api.patch(("jobs", each), JobView, change) for each in names], as_json=as_json)


def _can(job: JobView, change: dict[str, Any]) -> bool:
    return job.mode != "invariants" or not change.get("repairs")


def show(jobs: Iterable[JobView], *, as_json: bool) -> None:
    """Print jobs as they are now."""
    if as_json:
        output.print_json(list(jobs))
        return
    columns = ("name", "entity", "mode", "schedule (UTC)", "does", "stopped")
    output.stdout().print(output.listing(columns, map(_row, jobs)))


def _row(job: JobView) -> tuple[str | Text, ...]:
    does = Text("repairs", style="green") if job.repairs else Text("observes", style="yellow")
    stopped = Text(output.printable(job.stopped), style="red") if job.stopped else output.NOTHING
    return job.name, job.entity, job.mode, job.schedule, does + (", paused" if job.paused else ""), stopped
