"""`astrocore audit forget`: make a person's values unreadable, and say what that means before it is done."""

from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.options import AsJson, Yes, confirm
from app.cli.undos import counted
from app.reconciliation.ledger.views import ErasureView

_PATH = ("audit", "erasures")


def forget(
    *,
    person: Annotated[
        str, typer.Argument(metavar="CUSTOMER_ID", help="The person's id.", show_default=False)
    ],
    entity: Annotated[str, typer.Option(help="The entity whose record the person is.")] = "customers",
    reason: Annotated[
        str | None, typer.Option("--reason", help="Why; name no person in it.", show_default=False)
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Forget a person: nobody can read their values in the audit store, or undo their changes, any more.

    What the customer DB and the admin DB hold is left to their owners.
    """
    body: dict[str, Any] = {"person": person, "entity": entity}
    with connect() as api:
        found = api.post((*_PATH, "preview"), ErasureView, body)
        if found.something:
            _show(found, yes=yes)
            found = api.post(_PATH, ErasureView, body | ({"reason": reason} if reason is not None else {}))
    if as_json:
        output.print_json(found)
    elif found.something:
        output.stdout().print(_facts(found))
    else:
        print(f"nothing is left to erase of {output.printable(f'{found.entity} {found.id}')}")


def _show(found: ErasureView, *, yes: bool) -> None:
    console = output.stderr()
    console.print(_facts(found))
    kept = [name for name, there in (("customer", found.document), ("admin", found.relational)) if there]
    if kept:
        warning = (
            f"the record is still in the {' DB and in the '.join(kept)} DB: that is not touched, and a later change of it "
            "is recorded again"
        )
        console.print(Text(warning, "yellow"), soft_wrap=True)
    if found.unread:
        warning = (
            "an archive of the audit store cannot be read: there may be more changes, which cannot be read afterwards either, "
            "and messages and facts that only they lead to; `astrocore audit verify` names it"
        )
        console.print(Text(warning, "yellow"), soft_wrap=True)
    if not yes:
        confirm(f"Forget {output.printable(f'{found.entity} {found.id}')} for ever?")


def _facts(found: ErasureView) -> Any:
    return output.facts(
        [
            ("person", output.printable(f"{found.entity} {found.id}")),
            (
                "audit store",
                f"{'at least ' if found.unread else ''}{counted(found.changes, 'change')} that can no longer be read or undone",
            ),
            ("diffs", f"{counted(found.diffs, 'diff')} without their values"),
            ("outbox", f"{counted(found.facts, 'fact')} without detail and reason"),
            ("broker", f"{counted(found.letters, 'message')} removed, or without what went wrong"),
            ("mail", f"{counted(found.mails, 'notification')} without address and content"),
        ]
    )
