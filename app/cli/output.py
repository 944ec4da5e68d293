"""How commands speak: aligned and coloured for people, one JSON document for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.errors import CommandError

WIDTH = 100  # of what is not written to a terminal
NOTHING = "-"
WIDEST = {"rule": 24}  # columns that wrap well
UNBROKEN = frozenset(
    {"id", "records", "created", "since", "intended"}
)  # columns that are copied, or that wrap badly
LINE_END = "\n"

STYLES = {
    "done": "green",
    "repaired": "green",
    "applied": "green",
    "undone": "green",
    "comparing": "cyan",
    "repairing": "cyan",
    "queued": "cyan",
    "approved": "cyan",
    "collecting": "cyan",
    "working": "cyan",
    "in_review": "yellow",
    "held": "yellow",
    "open": "yellow",
    "unsettled": "yellow",
    "superseded": "yellow",
    "failed": "red",
    "indeterminate": "red",
    "rejected": "red",
    "refused": "red",
    "delivered": "green",
    "sent": "green",
    "sending": "cyan",
    "pending": "cyan",
    "scheduled": "cyan",
    "unknown": "yellow",
    "suppressed": "yellow",
    "expired": "yellow",
}

# In seconds.
UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


def stdout() -> Console:
    return _console(stderr=False)


def stderr() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, width=None if terminal else WIDTH)


def print_json(value: Any) -> None:
    """The one document that a command with --json prints; what a terminal would take for a command is escaped."""
    print(_inert(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()))


def print_json_line(value: Any) -> None:
    """One of many documents, each in a line of its own."""
    print(_inert(msgspec.json.encode(value).decode()))


def _inert(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == LINE_END else json.dumps(each)[1:-1] for each in text
    )


def complain(error: CommandError) -> None:
    """Tell on stderr what is wrong and what to do, in the form of every command."""
    print(f"astrocore: {printable(error.what, keep=LINE_END)}", file=sys.stderr)
    if error.hint:
        print(f"  hint: {printable(error.hint)}", file=sys.stderr)


def printable(value: str, keep: str = "") -> str:
    """The text without what a terminal would take for a command."""
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in value
    )


def print_letter(text: str) -> None:
    """The text of a mail, where a space that does not break is a space all the same."""
    print(printable(text.replace("\u00a0", " "), keep=LINE_END))


def shown(value: Any) -> str:
    """A field's value as text; nothing is shown as a dash, and text that looks like nothing in quotes."""
    match value:
        case None:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case str():
            plain = value == " ".join(value.split()) and value not in {"", NOTHING}
            return printable(value) if plain else repr(value)
        case int():
            return str(value)
        case _:
            return printable(msgspec.json.encode(value).decode())


def side_by_side(left: Any, right: Any) -> tuple[str, str]:
    """Two values as text. Where texts part at letters that may look alike, their code points are told."""
    shown_left, shown_right = shown(left), shown(right)
    if isinstance(left, str) and isinstance(right, str):
        parting = next((pair for pair in zip(left, right, strict=False) if pair[0] != pair[1]), ("", ""))
        if not "".join(parting).isascii():
            return shown_left + _code_point(parting[0]), shown_right + _code_point(parting[1])
    return shown_left, shown_right


def _code_point(letter: str) -> str:
    return f" ({printable(letter)} is U+{ord(letter):04X})"


def moment(value: datetime | None) -> str:
    """A time in UTC, to the second."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else NOTHING


def brief(value: datetime) -> str:
    """A time in UTC, to the minute, for lists."""
    return value.astimezone(UTC).strftime("%d %b %H:%M")


def age(length: timedelta) -> str:
    """A length of time in its largest unit, rounded down."""
    seconds = max(0, int(length.total_seconds()))
    return next(f"{seconds // size} {unit}" for unit, size in UNITS.items() if seconds >= size or size == 1)


def change(change_id: UUID, entity: str, key: str) -> str:
    """A change in a list: its id, and in the next line the record that it is about."""
    return f"{change_id}\n{printable(entity)} {printable(key)}"


def words(value: str) -> str:
    """A status or kind as people write it."""
    return printable(value.replace("_", " "))


def cause(text: str, run_id: UUID | None) -> str:
    """What led to something, with the run that it was about unless the text tells it."""
    return printable(text) if run_id is None or str(run_id) in text else f"{printable(text)}, run {run_id}"


def state(value: str) -> Text:
    """A status in its colour."""
    return Text(words(value), style=STYLES.get(value, ""))


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return (end - start).total_seconds() if start and end else None


def listing(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], right: Sequence[str] = ()) -> Table:
    """A table without frames; the columns named in `right` are numbers. An empty one says so."""
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold"
    )
    for column in columns:
        table.add_column(
            column,
            justify="right" if column in right else "left",
            no_wrap=column in UNBROKEN,
            overflow="fold",
            max_width=WIDEST.get(column),
        )
    for row in rows:
        table.add_row(*row)
    if not table.row_count:
        table.add_row("none")
    return table


def facts(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    return table


def print_more(next_cursor: str | None, count: int) -> None:
    """Say that a list goes on."""
    if next_cursor:
        stderr().print(f"the first {count}; for more: --limit, or --cursor {next_cursor}")
