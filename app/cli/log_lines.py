"""A log entry as a line for a person at a terminal, or for a program."""

from collections.abc import Callable, Iterator

import msgspec
from rich.text import Text

from app.cli import output
from app.logs.views import LogLine

STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
# What the line begins with, or what is not for eyes.
_APART = {
    "number", "time", "level", "event", "component", "process", "sequence", "trace_id", "span_id", "fields",
    "exception",
}  # fmt: skip

Show = Callable[[LogLine], None]


def show_json(line: LogLine) -> None:
    output.print_json_line(line)


def shows_text(*, verbose: bool) -> Show:
    """What prints an entry in one line; with `verbose` also its stack, below it."""
    console = output.stdout()

    def show(line: LogLine) -> None:
        console.print(text_of(line), soft_wrap=True)
        if verbose and line.exception:
            for each in line.exception.stack.rstrip(output.LINE_END).split(output.LINE_END):
                console.print(Text(f"    {output.printable(each)}", style="dim"), soft_wrap=True)

    return show


def text_of(line: LogLine) -> Text:
    """The entry, aligned and coloured. What a terminal would take for a command or the end of the line is escaped."""
    text = Text.assemble(
        (line.time.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00"), "dim"),
        " ",
        (f"{output.printable(line.level):<8}", STYLES.get(line.level, "")),
        f" {output.printable(line.component):<9} ",
        (f"{output.printable(line.event):<18}", "bold"),
    )
    for name, value in _details(line):
        text.append(f" {output.printable(name)}=", style="dim").append(output.printable(value))
    if line.exception:
        text.append(f" {output.printable(line.exception.type)}", style="red")
        text.append(f": {output.printable(line.exception.message)}")
    return text


def _details(line: LogLine) -> Iterator[tuple[str, str]]:
    for name, value in line.fields.items():
        yield name, _brief(value)
    for name in line.__struct_fields__:
        if name not in _APART and (value := getattr(line, name)) is not None:
            yield name, _brief(value)


def _brief(value: object) -> str:
    """A value without quotes, unless it would look like two then."""
    if isinstance(value, str) and value and not any(each.isspace() for each in value):
        return value
    return msgspec.json.encode(value).decode()
