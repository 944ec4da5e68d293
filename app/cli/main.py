"""The `astrocore` command. Most of it is a client of a running system's REST API."""

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer

from app.cli import (
    audit,
    changes,
    clients,
    demo,
    diffs,
    history,
    holds,
    jobs,
    login,
    logs,
    mailbox,
    notifications,
    notify,
    output,
    reconcile,
    runs,
    schedules,
    suppressions,
    system,
    templates,
    undo,
    undos,
    up,
    users,
)
from app.cli.errors import CommandError, InterruptedCommandError
from app.errors import CoreError, InvalidInputError
from config.settings import PREFIX, SettingsError

app = typer.Typer(
    name="astrocore",
    help="Run AstroBookings Core, and look after its two databases.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

SYSTEM, DATA, RECONCILIATION, RECORDS = "System", "Demo", "Reconciliation", "Records"
ACCOUNTS, MAIL = "Accounts", "Mail"

app.command(rich_help_panel=SYSTEM)(up.up)
app.command(rich_help_panel=SYSTEM)(up.stores)
app.command(rich_help_panel=SYSTEM)(system.migrate)
app.command(rich_help_panel=SYSTEM)(system.doctor)
app.command(rich_help_panel=SYSTEM)(system.config)
app.command(rich_help_panel=DATA)(demo.seed)
app.command(rich_help_panel=DATA)(demo.simulate)
app.command(rich_help_panel=RECONCILIATION)(reconcile.reconcile)
app.add_typer(runs.app, name="runs", rich_help_panel=RECONCILIATION)
app.add_typer(diffs.app, name="diffs", rich_help_panel=RECONCILIATION)
app.command(rich_help_panel=RECONCILIATION)(history.history)
app.command(rich_help_panel=RECONCILIATION)(changes.changes)
app.command(rich_help_panel=RECONCILIATION)(undo.undo)
app.add_typer(undos.app, name="undos", rich_help_panel=RECONCILIATION)
app.add_typer(holds.app, name="holds", rich_help_panel=RECONCILIATION)
app.add_typer(jobs.app, name="jobs", rich_help_panel=RECONCILIATION)
app.command(rich_help_panel=ACCOUNTS)(login.login)
app.command(rich_help_panel=ACCOUNTS)(login.logout)
app.command(rich_help_panel=ACCOUNTS)(login.whoami)
app.command(rich_help_panel=ACCOUNTS)(login.token)
app.add_typer(users.app, name="users", rich_help_panel=ACCOUNTS)
app.add_typer(clients.app, name="clients", rich_help_panel=ACCOUNTS)
app.add_typer(audit.app, name="audit", rich_help_panel=RECORDS)
app.add_typer(logs.app, name="logs", rich_help_panel=RECORDS)
app.command(rich_help_panel=MAIL)(notify.notify)
app.add_typer(notifications.app, name="notifications", rich_help_panel=MAIL)
app.add_typer(templates.app, name="templates", rich_help_panel=MAIL)
app.add_typer(schedules.app, name="schedules", rich_help_panel=MAIL)
app.add_typer(suppressions.app, name="suppressions", rich_help_panel=MAIL)
app.add_typer(mailbox.app, name="mailbox", rich_help_panel=MAIL)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"astrocore {version('astrobookings-core')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and answer its exit code: 0 done, 1 could not, 2 asked wrongly, 130 interrupted.

    `audit verify` and its like answer 3 where a store cannot be read.
    """
    try:
        code: Any = app(args=arguments or ["--help"], prog_name="astrocore", standalone_mode=False)
    except typer.TyperException as error:
        output.complain(CommandError(error.format_message(), _help(error)))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return InterruptedCommandError.code
    except Exception as error:  # nobody who types a command is shown a traceback
        if os.environ.get(f"{PREFIX}LOG_LEVEL") == "DEBUG":
            raise
        told = explain(error)
        output.complain(told)
        return told.code
    return code if isinstance(code, int) else 0


def _help(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"`{context.command_path if context else 'astrocore'} --help` lists what there is"


def explain(error: Exception) -> CommandError:
    """The error in the form of every command: what is wrong, and what to do."""
    match error:
        case CommandError():
            return error
        case SettingsError():
            return CommandError(str(error), "correct it or unset it, in the environment or in .env")
        case InvalidInputError(faults=faults) if faults:
            return CommandError(
                "\n".join([str(error), *(f"  {each.where}: {each.message}" for each in faults)])
            )
        case CoreError():
            return CommandError(str(error), "`astrocore doctor` shows whether a part is away")
        case _:
            return CommandError(
                f"unexpected {type(error).__name__}: {error}",
                f"{PREFIX}LOG_LEVEL=DEBUG shows where it comes from",
            )


if __name__ == "__main__":
    main()
