"""Options that many commands share, and groups that list without being asked to."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from app.cli import output
from app.cli.errors import CommandError
from app.clock import now
from app.moments import SAID, moment

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever reads the history later.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many to list at most.")]
Cursor = Annotated[
    str | None,
    typer.Option("--cursor", help="Go on where a page ended: its next_cursor.", show_default=False),
]

OfRecord = Annotated[
    str | None, typer.Option("--id", help="Only of the record with this key.", show_default=False)
]


def confirm(question: str) -> None:
    """Ask whoever typed the command; raises CommandError where the answer is no, or nobody can be asked."""
    try:
        agreed = typer.confirm(output.printable(question), err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise CommandError("nothing was done", "--yes does it without asking")


class ListByDefault(TyperGroup):
    """`astrocore runs --limit 5` is `astrocore runs list --limit 5`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `list` where no subcommand stands."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def group(summary: str) -> typer.Typer:
    """A group of commands that has one named `list`."""
    return typer.Typer(
        cls=ListByDefault, help=f"{summary} Without a subcommand: list.", no_args_is_help=False
    )


def settled(option: str, given: str | None) -> str | None:
    """The moment that is given, settled once: a page later it must still be the same. Raises CommandError."""
    if given is None:
        return None
    try:
        return moment(given, now()).isoformat()
    except ValueError as error:
        raise CommandError(f"{option} {given!r}: {SAID}") from error
