"""`astrocore undo`: take changes back, and tell what could not be."""

import time
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from app.cli import output
from app.cli.client import Api, connect, every
from app.cli.errors import CommandError, InterruptedCommandError, UnreachableError
from app.cli.options import AsJson, Reason, Yes, confirm
from app.cli.progress import PATIENCE_SECONDS, POLL_SECONDS
from app.cli.undos import counted, items_table, undo_facts
from app.reconciliation.ledger.views import UndoItemView, UndoPreview, UndoView


def undo(
    *,
    changes: Annotated[
        list[UUID] | None, typer.Option("--change", help="A change; may be repeated.", show_default=False)
    ] = None,
    run: Annotated[UUID | None, typer.Option(help="All changes of this run.", show_default=False)] = None,
    reason: Reason,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Take changes back, or all that a run has made, where their records still hold what was written.

    The records are held from then on: `astrocore holds release` lets them be repaired again. Ctrl-C stops the
    watching, not the undo.
    """
    choice = _choice(changes or [], run)
    with connect() as api:
        _show_preview(api.post(("undos", "preview"), UndoPreview, choice), yes=yes)
        started = api.post(("undos",), UndoView, {**choice, "reason": reason})
        try:
            ended = _follow(api, started, output.stderr())
        except KeyboardInterrupt:
            raise _unwatched(started) from None
        refused = list(every(api, ("undos", str(ended.id), "items"), UndoItemView, status="refused"))
    if as_json:
        output.print_json({"undo": ended, "refused": refused})
    else:
        _print(ended, refused)
    if refused:
        raise CommandError(
            f"{ended.refused:,} of {ended.changes:,} changes could not be undone",
            "`astrocore history ENTITY ID` shows what happened to a record",
        )


def _choice(changes: list[UUID], run: UUID | None) -> dict[str, Any]:
    if bool(changes) == (run is not None):
        raise CommandError(
            "what is to be undone?",
            "give either --change, as often as needed, or --run; see `astrocore history`",
        )
    return {"run_id": str(run)} if run else {"change_ids": [str(each) for each in changes]}


def _show_preview(preview: UndoPreview, *, yes: bool) -> None:
    what = f"{counted(preview.changes, 'change')} of {counted(preview.records, 'record')}"
    if preview.refused:
        what += f" ({preview.refused:,} more cannot be undone)"
    if yes:
        output.stderr().print(f"undoing {what}")
    else:
        confirm(f"Undo {what}, and hold the records?")


def _follow(api: Api, undo: UndoView, console: Console) -> UndoView:
    """Wait until the undo is done; raises UnreachableError after a minute of silence."""
    columns = (
        TextColumn("undoing"),
        BarColumn(20),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} changes"),
    )
    heard = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=undo.changes)
        while undo.status != "done":
            time.sleep(POLL_SECONDS)
            try:
                undo = api.get(("undos", str(undo.id)), UndoView)
                heard = time.monotonic()
            except UnreachableError:
                if time.monotonic() - heard > PATIENCE_SECONDS:
                    raise
            bars.update(task, total=undo.changes, completed=undo.changes - undo.pending)
    return undo


def _unwatched(undo: UndoView) -> InterruptedCommandError:
    return InterruptedCommandError(
        f"no longer watching; undo {undo.id} goes on",
        f"`astrocore undos show {undo.id}` shows how far it is",
    )


def _print(undo: UndoView, refused: list[UndoItemView]) -> None:
    console = output.stdout()
    console.print(undo_facts(undo))
    if refused:
        console.print(items_table(refused))
